"""One file from a web address, going on where an earlier attempt was cut."""

import re
from pathlib import Path
from typing import Any

BLOCK = 1 << 16
TIMEOUT = (10, 60)  # seconds to connect, seconds without a byte


class Interrupted(Exception):
    """A download did not end.

    Attributes:
        again: another attempt may go on where this one stopped.
    """

    def __init__(self, reason: str, again: bool) -> None:
        super().__init__(reason)
        self.again = again


def download(url: str, part: Path) -> None:
    """Brings `part` to the whole file at `url`; what is in it already is not fetched again.

    Args:
        url: http or https.
        part: file to write; it stays when the download is cut.

    Raises:
        Interrupted: the server refuses, or the connection failed or was cut.
        OSError: `part` cannot be written.
    """
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {'Accept-Encoding': 'identity', **({'Range': f'bytes={have}-'} if have else {})}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == 416:  # the part is as long as the file, or longer
                if answer.headers.get('Content-Range') == f'bytes */{have}':
                    return
                part.unlink()
                raise Interrupted('what was fetched before is of another file', again=True)
            if answer.status_code not in (200, 206):
                reason = f'the server answers {answer.status_code} {answer.reason}'
                raise Interrupted(reason, again=answer.status_code in (429, 500, 502, 503, 504))
            goes_on = answer.status_code == 206
            if goes_on and _first_byte(answer.headers.get('Content-Range', '')) != have:
                raise Interrupted('the server answers with another range than it was asked for', again=False)
            start = have if goes_on else 0  # a server without ranges sends the file from its beginning
            length = answer.headers.get('Content-Length')
            total = start + int(length) if length else None
            got = _write(answer, part, start, total)
    except requests.exceptions.RequestException as error:
        reason = getattr(error.args[0], 'reason', error) if error.args else type(error).__name__
        wrong_address = isinstance(error, ValueError)  # as requests sees it
        raise Interrupted(str(reason).rpartition(': ')[2], again=not wrong_address) from error
    if total is not None and got != total:
        raise Interrupted(f'the connection was cut at {got} of {total} bytes', again=True)


def _first_byte(content_range: str) -> int | None:
    found = re.match(r'bytes (\d+)-', content_range)
    return int(found[1]) if found else None


def _write(answer: Any, part: Path, start: int, total: int | None) -> int:
    """Writes the body from byte `start` on; returns the size of the file."""
    from requests.exceptions import RequestException
    from tqdm import tqdm

    name = part.name.removesuffix('.part')
    with (
        open(part, 'ab' if start else 'wb') as file,
        tqdm(total=total, initial=start, desc=name, unit='B', unit_scale=True, disable=None) as bar,
    ):
        try:
            for block in answer.iter_content(BLOCK):
                file.write(block)
                bar.update(len(block))
        except RequestException:
            if total is None:  # otherwise the size tells
                raise
        return file.tell()
