"""`basicsr train -opt X.yml`, `refstar train`, `python -m refstar.tools.train`: BasicSR's trainer with this project."""

import sys
from functools import partial

from .cli_common import run_pipeline

main = partial(run_pipeline, True)

if __name__ == '__main__':
    sys.exit(main())
