"""How fast synthetic pairs are made, on one thread.

    python benchmarks/synthetic_speed.py [--size 128] [--pairs 300] [--identities 100]

A pair is two photos of a person with the flow between them and the selection in both. Reported are medians of
processor time over short runs (other programs on the machine lengthen wall time, not this), with people already in
memory and with people who have yet to be painted, and with and without the degradation of the LQ.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import cv2
import torch

import refstar  # noqa: F401
from refstar.data.synthetic import identity
from refstar.data.synthetic_face_dataset import SyntheticFaceDataset


def rate(make: Callable[[int], object], count: int, runs: int = 10) -> float:
    """Calls per second of processor time, median over runs."""
    rates, each = [], max(1, count // runs)
    for run in range(runs):
        start = time.process_time()
        for index in range(run * each, (run + 1) * each):
            make(index)
        rates.append(each / (time.process_time() - start))
    return statistics.median(rates)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', type=int, default=128)
    parser.add_argument('--pairs', type=int, default=300)
    parser.add_argument('--identities', type=int, default=100)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    data = SyntheticFaceDataset({'gt_size': args.size, 'identities': args.identities, 'phase': 'train'})

    def forget_and_make(index: int):
        identity._people.clear()
        return data[index]

    fresh = rate(forget_and_make, min(args.pairs, 60))
    for index in range(args.identities):
        data[index]
    full = rate(data.__getitem__, args.pairs)
    data.degradation = lambda image, rng: image
    bare = rate(data.__getitem__, args.pairs)
    photo = rate(lambda index: data.photo(index % args.identities, index), args.pairs)
    print(f'{args.size} px, one thread, per second of processor time')
    print(f'  photos                                   {photo:8.0f}')
    print(f'  pairs without degradation                {bare:8.0f}')
    print(f'  pairs with degradation (ffhq_ref_severe) {full:8.0f}')
    print(f'  pairs of people not met before           {fresh:8.0f}')


if __name__ == '__main__':
    main()
