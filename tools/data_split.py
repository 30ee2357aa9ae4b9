"""`refstar data split`: divides the people of a collection into train, val and test, so that nobody is in two of them.

ROOT is one of
  a folder (or lmdb) with a folder of photos per person: writes the people's names, for the key split_file;
  a csv of FFHQ-Ref: writes the images' names and a csv per split;
  a folder (or lmdb) of photos of unknown people: --network and --weights tell them apart. Writes the photos' names, and
  a csv per split with the references of every photo that has any.
All into OUT: train.txt, val.txt, test.txt, {train,val,test}_references.csv, and split.json, which says how it was done.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from refstar.utils.errors import RefStarError

from .cli_common import run_command
from .data_check import whole

if TYPE_CHECKING:
    from refstar.curate.collection import Part
    from refstar.data.collections.reference_csv import Row

SAME_PERSON = 0.4  # cosine distance, of FFHQ-Ref; it holds for the ArcFace that was used there
TEST_DISTANCE = 0.1  # FFHQ-Ref's test set shows no reference nearer to the photo than this
MAX_REFS = 9  # the most that FFHQ-Ref's test set has


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog='refstar data split', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument('root', metavar='ROOT', help='what to split')
    p.add_argument('--out', required=True, type=Path, metavar='FOLDER', help='where the lists go')
    p.add_argument(
        '--fractions', nargs=3, type=float, default=[0.8, 0.1, 0.1], metavar='F', help='of the people: train, val, test'
    )
    p.add_argument('--seed', type=int, default=0, help='of the draw (default 0)')
    p.add_argument('--overwrite', action='store_true', help='replace lists that are in FOLDER already')
    unknown = p.add_argument_group('photos of unknown people')
    unknown.add_argument('--network', help='face-recognition network by name: arcface_resnet18, irse50, onnx ...')
    unknown.add_argument('--weights', metavar='FILE', help='its weights')
    unknown.add_argument('--prepare', help="what the network is fed (default: the named network's own)")
    unknown.add_argument(
        '--distance', type=float, default=SAME_PERSON, help=f'below it two photos are one person ({SAME_PERSON})'
    )
    unknown.add_argument(
        '--split_distance', type=float, metavar='D', help='people nearer than this share a split (default: --distance)'
    )
    unknown.add_argument('--max_refs', type=int, default=MAX_REFS, help=f'of a photo ({MAX_REFS})')
    unknown.add_argument('--min_refs', type=int, default=1, help='photos with fewer get no row (1)')
    unknown.add_argument(
        '--test_distance',
        type=float,
        default=TEST_DISTANCE,
        help=f'references nearer to the photo than this are left out of the test csv ({TEST_DISTANCE})',
    )
    unknown.add_argument('--jobs', type=int, metavar='N', help='processes that read photos (default: one per core)')
    return p


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(argv)
    return run_command(lambda: split(args))


@dataclass(frozen=True)
class People:
    """What is divided.

    Args:
        lines: person (or group of people who are much alike) -> lines for the list of the split.
        rows: (split, person or group) -> rows for the csv of that split.
        how: how the people were told apart, for split.json.
    """

    lines: dict[str, list[str]]
    rows: Callable[[str, str], list['Row']]
    how: dict


def split(args: argparse.Namespace) -> None:
    """Runs the command.

    Raises:
        RefStarError: ROOT cannot be split, or FOLDER holds lists already.
    """
    from refstar.curate.people_split import SPLITS, divide
    from refstar.data.collections.reference_csv import write_reference_csv
    from refstar.utils.text_files import write_text

    lists = [args.out / name for s in SPLITS for name in (f'{s}.txt', f'{s}_references.csv')]
    old = [path for path in (*lists, args.out / 'split.json') if path.exists()]
    if old and not args.overwrite:
        raise RefStarError(f'{old[0]} exists already; give another --out, or --overwrite')
    people = _people(args)
    splits = divide(list(people.lines), args.fractions, args.seed)
    for path in old:
        path.unlink()
    summary = {}
    for name, members in splits.items():
        lines = [line for person in members for line in people.lines[person]]
        rows = [row for person in members for row in people.rows(name, person)]
        if lines:
            write_text(args.out / f'{name}.txt', '\n'.join(lines) + '\n')
        if rows:
            with_lq = name != 'train' or any(row.lq != row.gt for row in rows)
            write_reference_csv(args.out / f'{name}_references.csv', rows, with_lq)
        summary[name] = {'people': len(members), 'lines': len(lines), 'rows': len(rows)}
        print(f'{name}: {len(members)} people, {len(lines)} lines, {len(rows)} rows of csv')
    done = {'root': args.root, 'fractions': args.fractions, 'seed': args.seed, **people.how, 'splits': summary}
    write_text(args.out / 'split.json', json.dumps(done, indent=1) + '\n')


def _people(args: argparse.Namespace) -> People:
    if Path(args.root).suffix == '.csv':
        return _from_csv(args.root)
    from refstar.curate.collection import parts_of

    first, *more = parts_of(args.root, {})
    if not more and first.unknown:
        return _from_photos(args, first)
    if not more and first.named:
        return _from_folders(args.root)
    raise RefStarError(f'{args.root}: give a folder with folders of photos, a folder of photos, or a csv')


def _from_csv(path: str) -> People:
    from refstar.data.collections.reference_csv import read_reference_csv

    rows = defaultdict(list)
    for row in read_reference_csv(path):
        rows[row.person].append(row)
    lines = {person: list(dict.fromkeys(row.gt for row in own)) for person, own in rows.items()}
    return People(lines, lambda _, person: rows[person], {'people': 'rows of the csv that share a file'})


def _from_folders(root: str) -> People:
    from refstar.curate.image_tree import Tree

    tree = Tree(Path(root).expanduser())
    return People({name: [name] for name in tree.folders() if tree.images(name)}, lambda *_: [], {'people': 'folders'})


def _from_photos(args: argparse.Namespace, part: 'Part') -> People:
    from refstar.curate.people_split import reference_rows
    from refstar.data.collections.listing import Missing
    from refstar.data.people_clusters import same_person
    from refstar.utils.embed import embed
    from refstar.utils.parallel import cores

    if not args.network or not args.weights:
        raise RefStarError(
            f'{args.root}: holds photos of unknown people; give --network and --weights of a face-recognition network'
        )
    apart = args.distance if args.split_distance is None else args.split_distance
    if not 0 < args.distance <= apart < 2:
        raise RefStarError(f'0 < --distance <= --split_distance < 2 must hold, got {args.distance} and {apart}')
    max_refs, min_refs = whole(args.max_refs, '--max_refs', 1), whole(args.min_refs, '--min_refs', 1)
    jobs = cores() if args.jobs is None else whole(args.jobs, '--jobs', 1)
    root, missing = Path(args.root).expanduser(), Missing('drop')
    found = [entry.gt for entry in part.read(missing)]
    missing.settle(args.root)
    photos, embeddings, unread, sha256 = embed(found, args.network, args.weights, args.prepare, jobs)
    for error in unread[:5]:
        print(f'left out: {error}')
    if unread:
        print(f'{len(unread)} photos were left out; refstar data check {args.root} lists them')
    names = [photo.relative_to(root).as_posix() for photo in photos]
    people = same_person(embeddings, args.distance)
    groups = {f'{i:06d}': own for i, own in enumerate(same_person(embeddings, apart))}
    alone = sum(len(own) == 1 for own in people)
    print(f'{len(names)} photos of {len(people)} people, {alone} of them with one photo only; {len(groups)} groups')

    def rows(split: str, group: str) -> list['Row']:
        nearest = args.test_distance if split == 'test' else 0
        found = []
        for own in same_person(embeddings[groups[group]], args.distance):
            own = groups[group][own]
            found += reference_rows([names[i] for i in own], embeddings[own], max_refs, min_refs, nearest)
        return found

    lines = {group: [names[i] for i in own] for group, own in groups.items()}
    how = {'people': 'connected components of embeddings', 'network': args.network, 'sha256': sha256}
    keys = ('prepare', 'distance', 'split_distance', 'max_refs', 'min_refs', 'test_distance')
    return People(lines, rows, {**how, **{key: getattr(args, key) for key in keys}, 'left_out': len(unread)})
