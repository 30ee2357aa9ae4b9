"""`refstar masks build`: from photos of people to RefSel-HQ triplets (ground truth, reference, mask).

ROOT is what `refstar data check` reads: a folder with a folder of photos per person, an lmdb, a csv, a list ...
--synthetic N takes procedural people instead and needs no file at all. Kill it and start it again as you like.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from refstar.utils.errors import CommandParser, RefStarError

from .cli_common import command
from .train import main as train

SYNTHETIC_SIZE, SIZE = 256, 512
# Least confidence and agreement. Photos have noise and fine folds that procedural people lack: they are never as alike.
STRICTNESS = {'synthetic': (0.75, 0.85), 'photos': (0.55, 0.6)}
OPTIONS = Path(__file__).parents[1] / 'options' / 'masks' / 'refsel.yml'


def add_arguments(p: CommandParser) -> None:
    """Describe the command line."""
    p.add_argument('root', nargs='?', help='photos of people')
    p.add_argument('--synthetic', type=int, metavar='N', help='N pairs of procedural people instead')
    p.add_argument('-o', '--out', type=Path, required=True, metavar='OUT', help='folder of the collection')
    p.add_argument('--size', type=int, metavar='S', help=f'side in pixels ({SIZE}; synthetic {SYNTHETIC_SIZE})')
    p.add_argument('--seed', type=int, default=0, metavar='N', help='of the procedural people (0)')
    p.add_argument('--jobs', type=int, metavar='N', help='processes (one per core)')
    where = p.add_argument_group('the photos')
    where.add_argument('--splits', nargs='+', default=[], metavar='X.txt', help='lists of a part of ROOT (split_file)')
    where.add_argument('--split', metavar='NAME', help='which split of ROOT, where it has several: train')
    where.add_argument('--gt', metavar='FOLDER', help='folder of the images that a csv or meta_info file names')
    where.add_argument('--ref', metavar='FOLDER', help='folder of the references, where they are not in --gt')
    nets = p.add_argument_group('networks, by file; one that is not given is not used')
    nets.add_argument('--detector', default='', metavar='FILE', help='RetinaFace (.pth) or YuNet (.onnx): align photos')
    about = '68-point network (.onnx), AWing FAN (.pth), or points (.npz)'
    nets.add_argument('--landmarks', default='', metavar='FILE', help=about)
    nets.add_argument('--parsing', default='', metavar='FILE', help="facexlib's BiSeNet or ParseNet")
    nets.add_argument('--network', default='', metavar='NAME', help='identity network: edgeface_xxs, torchscript ...')
    nets.add_argument('--weights', default='', metavar='FILE', help='of --network')
    nets.add_argument('--prepare', metavar='NAME', help='of --network, in place of its own')
    rules = p.add_argument_group('pairs and masks')
    rules.add_argument('--pairs', type=int, metavar='N', help='at most, evenly taken')
    rules.add_argument('--per_person', type=int, default=4, metavar='N', help='pairs of a person at most (4)')
    low_high = {'nargs': 2, 'default': (0.3, 0.98), 'metavar': ('LOW', 'HIGH')}
    rules.add_argument('--similarity', type=float, **low_high, help='cosine of a pair')
    about = 'least one of an accepted mask (0.55; synthetic 0.75)'
    rules.add_argument('--confidence', type=float, metavar='X', help=about)
    about = 'least IoU of proposal and prediction (0.6; synthetic 0.85)'
    rules.add_argument('--agreement', type=float, metavar='X', help=about)
    rules.add_argument('--opt', type=Path, default=OPTIONS, metavar='X.yml', help='training (options/masks/refsel.yml)')
    rules.add_argument('--iterations', type=int, metavar='N', help='of the training; 0: no propagation')


def build(args: argparse.Namespace) -> None:
    """Build a collection, and print what is in it."""
    _check(args)
    from refstar.curate.mask_build import build_masks
    from refstar.curate.mask_curation import Strictness
    from refstar.curate.mask_propagation import training_options
    from refstar.curate.pair_mining import Mining
    from refstar.curate.pair_sources import PhotoSource, SyntheticPairs, list_photos
    from refstar.curate.photo_survey import Networks
    from refstar.utils.parallel import cores

    usual = STRICTNESS['synthetic' if args.synthetic else 'photos']
    given = args.confidence, args.agreement
    least = Strictness(*(default if value is None else value for value, default in zip(given, usual, strict=True)))
    training = None if args.iterations == 0 else training_options(args.opt, args.iterations)
    if args.synthetic:
        source = SyntheticPairs(args.synthetic, args.size or SYNTHETIC_SIZE, args.seed)
    else:
        photos = list_photos(args.root, {'dataroot_gt': args.gt, 'dataroot_ref': args.ref}, args.splits, args.split)
        networks = Networks(args.detector, args.landmarks, args.parsing, (args.network, args.weights, args.prepare))
        mining = Mining(args.per_person, tuple(args.similarity), args.pairs)
        source = PhotoSource(photos, args.root, networks, mining, args.size or SIZE, args.gt)
    rows = build_masks(args.out, source, least, training, train, args.jobs or cores())
    counts = Counter(row['provenance'] for row in rows)
    print(f'{len(rows)} triplets: {", ".join(f"{n} {state}" for state, n in sorted(counts.items()))}')
    print(f'{args.out}/meta.csv; refstar masks review {args.out}', flush=True)


def _check(args: argparse.Namespace) -> None:
    if (args.root is None) == (args.synthetic is None):
        raise RefStarError('give either ROOT, a collection of photos, or --synthetic N')
    lowest = {'synthetic': 1, 'size': 32, 'jobs': 1, 'pairs': 1, 'per_person': 1, 'iterations': 0, 'seed': 0}
    for key, low in lowest.items():
        if getattr(args, key) is not None and getattr(args, key) < low:
            raise RefStarError(f'--{key} must be at least {low}, got {getattr(args, key)}')
    for key in ('confidence', 'agreement'):
        if not 0 <= (getattr(args, key) or 0) <= 1:
            raise RefStarError(f'--{key} must lie between 0 and 1, got {getattr(args, key)}')
    if not -1 <= args.similarity[0] < args.similarity[1] <= 1:
        raise RefStarError('--similarity LOW HIGH must be -1 <= LOW < HIGH <= 1')
    if bool(args.network) != bool(args.weights):
        raise RefStarError('--network and --weights belong together')
    for key in ('detector', 'landmarks', 'parsing', 'weights', 'opt'):
        if getattr(args, key) and not Path(getattr(args, key)).is_file():
            raise RefStarError(f'--{key} {getattr(args, key)}: no such file')
    if args.detector and Path(args.landmarks).suffix in ('.npz', '.csv'):
        raise RefStarError('--landmarks: points of photos that --detector is to align are of no use; give a network')
    of_photos = ('pairs', 'split', 'splits', 'gt', 'ref', 'detector', 'landmarks', 'parsing', 'network')
    unused = [key for key in of_photos if getattr(args, key)]
    if args.synthetic and unused:
        raise RefStarError(f'--{unused[0]} cannot be used with --synthetic')


main = command('refstar masks build', __doc__, add_arguments, build)

if __name__ == '__main__':
    sys.exit(main())
