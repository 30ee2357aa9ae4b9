"""`basicsr test -opt X.yml`, `refstar test`, `python -m refstar.tools.test`: BasicSR's tester with this project."""

import sys
from functools import partial

from .cli_common import run_pipeline

main = partial(run_pipeline, False)

if __name__ == '__main__':
    sys.exit(main())
