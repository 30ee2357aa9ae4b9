"""What a user asks for, checked."""

import json
from dataclasses import dataclass
from typing import Any

from refstar.restore.restore_settings import Settings
from refstar.utils.errors import RefStarError

SETTINGS = {'strength': float, 'fidelity': float, 'mask_threshold': float, 'colour': bool, 'use': list, 'keep': list}
LONGEST_NAME = 100


@dataclass(frozen=True)
class Wish:
    """How one face is to be restored.

    Args:
        face: its number on the photo.
        settings: how.
        chosen: keys of the references that the user chose; None: they are chosen for the face.
    """

    face: int
    settings: Settings
    chosen: frozenset[str] | None


def wish_of(body: bytes) -> Wish:
    """Reads `{"face": 0, "strength": 0.8, "chosen": null, "use": [], ...}`; what is absent or null is as usual.

    Raises:
        RefStarError: it is something else.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise RefStarError('the request is no JSON') from None
    if not isinstance(given, dict):
        raise RefStarError('the request must be a JSON object')
    given = {key: value for key, value in given.items() if value is not None}
    face, chosen = _take(given, 'face', int, 0), _take(given, 'chosen', list, None)
    settings = {key: value for key, kind in SETTINGS.items() if (value := _take(given, key, kind, None)) is not None}
    if given:
        raise RefStarError(f'unknown: {", ".join(map(repr, given))[:200]}')
    for key in ('use', 'keep'):
        if key in settings:
            settings[key] = tuple(settings[key])
    return Wish(face, Settings(**settings), None if chosen is None else frozenset(chosen))


def _take(given: dict[str, Any], key: str, kind: type, usual: Any) -> Any:
    value = given.pop(key, usual)
    if value is usual:
        return value
    if kind is float and type(value) is int and value in (0, 1):
        value = float(value)
    if type(value) is not kind or (kind is list and not all(isinstance(item, str) for item in value)):
        what = {list: 'a list of names', bool: 'true or false'}.get(kind, 'a number')
        raise RefStarError(f'{key} must be {what}')
    return value


def name_of(given: str, usual: str) -> str:
    """A file's name as it is shown: without folders and control characters, not too long."""
    last = given.replace('\\', '/').rpartition('/')[2]
    return ''.join(c for c in last if c.isprintable()).strip()[-LONGEST_NAME:] or usual
