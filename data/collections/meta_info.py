"""BasicSR's `meta_info` text files: one image a line, `ann/1.png (512,512,3) 1`; only the name must be there."""

import re
from pathlib import Path, PurePosixPath

from refstar.utils.errors import RefStarError
from refstar.utils.text_files import numbered_lines, shorten

LINE = re.compile(r'(?P<name>.+?\.\w+)(?:\s+\((?P<shape>\d+(?:,\s*\d+){1,2})\))?(?:\s+\d+)?')


def read_meta_info(path: str | Path) -> list[str]:
    """The image names of a `meta_info` file, in its order.

    Args:
        path: each line has a name with suffix, and may have `(height,width,channels)` and a compression level, as
            BasicSR's scripts write them.

    Raises:
        RefStarError: it cannot be read, or a line is no such line or names an image for the second time.
    """
    names: dict[str, str] = {}
    for where, line in numbered_lines(path):
        match = LINE.fullmatch(line)
        if match is None:
            raise RefStarError(f'{where}: expected a line such as 00001.png (512,512,3), got {shorten(line)}')
        name = str(PurePosixPath(match['name'].replace('\\', '/')))
        if name in names:
            raise RefStarError(f'{where}: {shorten(name)} is listed already at {names[name]}')
        names[name] = where
    return list(names)


def is_meta_info(line: str) -> bool:
    """Whether a line has the shape of an image in it, which only `meta_info` files have."""
    match = LINE.fullmatch(line)
    return match is not None and match['shape'] is not None
