"""`refstar demo`: trains RefSel, a backbone and RefSTAR on synthetic identities, tests them and writes a report.

Every step is a `basicsr train` or `basicsr test` of its own, in the current folder, with option files that the user can
run again. Steps that do not need each other run side by side. Finished steps are skipped, an interrupted one goes on,
and one whose options changed starts afresh (BasicSR keeps the old run as ``<name>_archived_<time>``).
"""

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from ..errors import RefStarError
from .demo_options import EXPECTED_SECONDS, LENGTHS, STAGES, Step, plan
from .training_log import Entry, parse_line

QUIET = 15.0  # seconds between progress lines where the output is no terminal
PATIENCE = 15.0  # seconds; the workers of a killed training live on for some
STARTED = 20.0  # foreseen seconds of work after which the pace of this machine is known; starting up takes some too
LAST_LINES = 25  # of the log, shown when a step fails


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))


class Ledger:
    """What is done, in ``<out>/steps.json``: step -> fingerprint, seconds spent, done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict] = {}
        if path.is_file():
            try:
                self.rows = json.loads(path.read_text(encoding='utf-8'))
            except ValueError as error:
                raise RefStarError(f'{path}: broken ({error}); delete it to start the steps afresh') from error

    def is_same(self, step: Step) -> bool:
        """Whether the step was begun with these very options."""
        return self.rows.get(step.name, {}).get('fingerprint') == step.fingerprint

    def is_done(self, step: Step) -> bool:
        return self.is_same(step) and self.rows[step.name]['done'] and step.product() is not None

    def seconds(self, step: Step) -> float:
        return self.rows[step.name]['seconds'] if self.is_same(step) else 0.0

    def write(self, step: Step, seconds: float, done: bool = False) -> None:
        self.rows[step.name] = {'fingerprint': step.fingerprint, 'seconds': round(seconds, 1), 'done': done}
        part = self.path.with_suffix('.part')
        part.write_text(json.dumps(self.rows, indent=2), encoding='utf-8')
        os.replace(part, self.path)


class Run:
    """A step as a process of its own, which inherits the file descriptor ``lock``; its output goes to a log.

    Args:
        step (Step): what to run.
        out (Path): output folder.
        ledger (Ledger): is told the time spent.
        lock (int): file descriptor.
        threads (int): for its computations.
    """

    def __init__(self, step: Step, out: Path, ledger: Ledger, lock: int, threads: int) -> None:
        self.step, self.ledger = step, ledger
        self.before, self.start = ledger.seconds(step), time.monotonic()
        self.entry: Entry | None = None
        self.tail: deque[str] = deque(maxlen=LAST_LINES)
        self.log = out / 'logs' / f'{step.name}.log'
        self.log.parent.mkdir(parents=True, exist_ok=True)
        resume = ledger.is_same(step)
        command = [sys.executable, '-m', f'refstar.tools.{step.command}', '-opt', str(step.file)]
        command += ['--auto_resume'] if resume and step.command == 'train' else []
        ledger.write(step, self.before)
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            env={'OMP_NUM_THREADS': str(threads), **os.environ, 'PYTHONUNBUFFERED': '1'},
            pass_fds=[lock],
        )
        self.reader = threading.Thread(target=self._read, args=['a' if resume else 'w'], daemon=True)
        self.reader.start()

    def _read(self, mode: str) -> None:
        with open(self.log, mode, encoding='utf-8') as file:
            for line in self.process.stdout:
                file.write(line)
                file.flush()
                self.tail.append(line)
                self.entry = parse_line(line) or self.entry

    @property
    def seconds(self) -> float:
        """Spent on this step so far, interrupted runs included."""
        return self.before + time.monotonic() - self.start

    @property
    def share(self) -> float:
        """How much of the step is done, in [0, 1]."""
        return self.entry.iteration / self.step.iterations if self.entry and self.step.iterations else 0.0

    def ended(self) -> bool:
        """Whether the step is done; also keeps its time.

        Raises:
            RefStarError: it failed; the message holds the last lines of its log.
        """
        code = self.process.poll()
        if code is None:
            self.ledger.write(self.step, self.seconds)
            return False
        self.reader.join()
        done = code == 0 and self.step.product() is not None
        self.ledger.write(self.step, self.seconds, done)
        if not done:
            raise RefStarError(
                f'step {self.step.name} failed (exit code {code}); the end of {self.log}:\n{"".join(self.tail)}'
                'Run the same command again to go on from the last checkpoint.'
            )
        return True

    def stop(self) -> None:
        """Ends the process if it is still running, and waits for it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Progress:
    """One line about the running steps and the time left for all.

    Args:
        stages (list[list[Step]]): steps of a stage run side by side.
        ledger (Ledger): what is done.
        expected (dict[str, float]): seconds of every step before anything was measured.
    """

    def __init__(self, stages: list[list[Step]], ledger: Ledger, expected: dict[str, float]) -> None:
        self.stages, self.ledger, self.expected = stages, ledger, expected
        self.live = sys.stdout.isatty()
        self.last = 0.0

    def remaining(self, at: int, running: list[tuple[Step, float, float]]) -> float:
        """Seconds left for all steps.

        Args:
            at (int): number of the running stage.
            running (list): its running steps, each with the share that is done, in [0, 1], and the seconds spent.
        """
        finished = [s for stage in self.stages[: at + 1] for s in stage if self.ledger.is_done(s)]
        spent = sum(self.ledger.seconds(s) for s in finished) + sum(seconds for *_, seconds in running)
        foreseen = sum(self.expected[s.name] for s in finished)
        foreseen += sum(share * self.expected[s.name] for s, share, _ in running)
        pace = spent / foreseen if foreseen > STARTED else 1.0

        def left(step: Step, share: float, seconds: float) -> float:
            return seconds * (1 - share) / share if share > 0.05 else pace * (1 - share) * self.expected[step.name]

        later = [
            [self.expected[s.name] for s in stage if not self.ledger.is_done(s)] for stage in self.stages[at + 1 :]
        ]
        now = max((left(*run) for run in running), default=0.0)
        return now + pace * sum(max(stage, default=0.0) for stage in later)

    def show(self, at: int, runs: list[Run], force: bool = False) -> None:
        """Prints the line; without a terminal only every QUIET seconds, unless forced."""
        now = time.monotonic()
        if not runs or (not force and now - self.last < (0.2 if self.live else QUIET)):
            return
        self.last = now
        parts = [f'[{at + 1}/{len(self.stages)}]']
        for run in runs:
            part = f'{run.step.command} {run.step.experiment}'
            if run.entry:
                part += f' {run.entry.iteration}/{run.step.iterations}, loss {run.entry.loss:.4f}'
            parts.append(part)
        left = self.remaining(at, [(run.step, run.share, run.seconds) for run in runs])
        self.write('   '.join([*parts, f'{clock(left)} left for all']))

    def write(self, text: str, last: bool = False) -> None:
        if not self.live:
            print(text, flush=True)
            return
        width = shutil.get_terminal_size().columns - 1
        print('\r\x1b[K' + text[:width], end='\n' if last else '', flush=True)


@contextmanager
def alone(out: Path, patience: float = PATIENCE) -> Iterator[int]:
    """Holds a lock on the output folder; the steps inherit it, so that one that outlived a killed demo holds it too.

    Args:
        out (Path): output folder.
        patience (float): seconds to wait for a holder that is about to end.

    Raises:
        RefStarError: somebody else holds it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with open(out / 'lock', 'w') as file:
        give_up = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > give_up:
                    what = 'another `refstar demo`, or a step that one left behind,'
                    raise RefStarError(f'{out}: {what} is running here; wait for its end, or end it') from error
                time.sleep(0.5)
        yield file.fileno()


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
            from .report import write_report

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
