"""The steps of `refstar demo` as processes: which are done, how far they are, one demo to a folder."""

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refstar.utils.errors import RefStarError
from refstar.utils.training_log import Entry, parse_line

from .demo_options import Step

PATIENCE = 15.0  # seconds; the workers of a killed training live on for some
LAST_LINES = 25  # of the log, shown when a step fails


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
