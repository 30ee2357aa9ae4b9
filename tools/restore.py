"""`refstar restore`: photos or videos restored with good photos of the same people.

References (-r) are photos, folders of photos, a folder with one folder per person, or banks (`refstar bank build`).
Beside every restored photo a JSON says which references each face got and why. docs/restore.md has examples.

Exit code: 0 everything was restored; 1 some photos failed, the others are done; 2 wrong input, nothing was done.
"""

import argparse
import sys
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

from refstar.utils.errors import CommandParser, RefStarError
from refstar.utils.released_weights import SHIPPED
from refstar.utils.stopwatch import timed

from .cli_common import at_least, command, shared

OTHERS = ('GFPGAN', 'CodeFormer', 'RestoreFormer', 'RealESRGAN')  # projects whose networks people try


def add_arguments(p: CommandParser) -> None:
    """Describe the command line; most destinations are fields of the settings in `refstar.restore`."""
    p.add_argument('-i', '--input', nargs='+', type=Path, required=True, metavar='PATH', help='photos, videos, folders')
    p.add_argument('-r', '--refs', nargs='+', default=[], metavar='PATH', help='references; none: the backbone alone')
    p.add_argument('--refs_by_name', action='store_true', help='a photo x.png gets REFS/x.* and REFS/x/ only')
    p.add_argument('-o', '--output', type=Path, default=Path('results/restore'), metavar='DIR', help='output folder')
    network_arguments(p)

    how = p.add_argument_group('how faces are restored')
    how.add_argument('-w', '--strength', type=float, default=1.0, help='of the references, 0 to 1 (default: 1)')
    text = 'another restorer, whose output is a second input: its weights, a name, or a folder of restored photos'
    how.add_argument('--base', metavar='PATH', help=text)
    how.add_argument('--fidelity', type=float, metavar='W', help="CodeFormer's w, 0 (quality) to 1 (fidelity)")
    how.add_argument('--steps', type=at_least(0), metavar='K', help="FlowRestorer's steps; 0: its mean")
    how.add_argument('--seed', type=at_least(0), metavar='N', help="of FlowRestorer's noise (default: 0)")
    how.add_argument(
        '--num_refs', type=at_least(1), default=4, metavar='N', help='most references of a face (default: 4)'
    )
    how.add_argument('--on_wrong_identity', choices=('drop', 'warn', 'refuse'), default='drop')
    unmatched = 'of several faces those like nobody on the good photos: left as they are, or restored without any'
    how.add_argument('--unmatched', choices=('leave', 'restore'), default='leave', help=f'{unmatched} (default: leave)')
    how.add_argument('--batch_size', type=at_least(1), default=1, metavar='N', help='faces at a time (default: 1)')
    how.add_argument('--use', type=names, default=(), metavar='A,B', help='parts to take from references: eyes,skin')
    how.add_argument('--keep', type=names, default=(), metavar='A,B', help='parts to take from none: mouth,glasses')
    how.add_argument('--mask_threshold', type=float, metavar='T', help='make the selection 0 or 1 at T')
    how.add_argument('--ref_mask_dir', type=Path, metavar='DIR', help='edited masks, named as --save_mask writes them')
    how.add_argument('--no_colour', dest='colour', action='store_false', help='let references change the colours')

    photo = p.add_argument_group('whole photos and videos')
    photo.add_argument('--only_center_face', action='store_true', help='restore the most central face alone')
    photo.add_argument('--min_face', type=at_least(0, float), default=0, metavar='N', help='leave faces below N pixels')
    photo.add_argument('--grey', action='store_true', help='no colour (default: as the photo, e.g. sepia)')
    photo.add_argument('-s', '--upscale', type=float, default=1, help='factor of the sides (default: 1)')
    photo.add_argument('--paste', choices=('face', 'square'), default='face', help='what is put back (default: face)')
    photo.add_argument('--bg_upsampler', choices=('none', 'realesrgan'), default='none')
    photo.add_argument('--bg_weights', metavar='FILE', help='of Real-ESRGAN; nothing is downloaded')
    photo.add_argument('--tile', '--bg_tile', type=int, default=400, metavar='N', help='of the background; 0: no tiles')
    photo.add_argument('--no_carry', dest='carry', action='store_false', help='videos: match every frame anew')
    photo.add_argument(
        '--max_pixels', type=at_least(1), metavar='N', help='larger pictures are refused (default: 100 million)'
    )

    out = p.add_argument_group('output')
    out.add_argument('--suffix', default='', help='put after the name of every restored photo')
    out.add_argument('--ext', default='auto', help='png, jpg, webp ...; auto: as the input (default)')
    out.add_argument('--save_mask', action='store_true', help='selections, overlays and attribution maps in masks/')
    out.add_argument('--save_faces', action='store_true', help='aligned faces, before and after, in faces/')
    out.add_argument('--timing', action='store_true', help='print where the time went')
    out.add_argument('--report', action='store_true', help='report.html: every face, its references, and why')


def network_arguments(p: argparse.ArgumentParser) -> None:
    """Add what `restore`, `bank` and `app` need to open a network."""
    net = p.add_argument_group('networks; each is a file, or (but -n) a name of `refstar weights list`')
    network = 'trained RefSTAR: .safetensors, .pth or .onnx (default: the one that ships)'
    net.add_argument('-n', '--network', metavar='FILE', default=SHIPPED, help=network)
    net.add_argument('--backend', choices=('torch', 'onnx'), help="what computes (default: by the file's name)")
    text = "onnxruntime's, for an ONNX file: cuda, tensorrt, coreml, dml, openvino ... (default: by --device)"
    net.add_argument('--provider', dest='providers', metavar='NAME', help=text)
    shared(net, '--options')
    net.add_argument('--detector', metavar='FILE', help="facexlib's RetinaFace .pth, or YuNet .onnx (default: ships)")
    net.add_argument('--aligned', action='store_true', help='photos are FFHQ-aligned faces: nothing is detected')
    text = 'who is on the references: mobilefacenet, irse50 ... (default: dlib, which ships)'
    net.add_argument('--identity_network', metavar='NAME', help=text)
    net.add_argument('--identity_weights', metavar='FILE', help='of --identity_network')
    text = 'least similarity of the same person, with --identity_weights'
    net.add_argument('--identity_threshold', type=float, metavar='COS', help=text)
    shared(net, '--device')
    precision = net.add_mutually_exclusive_group()
    precision.add_argument('--fp16', dest='precision', action='store_const', const='fp16', default='fp32')
    precision.add_argument('--bf16', dest='precision', action='store_const', const='bf16')


def names(text: str) -> tuple[str, ...]:
    """Split `a,b` into (a, b)."""
    return tuple(part.strip() for part in text.split(',') if part.strip())


def begin(args: argparse.Namespace) -> None:
    """Silence what libraries say about each other; check paths before anything is imported that takes seconds.

    Raises:
        RefStarError: a path is wrong.
    """
    if not sys.warnoptions:
        warnings.simplefilter('ignore')
    for what, paths in (('', getattr(args, 'input', [])), ('references: ', getattr(args, 'refs', []))):
        for path in paths:
            if not Path(path).expanduser().exists():
                raise RefStarError(f'{what}{path}: no such file or folder')
    if not Path(args.network).is_file():
        raise RefStarError(about_other(args.network) or f'{args.network}: no such file (-n)')


def about_other(network: str) -> str | None:
    """Return what to tell a user who takes the network of another project for a RefSTAR; None for other names."""
    name = Path(network).name.lower().replace('-', '').replace('_', '')
    other = next((other for other in OTHERS if name.startswith(other.lower())), None)
    if other == 'RealESRGAN':
        return f'-n {network}: {other} enlarges backgrounds: --bg_upsampler realesrgan --bg_weights FILE'
    hint = f'leave -n out for the network that ships, or train one on the weights of {other} (docs/training.md)'
    return other and f'-n {network}: {other} takes no references: {hint}'


def settings_from(kind: type, args: argparse.Namespace, **given: Any) -> Any:
    """Return a dataclass whose fields are arguments of the same name, or are given."""
    return kind(**{f.name: getattr(args, f.name) for f in fields(kind) if hasattr(args, f.name)} | given)


def open_restorer(args: argparse.Namespace) -> Any:
    """Open the networks that `network_arguments` describe, as a `Restorer`.

    Raises:
        RefStarError: a file is missing or does not fit.
    """
    begin(args)
    with timed('open'):
        from refstar.restore.restorer import Restorer
    from refstar.utils.device import choose_device
    from refstar.utils.image_files import MAX_PIXELS
    from refstar.utils.released_weights import resolve

    device, identity, base = choose_device(args.device), None, getattr(args, 'base', None)
    if args.identity_network or args.identity_weights:
        identity = args.identity_network or 'mobilefacenet', resolve(args.identity_weights)
    try:
        return Restorer.from_pretrained(
            args.network,
            options=args.options,
            device=device,
            precision=args.precision,
            identity=identity,
            identity_threshold=args.identity_threshold,
            detector=args.detector or (None if args.aligned else 'yunet'),
            max_pixels=getattr(args, 'max_pixels', None) or MAX_PIXELS,
            backend=args.backend,
            base=None if is_folder(base) else base,
            providers=args.providers,
        )
    except RefStarError as error:
        if str(args.network) in str(error) and (hint := about_other(args.network)):
            raise RefStarError(f'{hint}; of the file: {error}') from error
        raise


def restore(args: argparse.Namespace) -> list[str]:
    """Restore everything that the arguments name; return the errors of inputs that failed.

    Raises:
        RefStarError: wrong input; nothing was written.
    """
    begin(args)
    with timed('open'):
        from refstar.restore.batch import BatchRestorer
    from refstar.restore.faces import RestoreSettings
    from refstar.restore.input_files import inputs_of, left_alone, open_sources, references_by_name
    from refstar.restore.photo import PhotoSettings, RealESRGAN

    settings, inputs = settings_from(RestoreSettings, args), inputs_of(args.input)
    photo_settings = settings_from(PhotoSettings, args)
    if args.refs_by_name:  # a wrong path ends here, before networks open
        found = references_by_name(args.refs).values()
    else:
        found = [photos if isinstance(photos, list) else [photos] for _, photos, _ in open_sources(args.refs)]
    for line in left_alone([*args.input, *args.refs], [*inputs, *(path for paths in found for path in paths)]):
        print(line)
    restorer = open_restorer(args)
    if args.bg_upsampler == 'realesrgan':
        background = RealESRGAN(args.bg_weights, str(restorer.device), args.tile, restorer.max_pixels)
        photo_settings = settings_from(PhotoSettings, args, background=background)
    given = {'restorer': restorer, 'inputs': inputs, 'settings': settings, 'photo_settings': photo_settings}
    folder = Path(args.base).expanduser() if is_folder(args.base) else None
    return settings_from(BatchRestorer, args, base=folder, **given).run()


def is_folder(path: str | None) -> bool:
    """Return whether a path is given and names a folder."""
    return path is not None and Path(path).expanduser().is_dir()


main = command('refstar restore', __doc__, add_arguments, lambda args: int(bool(restore(args))))

if __name__ == '__main__':
    sys.exit(main())
