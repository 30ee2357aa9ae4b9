"""`refstar export NETWORK --onnx FILE`: a RefSTAR as an ONNX file, compared with the network in torch.

Inputs: lq (b, 3, H, W), refs (b, n, 3, H, W), ref_valid (b, n), strength (b,), and w (b,) where the backbone is
CodeFormer. b and n are open. Exit code 1: the file is written, but differs by more than --tolerance.
"""

import argparse
from pathlib import Path

from refstar.utils.errors import CommandParser, RefStarError

from .cli_common import import_modules, run_command


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    p = CommandParser(prog='refstar export', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('network', metavar='NETWORK', type=Path, help='.safetensors or .pth')
    p.add_argument('--onnx', required=True, metavar='FILE', type=Path, help='file to write, X.onnx')
    p.add_argument('--options', metavar='X.yml', help='option file of the network, where its file has no options')
    p.add_argument('--tolerance', type=float, default=1e-3, help='largest difference of any output (default: 1e-3)')
    p.add_argument('--import', dest='modules', nargs='+', default=[], metavar='MODULE', help='as of `basicsr train`')
    return p


def check_output(network: Path, onnx: Path) -> None:
    """Raise RefStarError where the file to write is no `.onnx`, or is the network itself."""
    if onnx.suffix != '.onnx':
        raise RefStarError(f'--onnx {onnx}: the name of the file to write must end with .onnx')
    if onnx.exists() and network.exists() and onnx.samefile(network):
        raise RefStarError(f'--onnx {onnx}: is the network itself and would be overwritten; give another name')


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    args = parser().parse_args(argv)
    worst = 0.0

    def export() -> None:
        nonlocal worst
        check_output(args.network, args.onnx)
        import_modules(args.modules)
        from refstar.restore.onnx_network import differences, export_onnx
        from refstar.utils.network_file import load_network

        net = load_network(args.network, options=args.options)
        export_onnx(net, args.onnx)
        print(f'{args.onnx}: {args.onnx.stat().st_size / 1e6:.1f} MB; largest differences from torch:')
        for batch, count, found in differences(net, args.onnx):
            worst = max(worst, *found.values())
            text = ', '.join(f'{name} {value:.1e}' for name, value in found.items())
            print(f'  {batch} photos, {count} references: {text}')
        verdict = 'within' if worst <= args.tolerance else 'BEYOND'
        print(f'largest difference {worst:.1e}, {verdict} the tolerance {args.tolerance:g}')

    return run_command(export) or int(not worst <= args.tolerance)


if __name__ == '__main__':
    raise SystemExit(main())
