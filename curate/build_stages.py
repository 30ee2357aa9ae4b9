"""The stages of a long build: parts of a few items each, made by several processes and machines, none made twice.

A part is done when its file of records is there. That file is written last, whole or not at all, and everything in it
follows from its items alone. So a killed build, started again, goes on where it was and ends with the same files.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info
from tqdm import tqdm

from refstar.utils.errors import RefStarError
from refstar.utils.text_files import read_text, write_text

PART = 16  # items of a part: what a kill can cost each process
POLL = 0.5  # seconds between looks at what other machines, or processes about to end, have done
PATIENCE = 20  # seconds that the processes of a killed build are given to notice


@dataclass(frozen=True)
class Crew:
    """Who works on a build.

    Args:
        jobs: processes of this machine.
        rank, world: number of this machine (or process of torchrun) and of all; they share the output folder.
    """

    jobs: int = 1
    rank: int = 0
    world: int = 1

    @classmethod
    def from_environment(cls, jobs: int) -> 'Crew':
        """As torchrun says by RANK and WORLD_SIZE.

        Raises:
            RefStarError: they make no sense.
        """
        names = ('RANK', '0'), ('WORLD_SIZE', '1')
        try:
            rank, world = (int(os.environ.get(name, default)) for name, default in names)
        except ValueError:
            rank, world = -1, 0
        if not 0 <= rank < world:
            raise RefStarError('RANK and WORLD_SIZE must be whole numbers with 0 <= RANK < WORLD_SIZE')
        return cls(jobs, rank, world)

    @property
    def leads(self) -> bool:
        """Whether it does what only one may do."""
        return self.rank == 0

    def wait(self, done: Callable[[], bool], what: str) -> None:
        """Returns when another machine has done something."""
        if not done():
            print(f'waiting for the other machines: {what}', flush=True)
        while not done():
            time.sleep(POLL)


@contextmanager
def alone(file: Path, patience: float = PATIENCE) -> Iterator[int]:
    """Keeps a second process from the same work. Processes started inside hold on to it too, until the last has ended.

    Yields:
        The descriptor to hand on to processes that are not forked.

    Raises:
        RefStarError: another one is at it.
    """
    end = time.monotonic() + patience
    with open(file, 'w') as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise RefStarError(f'{file.parent}: another build is at work here; let it finish') from None
                time.sleep(POLL)
        yield lock.fileno()


def write_image(path: Path, img: Any) -> None:
    """Writes a PNG whole or not at all: BGR (S, S, 3) or grey (S, S), uint8. A kill cannot harm it, a power cut can.

    Raises:
        RefStarError: it could not be written.
    """
    part = path.with_name(f'.{path.name}.part')
    try:
        part.write_bytes(cv2.imencode('.png', img)[1])
        os.replace(part, path)
    except OSError as error:
        raise RefStarError(f'cannot write {path}: {error}') from None


class _Parts(Dataset):
    """Makes part number i when it is asked for; returns its number of items, or what went wrong."""

    def __init__(self, files: Sequence[Path], parts: Sequence[Sequence], work: Callable):
        self.files, self.parts, self.work = files, parts, work
        self.parent = os.getpid()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> int | RefStarError:
        if get_worker_info() and os.getppid() != self.parent:
            os._exit(1)  # the build was killed: leave the field to the next one
        try:
            records = self.work(self.parts[index])
        except RefStarError as error:
            return error
        write_text(self.files[index], json.dumps(records, indent=1))
        return len(records)


def run_stage(folder: Path, items: Sequence, work: Callable[[Sequence], list], crew: Crew, title: str) -> list[dict]:
    """Does the work on all items, by all machines.

    Args:
        folder: where the records of finished parts are kept.
        items: the same list, in the same order, on every machine and in every run.
        work: takes some items, returns as many records that JSON can hold; writes files, if any, each whole or not at
            all. What it raises as `RefStarError` ends the stage.
        crew: who works.
        title: of the progress bar.

    Returns:
        The records of all items, in order.
    """
    starts = range(0, len(items), PART)
    files = [folder / f'{number:05d}.json' for number in range(len(starts))]
    mine = range(crew.rank, len(files), crew.world)
    todo = [i for i in mine if not files[i].exists()]
    parts = _Parts([files[i] for i in todo], [items[starts[i] : starts[i] + PART] for i in todo], work)
    workers = min(crew.jobs, len(todo)) if crew.jobs > 1 else 0
    _calm()
    loader = DataLoader(parts, None, num_workers=workers, worker_init_fn=_calm)
    total = sum(len(items[starts[i] : starts[i] + PART]) for i in mine)
    with tqdm(total=total, initial=total - sum(map(len, parts.parts)), desc=title, unit='', disable=None) as bar:
        try:
            for count in loader:
                if isinstance(count, RefStarError):
                    raise count
                bar.update(count)
        except RuntimeError as error:
            if 'exited unexpectedly' not in str(error):
                raise
            raise RefStarError(f'{title}: a process died, perhaps of too little memory; lower --jobs') from None
    crew.wait(lambda: all(file.exists() for file in files), title)
    return [record for file in files for record in _read(file)]


def _calm(_: int = 0) -> None:
    """One thread a process: they would fight over the processors, and the last bits would depend on their number."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _read(file: Path) -> list[dict]:
    try:
        return json.loads(read_text(file))
    except ValueError as error:
        raise RefStarError(f'{file}: is broken ({error}); delete it and run the same command again') from None
