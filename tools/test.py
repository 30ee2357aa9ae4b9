"""`basicsr test -opt X.yml`, `refstar test`, `python -m refstar.tools.test`: BasicSR's tester with this project."""

import sys

from .cli_common import run_pipeline


def main(argv: list[str] | None = None) -> int:
    """Tests; returns the exit code. Arguments are BasicSR's (`--help`)."""
    return run_pipeline('basicsr test', sys.argv[1:] if argv is None else argv, is_train=False)


if __name__ == '__main__':
    sys.exit(main())
