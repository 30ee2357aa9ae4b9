"""`refstar demo`: trains RefSel, a backbone and RefSTAR on synthetic identities, tests them and writes a report.

Every step is a `basicsr train` or `basicsr test` of its own, in the current folder, with option files that the user can
run again. Finished steps are skipped, an interrupted one goes on, and one whose options changed starts afresh (BasicSR
keeps the old run as ``<name>_archived_<time>``).
"""

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from ..errors import RefStarError
from .demo_options import EXPECTED_SECONDS, LENGTHS, Step, plan
from .training_log import Entry, parse_line

QUIET = 15.0  # seconds between progress lines where the output is no terminal
PATIENCE = 15.0  # seconds; the workers of a killed training live on for some
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


class Progress:
    """One line about the running step and the time left for all."""

    def __init__(self, steps: list[Step], ledger: Ledger, expected: dict[str, float]) -> None:
        self.steps, self.ledger, self.expected = steps, ledger, expected
        self.live = sys.stdout.isatty()
        self.last = 0.0

    def remaining(self, step: Step, share: float, seconds: float) -> float:
        """Seconds left for all steps.

        Args:
            step (Step): the running one.
            share (float): how much of it is done, in [0, 1].
            seconds (float): spent on it.
        """
        at = self.steps.index(step)
        finished = self.steps[:at]
        spent = seconds + sum(self.ledger.seconds(s) for s in finished)
        foreseen = share * self.expected[step.name] + sum(self.expected[s.name] for s in finished)
        pace = spent / foreseen if foreseen else 1.0
        later = [s for s in self.steps[at + 1 :] if not self.ledger.is_done(s)]
        own = seconds * (1 - share) / share if share > 0.05 else pace * (1 - share) * self.expected[step.name]
        return own + pace * sum(self.expected[s.name] for s in later)

    def show(self, step: Step, seconds: float, entry: Entry | None, force: bool = False) -> None:
        """Prints the line; without a terminal only every QUIET seconds, unless forced."""
        now = time.monotonic()
        if not force and now - self.last < (0.2 if self.live else QUIET):
            return
        self.last = now
        share = entry.iteration / step.iterations if entry and step.iterations else 0.0
        parts = [f'[{self.steps.index(step) + 1}/{len(self.steps)}] {step.command} {step.experiment}']
        if entry:
            parts.append(f'iteration {entry.iteration}/{step.iterations}, loss {entry.loss:.4f}')
        parts.append(f'{clock(seconds)} spent, {clock(self.remaining(step, share, seconds))} left for all')
        self.write('   '.join(parts))

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


def run_step(step: Step, out: Path, ledger: Ledger, progress: Progress, lock: int) -> None:
    """Runs one step as a process of its own, which inherits the file descriptor ``lock``.

    Raises:
        RefStarError: it failed; the message holds the last lines of its log.
    """
    resume = ledger.is_same(step)
    before, start = ledger.seconds(step), time.monotonic()
    log = out / 'logs' / f'{step.name}.log'
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, '-m', f'refstar.tools.{step.command}', '-opt', str(step.file)]
    command += ['--auto_resume'] if resume and step.command == 'train' else []
    ledger.write(step, before)
    progress.show(step, before, None, force=True)
    entry, tail = None, deque(maxlen=LAST_LINES)
    with open(log, 'a' if resume else 'w', encoding='utf-8') as file:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            env={**os.environ, 'PYTHONUNBUFFERED': '1'},
            pass_fds=[lock],
        )
        try:
            for line in process.stdout:
                file.write(line)
                file.flush()
                tail.append(line)
                found = parse_line(line)
                if found:
                    entry = found
                    seconds = before + time.monotonic() - start
                    ledger.write(step, seconds)
                    progress.show(step, seconds, entry)
            code = process.wait()
        finally:
            stop(process)
    seconds = before + time.monotonic() - start
    if code or step.product() is None:
        ledger.write(step, seconds)
        raise RefStarError(
            f'step {step.name} failed (exit code {code}); the end of {log}:\n{"".join(tail)}'
            'Run the same command again to go on from the last checkpoint.'
        )
    ledger.write(step, seconds, done=True)
    progress.write(
        f'[{progress.steps.index(step) + 1}/{len(progress.steps)}] {step.experiment}: {clock(seconds)}', last=True
    )


def stop(process: subprocess.Popen) -> None:
    """Ends a child that is still running, and waits for it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


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
            ledger = Ledger(out / 'steps.json')
            progress = Progress(steps, ledger, EXPECTED_SECONDS[args.length])
            for step in steps:
                if ledger.is_done(step):
                    progress.write(f'{step.experiment}: done earlier in {clock(ledger.seconds(step))}', last=True)
                else:
                    run_step(step, out, ledger, progress, lock)
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
