"""How memory grows with the number of references: RefSTAR(GFPGANv1Clean, 512), each way of combining them.

    python benchmarks/memory.py [--device cuda] [--refs 1 8] [--out memory.json]

Every case runs in a process of its own. On the CPU its peak is the kernel's (resident memory, libraries and weights
included); on a GPU it is torch's peak of allocated memory, weights included. Wanted: from one to eight references at
most 1.15 times as much, in `guidance` and in `concat` with `chunk` 1.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

CASES = {
    'concat': {},
    'concat, chunk 1': {'chunk': 1},
    'guidance': {'combine': 'guidance'},
}


def peak(case: str, refs: int, device: str, opt: Path | None) -> dict[str, object]:
    """Bytes at the peak of one pass, in this process, and the name of the device."""
    import torch
    from overhead import NETWORK

    from refstar import RefSTAR
    from refstar.trainer.option_file import load_options

    torch.manual_seed(0)
    options = load_options(opt)['network_g'] if opt else NETWORK
    net = RefSTAR(**{key: value for key, value in options.items() if key != 'type'}).eval().to(device)
    lq = torch.rand(1, 3, net.lq_size, net.lq_size, device=device)
    photos = torch.rand(1, refs, 3, net.size, net.size, device=device)
    with torch.inference_mode():
        net(lq, photos, **CASES[case])
    if lq.is_cuda:
        return {'bytes': torch.cuda.max_memory_allocated(device), 'device': torch.cuda.get_device_name(device)}
    bytes_ = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {'bytes': bytes_, 'device': f'CPU, {torch.get_num_threads()} threads'}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--opt', type=Path, help='option file whose network_g to take')
    parser.add_argument('--refs', type=int, nargs=2, default=[1, 8], help='numbers of references to compare')
    parser.add_argument('--cases', nargs='+', choices=CASES, default=list(CASES))
    parser.add_argument('--out', type=Path, default=Path('memory.json'))
    parser.add_argument('--one', nargs=2, help=argparse.SUPPRESS)  # a case and a number: print its peak
    args = parser.parse_args()
    if args.one:
        print(json.dumps(peak(args.one[0], int(args.one[1]), args.device, args.opt)))
        return
    result = {'references': args.refs, 'bytes': {}, 'ratio': {}}
    for case in args.cases:
        found = []
        for refs in args.refs:
            argv = [sys.executable, __file__, '--device', args.device, '--one', case, str(refs)]
            argv += ['--opt', str(args.opt)] if args.opt else []
            done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
            one = json.loads(done.stdout.splitlines()[-1])
            result['device'] = one['device']
            found.append(one['bytes'])
        result['bytes'][case], result['ratio'][case] = found, found[1] / found[0]
        text = ', '.join(f'{n} references {b / 2**20:.0f} MiB' for n, b in zip(args.refs, found, strict=True))
        print(f'{case:<16} {text}: {found[1] / found[0]:.3f}x', flush=True)
    args.out.write_text(json.dumps(result, indent=2))
    print(args.out)


if __name__ == '__main__':
    main()
