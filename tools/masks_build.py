"""`refstar masks build`: from photos of people to RefSel-HQ triplets (ground truth, reference, mask).

ROOT is what `refstar data check` reads: a folder with a folder of photos per person, an lmdb, a csv, a list ...
--synthetic N takes procedural people instead and needs no file at all. Kill it and start it again as you like.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from refstar.utils.errors import CommandParser, RefStarError
from refstar.utils.released_weights import resolve

from .cli_common import at_least, command
from .train import main as train

SYNTHETIC_SIZE, SIZE = 256, 512
# Least confidence and agreement. Photos have noise and fine folds that procedural people lack: they are never as alike.
LEAST = {'synthetic': {'confidence': 0.75, 'agreement': 0.85}, 'photos': {'confidence': 0.55, 'agreement': 0.6}}
SHIPPED = {'landmarks': 'landmarks_68', 'network': 'dlib'}
NETWORKS = ('detector', 'landmarks', 'network', 'weights', 'prepare')
OPTIONS = Path(__file__).parents[1] / 'options' / 'masks' / 'refsel.yml'


def add_arguments(p: CommandParser) -> None:
    """Describe the command line."""
    p.add_argument('root', nargs='?', help='photos of people')
    p.add_argument('--synthetic', type=at_least(1), metavar='N', help='N pairs of procedural people instead')
    p.add_argument('-o', '--out', type=Path, required=True, metavar='OUT', help='folder of the collection')
    p.add_argument(
        '--size', type=at_least(32), metavar='S', help=f'side in pixels ({SIZE}; synthetic {SYNTHETIC_SIZE})'
    )
    p.add_argument('--seed', type=at_least(0), default=0, metavar='N', help='of the procedural people (0)')
    p.add_argument('--jobs', type=at_least(1), metavar='N', help='processes (one per core)')
    where = p.add_argument_group('the photos')
    where.add_argument('--splits', nargs='+', default=[], metavar='X.txt', help='lists of a part of ROOT (split_file)')
    where.add_argument('--split', metavar='NAME', help='which split of ROOT, where it has several: train')
    where.add_argument('--gt', metavar='FOLDER', help='folder of the images that a csv or meta_info file names')
    where.add_argument('--ref', metavar='FOLDER', help='folder of the references, where they are not in --gt')
    nets = p.add_argument_group("networks; '' for none")
    about = 'align photos: a file, or a name of `refstar weights list`; yunet ships (default: none)'
    nets.add_argument('--detector', default='', metavar='FILE', help=about)
    about = 'points of the photos (.npz), or a network of 68 points (.safetensors; default: the one that ships)'
    nets.add_argument('--landmarks', metavar='FILE', help=about)
    about = 'identity network: edgeface_xxs, torchscript ... (default: dlib, which ships)'
    nets.add_argument('--network', metavar='NAME', help=about)
    nets.add_argument('--weights', default='', metavar='FILE', help='of --network: a file or a name')
    nets.add_argument('--prepare', metavar='NAME', help='of --network, in place of its own')
    rules = p.add_argument_group('pairs and masks')
    rules.add_argument('--pairs', type=at_least(1), metavar='N', help='at most, evenly taken')
    rules.add_argument('--per_person', type=at_least(1), default=4, metavar='N', help='pairs of a person at most (4)')
    low_high = {'nargs': 2, 'default': (0.3, 0.98), 'metavar': ('LOW', 'HIGH')}
    rules.add_argument('--similarity', type=float, **low_high, help='cosine of a pair')
    about = 'least one of an accepted mask (0.55; synthetic 0.75)'
    rules.add_argument('--confidence', type=at_least(0, float), metavar='X', help=about)
    about = 'least IoU of proposal and prediction (0.6; synthetic 0.85)'
    rules.add_argument('--agreement', type=at_least(0, float), metavar='X', help=about)
    rules.add_argument('--opt', type=Path, default=OPTIONS, metavar='X.yml', help='training (options/masks/refsel.yml)')
    rules.add_argument('--iterations', type=at_least(0), metavar='N', help='of the training; 0: no propagation')


def build(args: argparse.Namespace) -> None:
    """Build a collection, and print what is in it."""
    _check(args)
    from refstar.curate.mask_build import build_masks
    from refstar.curate.mask_propagation import training_options
    from refstar.curate.pair_sources import PhotoPairs, SyntheticPairs, list_photos
    from refstar.utils.parallel import cores

    usual = LEAST['synthetic' if args.synthetic else 'photos']
    least = {key: value if getattr(args, key) is None else getattr(args, key) for key, value in usual.items()}
    training = None if args.iterations == 0 else training_options(args.opt, args.iterations)
    if args.synthetic:
        source = SyntheticPairs(args.synthetic, args.size or SYNTHETIC_SIZE, args.seed)
    else:
        photos = list_photos(args.root, {'dataroot_gt': args.gt, 'dataroot_ref': args.ref}, args.splits, args.split)
        networks = {key: getattr(args, key) for key in NETWORKS}
        networks |= {key: name for key, name in SHIPPED.items() if getattr(args, key) is None}
        networks['landmarks'] = resolve(networks['landmarks'])
        rules = {'per_person': args.per_person, 'similarity': tuple(args.similarity), 'limit': args.pairs}
        source = PhotoPairs(photos, args.root, networks, rules, args.size or SIZE, args.gt)
    rows = build_masks(args.out, source, least, training, train, args.jobs or cores())
    counts = Counter(row['provenance'] for row in rows)
    print(f'{len(rows)} triplets: {", ".join(f"{n} {state}" for state, n in sorted(counts.items()))}')
    print(f'{args.out}/meta.csv; refstar masks review {args.out}', flush=True)


def _check(args: argparse.Namespace) -> None:
    if (args.root is None) == (args.synthetic is None):
        raise RefStarError('give either ROOT, a collection of photos, or --synthetic N')
    for key in ('confidence', 'agreement'):
        if (getattr(args, key) or 0) > 1:
            raise RefStarError(f'--{key} must be at most 1, got {getattr(args, key)}')
    if not -1 <= args.similarity[0] < args.similarity[1] <= 1:
        raise RefStarError('--similarity LOW HIGH must be -1 <= LOW < HIGH <= 1')
    if (args.network not in (None, '', SHIPPED['network'])) != bool(args.weights):
        raise RefStarError('--network and --weights belong together')
    points = Path(args.landmarks or '').suffix
    if args.landmarks not in (None, '', SHIPPED['landmarks']) and points not in ('.npz', '.safetensors'):
        raise RefStarError(
            f'--landmarks {args.landmarks}: neither points (.npz, by benchmarks/landmarks.py) nor a network of 68 '
            f'points (.safetensors); leave it out for {SHIPPED["landmarks"]}, which ships'
        )
    for key in ('detector', 'landmarks', 'weights'):
        setattr(args, key, resolve(getattr(args, key)))
    for key in ('detector', 'landmarks', 'weights', 'opt'):
        if getattr(args, key) and not Path(getattr(args, key)).is_file():
            raise RefStarError(f'--{key} {getattr(args, key)}: no such file')
    if args.detector and points == '.npz':
        raise RefStarError(
            '--landmarks: points of photos that --detector is to align are of no use; leave out one of the two'
        )
    of_photos = ('pairs', 'split', 'splits', 'gt', 'ref', 'detector', 'landmarks', 'network')
    unused = [key for key in of_photos if getattr(args, key)]
    if args.synthetic and unused:
        raise RefStarError(f'--{unused[0]} cannot be used with --synthetic')


main = command('refstar masks build', __doc__, add_arguments, build)

if __name__ == '__main__':
    sys.exit(main())
