"""YAML files of plain values: no Python objects, no key given twice, numbers as in YAML 1.2."""

import re
from pathlib import Path
from typing import Any

import yaml

from .errors import RefStarError

_SafeLoader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)  # the first where PyYAML was built with libyaml


class OptionLoader(_SafeLoader):
    """Load safe YAML; refuse a key given twice. As in YAML 1.2, `1e-4` is a number and `2026-11-21` is text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(None, None, f'key {twice[0]!r} is given twice', node.start_mark)
        return super().construct_mapping(node, deep)


OptionLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != 'tag:yaml.org,2002:timestamp']
    for first, known in _SafeLoader.yaml_implicit_resolvers.items()
}
OptionLoader.add_implicit_resolver(
    'tag:yaml.org,2002:float',
    re.compile(r'[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$'),
    list('-+.0123456789'),
)


def read_yaml(text: str) -> Any:
    """Read one YAML document.

    Raises:
        RefStarError: it is not valid, asks for a Python object, or has a key twice; one line.
    """
    try:
        return yaml.load(text, Loader=OptionLoader)
    except yaml.YAMLError as error:
        raise RefStarError(f'no valid YAML: {" ".join(str(error).split())}') from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:  # PyYAML's, e.g. of `!!int x`
        raise RefStarError(f'no valid YAML: a value cannot be read ({error})') from error


def read_yaml_file(path: str | Path) -> dict[str, Any]:
    """Read an option file: `key: value`, in the order of the file.

    Raises:
        RefStarError: no such file, no valid YAML, or no mapping; names the file.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise RefStarError(f'option file not found: {path}')
    try:
        content = read_yaml(path.read_text(encoding='utf-8'))
    except (RefStarError, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, RefStarError) else f'no valid YAML: {error}'
        raise RefStarError(f'{path}: {reason}') from error
    if not isinstance(content, dict):
        raise RefStarError(f'{path}: expected options `key: value`')
    return content
