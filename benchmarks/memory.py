"""How memory grows with the number of references: RefSTAR(GFPGANv1Clean, 512), each way of combining them.

    python benchmarks/memory.py [--device cuda] [--refs 1 8]

On the CPU every case runs in a process of its own and its peak is the kernel's (resident memory, libraries and weights
included); on a GPU it is torch's peak of allocated memory, weights included. Wanted: from one to eight references at
most 1.15 times as much, in `guidance` and in `concat` with `chunk` 1.
"""

import argparse
import json
import resource
import subprocess
import sys

import torch
from overhead import NETWORK

from refstar import RefSTAR

CASES = {
    'concat': {},
    'concat, chunk 1': {'chunk': 1},
    'guidance': {'combine': 'guidance'},
}


@torch.inference_mode()
def peak(case: str, refs: int, device: torch.device) -> int:
    """Bytes at the peak of one pass, in this process."""
    torch.manual_seed(0)
    net = RefSTAR(**NETWORK).eval().to(device)
    lq, photos = torch.rand(1, 3, 512, 512, device=device), torch.rand(1, refs, 3, 512, 512, device=device)
    net(lq, photos, **CASES[case])
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--refs', type=int, nargs=2, default=[1, 8], help='numbers of references to compare')
    parser.add_argument('--one', nargs=2, help=argparse.SUPPRESS)  # a case and a number: print its peak
    args = parser.parse_args()
    if args.one:
        print(json.dumps(peak(args.one[0], int(args.one[1]), torch.device(args.device))))
        return
    for case in CASES:
        found = []
        for refs in args.refs:
            argv = [sys.executable, __file__, '--device', args.device, '--one', case, str(refs)]
            done = subprocess.run(argv, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
        text = ', '.join(f'{n} references {b / 2**20:.0f} MiB' for n, b in zip(args.refs, found, strict=True))
        print(f'{case:<16} {text}: {found[1] / found[0]:.3f}x', flush=True)


if __name__ == '__main__':
    main()
