"""The progress line of `refstar demo`, with the time left for all steps."""

import shutil
import sys
import time
from datetime import timedelta

from .demo_options import Step
from .demo_steps import Ledger, Run

QUIET = 15.0  # seconds between progress lines where the output is no terminal
STARTED = 20.0  # foreseen seconds of work after which the pace of this machine is known; starting up takes some too


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))


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
