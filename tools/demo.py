"""`refstar demo`: trains RefSel, a backbone and RefSTAR on synthetic identities, tests them and writes a report.

Every step is a `basicsr train` or `basicsr test` of its own, in the current folder, with option files that the user can
run again. Steps that do not need each other run side by side. Finished steps are skipped, an interrupted one goes on,
and one whose options changed starts afresh (BasicSR keeps the old run as ``<name>_archived_<time>``).
"""

import signal
import sys
from argparse import Namespace
from pathlib import Path

from refstar.utils.errors import CommandParser

from .cli_common import command

LENGTHS = ('demo', 'experiment')


def add_arguments(p: CommandParser) -> None:
    """Describe the command line."""
    text = 'demo: some minutes (default); experiment: hours on two cores'
    p.add_argument('--length', choices=LENGTHS, default='demo', help=text)
    p.add_argument('--out', type=Path, metavar='FOLDER', help='default: results/<name>')
    p.add_argument('--name', help='first part of the names of the experiments (default: the length)')
    text = 'table step -> dotted key -> value, as in options/demo/experiment.yml'
    p.add_argument('--overrides', type=Path, metavar='X.yml', help=text)


def run(args: Namespace) -> int:
    """Run the steps that are not done, write the report and print its figures; return the exit code.

    Raises:
        RefStarError: an override is wrong, or a step failed.
    """
    from refstar.evaluation.demo_report import write_demo_report
    from refstar.evaluation.demo_steps import plan, run_steps

    name = args.name or args.length
    out = args.out or Path('results') / name
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the running steps are ended, not left behind
    try:
        steps = plan(args.length, name, out, args.overrides)
        print(write_demo_report(steps, run_steps(steps, out), args.length, out))
    except KeyboardInterrupt:
        print('\nStopped. Run the same command again to go on from the last checkpoint.', file=sys.stderr)
        return 130
    return 0


main = command('refstar demo', __doc__, add_arguments, run)

if __name__ == '__main__':
    sys.exit(main())
