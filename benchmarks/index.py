"""What an index of many people costs to open: `ReferencePairDataset` in a process of its own, names without files.

python benchmarks/index.py [--people 100000] [--photos 3]
"""

import argparse
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from refstar.data.collections.entry import Entry
from refstar.data.collections.index import write_index
from refstar.data.collections.manifest import photos_by_identity

OPEN = """
import resource, sys, time
import refstar, basicsr
from refstar.data.reference_pair_dataset import ReferencePairDataset
def resident():
    return int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize() / 1e6
before, start = resident(), time.perf_counter()
data = ReferencePairDataset({'index_file': sys.argv[1], 'gt_size': 512})
print(f'{len(data.people)} people, {len(data.entries)} photos: opened in {time.perf_counter() - start:.2f} s, '
      f'{resident() - before:.0f} MB')
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--people', type=int, default=100_000)
    parser.add_argument('--photos', type=int, default=3, help='of each')
    args = parser.parse_args()
    entries = []
    for person in range(args.people):
        photos = [Path(f'/faces/{person:06d}/{i:02d}.jpg') for i in range(args.photos)]
        for i, photo in enumerate(photos):
            refs = tuple(photos[:i] + photos[i + 1 :])
            entries.append(Entry(f'{person:06d}_{i:02d}', f'{person:06d}', photo, None, refs))
    with TemporaryDirectory() as folder:
        file = Path(folder) / 'faces.index'
        write_index(file, entries, photos_by_identity(entries))
        print(f'{file.stat().st_size / 1e6:.0f} MB on disk', flush=True)
        subprocess.run([sys.executable, '-c', OPEN, file], check=True)


if __name__ == '__main__':
    main()
