"""What references cost: RefSTAR(GFPGANv1Clean, 512) against its bare backbone, in one run.

    python benchmarks/overhead.py [--device cuda] [--refs 1] [--rounds 11] [--out overhead.json]

Each round times the bare backbone, RefSTAR with reference photos, RefSTAR with a ready reference bank, and one face of
a video's frame, in alternating order, so that a slow moment of the machine does not fall on one of them alone. Reported
are ratios of medians. Weights are random: the time does not depend on them.

`frame` is `Restorer.restore` of an aligned face whose references are chosen and encoded: 8-bit picture in; 8-bit
picture, mask and attribution out, the colours kept. Not in it, though a video needs them too: decoding and encoding,
finding the face and cutting it out, measuring it and comparing it with the references' person, carrying the
correspondence of the frame before, and pasting.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from refstar import RefSTAR, Restorer
from refstar.blind_restorer import GFPGAN
from refstar.restore.faces import RestoreSettings
from refstar.trainer.option_file import load_options

NETWORK = {'size': 512, 'backbone': GFPGAN}
WANTED = {'references': 1.15, 'bank': 1.08, 'frame': 1.08}  # at most, with one reference


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Time of one call, the device's queue emptied before and after."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def peak_memory(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that a call needs at most beyond what was allocated before; None on the CPU, where torch does not count."""
    if device.type != 'cuda':
        return None
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def frame(net: RefSTAR, refs: int, device: torch.device) -> Callable[[], object]:
    """Restores one more aligned face of a video: what the network does, and no more."""
    random, restorer, settings = np.random.default_rng(0), Restorer(net, str(device)), RestoreSettings(num_refs=refs)
    pictures = random.integers(0, 256, (1 + refs, net.size, net.size, 3), dtype=np.uint8)
    people = restorer.people(list(pictures[1:]))
    plans = restorer.prepare([restorer.face(pictures[0])], people, settings)
    return lambda: restorer.restore(plans, settings)


def measure(options: dict, device: torch.device, refs: int, rounds: int, warm_up: int) -> dict:
    """Times the variants of one network.

    Args:
        options (dict): block ``network_g`` of a RefSTAR.
        device (torch.device): where to run.
        refs (int): references per photo.
        rounds (int): timed rounds.
        warm_up (int): rounds before them.
    """
    torch.manual_seed(0)
    net = RefSTAR(**{k: v for k, v in options.items() if k != 'type'}).eval().to(device)
    lq = torch.rand(1, 3, net.lq_size, net.lq_size, device=device) * 2 - 1
    photos = torch.rand(1, refs, 3, net.size, net.size, device=device) * 2 - 1
    bank = net.encode(photos)
    variants = {
        'backbone': lambda: net.backbone(lq),
        'references': lambda: net(lq, photos),
        'bank': lambda: net(lq, bank=bank),
        'frame': frame(net, refs, device),
    }
    times = {name: [] for name in variants}
    for i in range(warm_up + rounds):
        for name in list(variants)[:: 1 if i % 2 == 0 else -1]:
            spent = seconds(variants[name], device)
            if i >= warm_up:
                times[name].append(spent)
        print(f'\rround {i + 1} of {warm_up + rounds}', end='', flush=True)
    print()
    median = {name: statistics.median(values) for name, values in times.items()}
    parts = {'backbone': net.backbone, 'refsel': net.refsel, 'ref_encoder': net.ref_encoder, 'transfer': net.transfer}
    return {
        'device': f'CPU, {torch.get_num_threads()} threads'
        if device.type == 'cpu'
        else torch.cuda.get_device_name(device),
        'torch': torch.__version__,
        'size': net.size,
        'references_per_photo': refs,
        'rounds': rounds,
        'seconds': median,
        'spread': {name: [min(v), max(v)] for name, v in times.items()},
        'ratio': {name: median[name] / median['backbone'] for name in WANTED},
        'wanted': WANTED,
        'parameters': {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()},
        'bank_bytes': sum(x.numel() * x.element_size() for x in [*bank.match, *bank.taps.values()]),
        'peak_bytes': {name: peak_memory(call, device) for name, call in variants.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', type=torch.device, default=torch.device('cpu'))
    parser.add_argument(
        '--opt', type=Path, help='option file whose network_g to take (default: RefSTAR with its defaults)'
    )
    parser.add_argument('--refs', type=int, default=1, help='references per photo')
    parser.add_argument('--rounds', type=int, default=11)
    parser.add_argument('--warm-up', type=int, default=2)
    parser.add_argument('--out', type=Path, default=Path('overhead.json'))
    args = parser.parse_args()
    options = load_options(args.opt)['network_g'] if args.opt else NETWORK
    with torch.inference_mode():
        result = measure(options, args.device, args.refs, args.rounds, args.warm_up)
    args.out.write_text(json.dumps(result, indent=2))
    print(f'{result["device"]}, {result["size"]} px, {args.refs} reference(s), {args.rounds} rounds')
    for name, spent in result['seconds'].items():
        ratio = '' if name == 'backbone' else f'  {result["ratio"][name]:.3f}x (wanted: at most {WANTED[name]}x)'
        print(f'{name:<12}{1000 * spent:9.1f} ms{ratio}')
    print('parameters  ' + ', '.join(f'{name} {count / 1e6:.2f} M' for name, count in result['parameters'].items()))
    print(f'bank        {result["bank_bytes"] / 2**20:.1f} MiB')
    if args.device.type == 'cuda':
        print('peak memory ' + ', '.join(f'{n} {b / 2**20:.0f} MiB' for n, b in result['peak_bytes'].items()))
    print(args.out)


if __name__ == '__main__':
    main()
