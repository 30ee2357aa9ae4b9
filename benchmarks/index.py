"""Measure what a data set of many people costs to open: `ReferencePairDataset` on folders of empty files.

python benchmarks/index.py [--people 100000] [--photos 3]
"""

import argparse
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

OPEN = """
import sys, time
import refstar, basicsr
from refstar.data.reference_pair_dataset import ReferencePairDataset
start, used = time.perf_counter(), time.process_time()
data = ReferencePairDataset({'dataroot': sys.argv[1], 'gt_size': 512})
print(f'{len(data.people)} people, {len(data.entries)} photos: opened in {time.perf_counter() - start:.2f} s, '
      f'{time.process_time() - used:.2f} s of the processor')
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--people', type=int, default=100_000)
    parser.add_argument('--photos', type=int, default=3, help='of each')
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        for person in range(args.people):
            home = Path(folder, f'{person:06d}')
            home.mkdir()
            for photo in range(args.photos):
                (home / f'{photo:02d}.jpg').touch()
        subprocess.run([sys.executable, '-c', OPEN, folder], check=True)


if __name__ == '__main__':
    main()
