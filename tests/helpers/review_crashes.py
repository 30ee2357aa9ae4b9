"""Kills a review by SIGKILL at each of its system calls that write, and looks at what the next review finds.

    python review_crashes.py COLLECTION WORK

Prints how many calls there were of each kind, and how many kills left half a line in the journal.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from refstar.curate.mask_png import encode_mask
from refstar.curate.mask_review import MaskReview

CALLS = ('write', 'fsync', 'replace')


def decisions(root: Path, acknowledge: Callable[[], None]) -> None:
    """Four decisions, told after each."""
    review = MaskReview(root)
    side = review.look('00000')['width']
    drawn = np.zeros((side, side), np.uint8)
    drawn[:9] = 255
    steps = [
        ('00000', 'reject', b''),
        ('00001', 'accept', encode_mask(drawn)),
        ('00001', 'undo', b''),
        ('00001', 'accept', encode_mask(255 - drawn)),
    ]
    for name, action, edited in steps:
        seen = review.look(name)
        review.decide(name, action, seen['version'], seen['mask'], edited)
        acknowledge()
    review.close()


def standing(root: Path) -> list[tuple]:
    """What a new review finds."""
    review = MaskReview(root)
    pairs = [review.look(name) for name in ('00000', '00001')]
    review.close()
    assert not list(root.glob('*/.*.part'))
    meta = (root / 'meta.csv').read_text().splitlines()
    assert [line.split(',')[2] for line in meta[1:3]] == [pair['state'] for pair in pairs]
    masks = [np.array(Image.open(root / f'mask/{pair["id"]}.png')).tobytes() for pair in pairs]
    return [(pair['state'], pair['version'], mask) for pair, mask in zip(pairs, masks, strict=True)]


def watch(moment: int, how: str) -> list[str]:
    """From now on the process kills itself at call number `moment`: before it, after it, or half-way through a write.

    Returns:
        The names of the calls so far; it grows.
    """
    seen = []

    def guarded(name: str, call: Callable) -> Callable:
        def run(*args):
            seen.append(name)
            now = len(seen) == moment
            if now and how == 'half':
                call(args[0], args[1][: len(args[1]) // 2])
            if now and how != 'after':
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*args)
            if now:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return run

    for name in CALLS:
        setattr(os, name, guarded(name, getattr(os, name)))
    return seen


def in_child(action: Callable[[int], None]) -> tuple[bytes, int]:
    """What the action wrote to its pipe, and how its process ended."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        action(into)
        os._exit(0)
    os.close(into)
    with os.fdopen(out, 'rb') as file:
        said = file.read()
    return said, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(collection: Path, work: Path) -> None:
    write = os.write
    shutil.copytree(collection, work)
    expected = []  # what is found at the start and after each decision, when nothing is killed

    def note() -> None:
        copy = Path(f'{work}.{len(expected)}')
        expected.append(standing(shutil.copytree(work, copy)))

    note()
    decisions(work, note)
    shutil.rmtree(work)
    shutil.copytree(collection, work)

    def count(into: int) -> None:
        calls = watch(0, 'before')
        decisions(work, lambda: None)
        write(into, ' '.join(calls).encode())

    calls = in_child(count)[0].decode().split()
    torn = 0
    for moment, call in enumerate(calls, 1):
        for how in ('before', 'after', 'half') if call == 'write' else ('before', 'after'):
            shutil.rmtree(work)
            shutil.copytree(collection, work)

            def run(into: int, moment: int = moment, how: str = how) -> None:
                watch(moment, how)
                decisions(work, lambda: write(into, b'.'))

            said, code = in_child(run)
            assert code == -signal.SIGKILL, code
            journal = work / 'decisions.jsonl'
            half = journal.exists() and journal.read_bytes()[-1:] not in (b'', b'\n')
            found = standing(work)
            assert found in expected[len(said) : len(said) + 2], (how, moment, said)
            torn += half
    print(*(calls.count(call) for call in CALLS), torn)


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]))
