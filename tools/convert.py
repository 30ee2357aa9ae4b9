"""`refstar convert IN OUT`: a network's file in another form, .pth <-> .safetensors.

OUT keeps the options that build the network, so that it stands alone: `refstar restore`, `export` and `load_network`
need nothing beside it. Of a checkpoint of BasicSR the averaged weights (`params_ema`) are taken where there are any,
and the options of its experiment (`experiments/NAME/*.yml`).
"""

import sys
from argparse import Namespace
from pathlib import Path

from refstar.utils.errors import CommandParser, RefStarError

from .cli_common import command, import_modules, shared


def add_arguments(p: CommandParser) -> None:
    """Describe the command line."""
    p.add_argument('input', metavar='IN', type=Path, help='.pth or .safetensors')
    p.add_argument('output', metavar='OUT', type=Path, help='.pth (as BasicSR reads it, key params) or .safetensors')
    which = p.add_mutually_exclusive_group()
    which.add_argument('--ema', action='store_true', help='the averaged weights, and an error where there are none')
    which.add_argument('--param_key', metavar='KEY', help='which weights of a .pth, e.g. params')
    p.add_argument('--fp16', action='store_true', help='numbers of 2 bytes; networks still compute in 4')
    p.add_argument('--no_embed', action='store_true', help='leave the files of identity networks out; docs/files.md')
    p.add_argument('--no_check', action='store_true', help='do not build the network to see that the weights fit')
    shared(p, '--options', '--import')


def run(args: Namespace) -> None:
    """Read, change, check and write a network's file.

    Raises:
        RefStarError: wrong input.
    """
    from refstar.utils.checkpoint import in_half
    from refstar.utils.network_file import build, read_network, save_network

    key = 'params_ema' if args.ema else args.param_key
    if key and args.input.suffix == '.safetensors':
        raise RefStarError(f'{args.input}: a .safetensors file holds one set of weights; leave --ema, --param_key out')
    file = read_network(args.input, args.options, key)
    if args.fp16:
        file.state = in_half(file.state, args.input)
    if file.options and not args.no_check:
        import_modules(args.modules)
        build(file, args.input)
    save_network(file, args.output, embed_frozen=not args.no_embed)
    about = file.options['type'] if file.options else 'without options: give --options X.yml to make it stand alone'
    size = sum(value.numel() for value in file.state.values()) / 1e6
    print(f'{args.output}: {about}, {size:.1f} million numbers, {args.output.stat().st_size / 1e6:.1f} MB')


main = command('refstar convert', __doc__, add_arguments, run)

if __name__ == '__main__':
    sys.exit(main())
