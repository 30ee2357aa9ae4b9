"""`refstar export NETWORK --onnx FILE`: a RefSTAR as an ONNX file, compared with the network in torch.

Inputs: lq (b, 3, H, W), refs (b, n, 3, H, W), ref_valid (b, n), strength (b,); w (b,) where the backbone is CodeFormer,
noise (b, 3, H, W) where it is FlowRestorer, whose number of steps is fixed in the file. b and n are open. Exit code 1:
the file is written, but differs by more than --tolerance.
"""

import sys
from argparse import Namespace
from pathlib import Path

from refstar.utils.errors import CommandParser, RefStarError

from .cli_common import at_least, command, import_modules, shared


def add_arguments(p: CommandParser) -> None:
    """Describe the command line."""
    p.add_argument('network', metavar='NETWORK', type=Path, help='.safetensors or .pth')
    p.add_argument('--onnx', required=True, metavar='FILE', type=Path, help='file to write, X.onnx')
    p.add_argument('--fp16', action='store_true', help='half the size, and arithmetic in float16')
    text = 'largest difference of any output (default: 1e-3, with --fp16 5e-2)'
    p.add_argument('--tolerance', type=float, help=text)
    p.add_argument('--steps', type=at_least(0), metavar='K', help="of FlowRestorer (default: the network's own)")
    shared(p, '--options', '--import')


def run(args: Namespace) -> int:
    """Export a network; return 1 where the file differs too much from it.

    Raises:
        RefStarError: wrong input; nothing was written.
    """
    if args.onnx.suffix != '.onnx':
        raise RefStarError(f'--onnx {args.onnx}: the name of the file to write must end with .onnx')
    if args.onnx.exists() and args.network.exists() and args.onnx.samefile(args.network):
        raise RefStarError(f'--onnx {args.onnx}: is the network itself and would be overwritten; give another name')
    import_modules(args.modules)
    from refstar.restore.onnx_export import differences, export_onnx
    from refstar.utils.network_file import load_network

    net, worst = load_network(args.network, options=args.options), 0.0
    tolerance = (5e-2 if args.fp16 else 1e-3) if args.tolerance is None else args.tolerance
    export_onnx(net, args.onnx, args.steps, args.fp16)
    print(f'{args.onnx}: {args.onnx.stat().st_size / 1e6:.1f} MB; largest differences from torch:')
    for batch, count, found in differences(net, args.onnx):
        worst = max(worst, *found.values())
        text = ', '.join(f'{name} {value:.1e}' for name, value in found.items())
        print(f'  {batch} photos, {count} references: {text}')
    good = worst <= tolerance
    print(f'largest difference {worst:.1e}, {"within" if good else "BEYOND"} the tolerance {tolerance:g}')
    return int(not good)


main = command('refstar export', __doc__, add_arguments, run)

if __name__ == '__main__':
    sys.exit(main())
