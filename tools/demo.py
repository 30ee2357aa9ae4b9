"""`refstar demo`: trains RefSel, a backbone and RefSTAR on synthetic identities, tests them and writes a report.

Every step is a `basicsr train` or `basicsr test` of its own, in the current folder, with option files that the user can
run again. Steps that do not need each other run side by side. Finished steps are skipped, an interrupted one goes on,
and one whose options changed starts afresh (BasicSR keeps the old run as ``<name>_archived_<time>``).
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from refstar.utils.errors import RefStarError

from .demo_options import EXPECTED_SECONDS, LENGTHS, STAGES, Step, plan
from .demo_progress import Progress, clock
from .demo_steps import Ledger, Run, alone


def run_stage(at: int, steps: list[Step], out: Path, ledger: Ledger, progress: Progress, lock: int) -> None:
    """Runs steps side by side, each on its share of the cores.

    Raises:
        RefStarError: one failed; the others are ended.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    runs: list[Run] = []
    try:
        for step in steps:
            runs.append(Run(step, out, ledger, lock, threads=max(1, cores // len(steps))))
        progress.show(at, runs, force=True)
        while runs:
            time.sleep(0.5)
            for run in list(runs):
                if run.ended():
                    runs.remove(run)
                    progress.write(f'{run.step.experiment}: {clock(run.seconds)}', last=True)
            progress.show(at, runs)
    finally:
        for run in runs:
            run.stop()


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog='refstar demo', description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument(
        '--length', choices=LENGTHS, default='demo', help='demo: some minutes; experiment: hours on two cores'
    )
    p.add_argument('--out', type=Path, metavar='FOLDER', help='default: results/<name>')
    p.add_argument('--name', help='first part of the names of the experiments (default: the length)')
    p.add_argument(
        '--overrides',
        type=Path,
        metavar='X.yml',
        help='table step -> dotted key -> value, as in options/demo/experiment.yml',
    )
    return p


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(argv)
    name = args.name or args.length
    out = args.out or Path('results') / name
    # A polite kill of this process must not leave a training behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with alone(out) as lock:
            steps = plan(args.length, name, out, args.overrides)
            stages = [[step for step in steps if step.name in stage] for stage in STAGES]
            ledger = Ledger(out / 'steps.json')
            progress = Progress(stages, ledger, EXPECTED_SECONDS[args.length])
            for at, stage in enumerate(stages):
                done = [step for step in stage if ledger.is_done(step)]
                for step in done:
                    progress.write(f'{step.experiment}: done earlier in {clock(ledger.seconds(step))}', last=True)
                run_stage(at, [step for step in stage if step not in done], out, ledger, progress, lock)
            from refstar.evaluation.demo_report import write_report

            print(write_report(steps, {s.name: ledger.seconds(s) for s in steps}, args.length, out))
    except RefStarError as error:
        print(f'\nerror: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('\nStopped. Run the same command again to go on from the last checkpoint.', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
