"""`basicsr train -opt X.yml`, `refstar train`, `python -m refstar.tools.train`: BasicSR's trainer with this project."""

import sys

from .cli_common import run_pipeline


def main(argv: list[str] | None = None) -> int:
    """Trains; returns the exit code. Arguments are BasicSR's (`--help`)."""
    return run_pipeline('basicsr train', sys.argv[1:] if argv is None else argv, is_train=True)


if __name__ == '__main__':
    sys.exit(main())
