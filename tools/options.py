"""`refstar options`: all option keys as a page, printed or written to a file."""

import argparse
import sys
from pathlib import Path

from .cli_common import run_command


def main(argv: list[str] | None = None) -> int:
    """Prints or writes the page; returns the exit code."""
    parser = argparse.ArgumentParser('refstar options', description='All keys of option files, as a Markdown page.')
    parser.add_argument('--write', type=Path, metavar='FILE', help='write the page there instead of printing it')
    args = parser.parse_args(argv)

    def run() -> None:
        from refstar.trainer.option_page import page

        text = page()
        if args.write is None:
            print(text)
        else:
            args.write.write_text(text, encoding='utf-8')

    return run_command(run)


if __name__ == '__main__':
    sys.exit(main())
