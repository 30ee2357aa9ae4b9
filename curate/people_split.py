"""Divide people into train, val and test, so that nobody is in two of them, and pair photos with their references."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from refstar.data.collections.listing import Missing, Tree
from refstar.data.collections.reference_csv import Row, read_reference_csv, write_reference_csv
from refstar.data.images import ImageStore
from refstar.data.people_clusters import farthest_first, same_person
from refstar.identity_arch import IdentityEncoder
from refstar.utils.device import choose_device
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor
from refstar.utils.parallel import parallel
from refstar.utils.text_files import write_text

from .collection import ImageList, image_lists

SPLITS = ('train', 'val', 'test')
SIZE = 256  # photos are resized to it, so that they fit in a batch; the networks see 112 to 224 pixels of them
BATCH = 32

Rows = Callable[[str, str], list[Row]]  # (split, person or group) -> rows for the csv of that split


def split_people(
    root: str, out: Path, fractions: Sequence[float], seed: int, overwrite: bool, unknown: Mapping, jobs: int
) -> None:
    """Write `{train,val,test}.txt`, csv of references where there are any, and `split.json`; print counts.

    Args:
        root: a folder (or lmdb) of people's folders, a csv of FFHQ-Ref, or a folder of photos of unknown people.
        out: folder of the lists.
        fractions, seed: of `divide`.
        overwrite: replace lists that are there.
        unknown: how photos of unknown people are grouped and paired. `network`, `weights`, `prepare`: as
            `IdentityEncoder` takes them. `distance`: photos whose embeddings are nearer (1 - cosine) are of one person.
            `split_distance`: people nearer than this share a split; None: `distance`. `max_refs`, `min_refs`: of a
            photo; with fewer it gets no row. `test_distance`: references nearer to the photo are left out of the test
            csv, as FFHQ-Ref did.
        jobs: processes.

    Raises:
        RefStarError: `root` cannot be split, or `out` holds lists already.
    """
    lists = [out / name for split in SPLITS for name in (f'{split}.txt', f'{split}_references.csv')]
    old = [path for path in (*lists, out / 'split.json') if path.exists()]
    if old and not overwrite:
        raise RefStarError(f'{old[0]} exists already; give another --out, or --overwrite')
    people, rows_of, how = _people(root, unknown, jobs)
    splits = divide(list(people), fractions, seed)
    for path in old:
        path.unlink()
    summary = {}
    for name, members in splits.items():
        lines = [line for person in members for line in people[person]]
        rows = [row for person in members for row in rows_of(name, person)]
        if lines:
            write_text(out / f'{name}.txt', '\n'.join(lines) + '\n')
        if rows:
            with_lq = name != 'train' or any(row.lq != row.gt for row in rows)
            write_reference_csv(out / f'{name}_references.csv', rows, with_lq)
        summary[name] = {'people': len(members), 'lines': len(lines), 'rows': len(rows)}
        print(f'{name}: {len(members)} people, {len(lines)} lines, {len(rows)} rows of csv')
    done = {'root': root, 'fractions': list(fractions), 'seed': seed, **how, 'splits': summary}
    write_text(out / 'split.json', json.dumps(done, indent=1) + '\n')


def divide(people: Sequence[str], fractions: Sequence[float], seed: int) -> dict[str, list[str]]:
    """Divide people at random; the same people (in any order), fractions and seed give the same splits.

    Fractions are those of SPLITS, at least 0, together 1; a split with a fraction above 0 gets at least one person.
    Returns split -> names, sorted.
    """
    if len(fractions) != len(SPLITS) or not all(0 <= f <= 1 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise RefStarError(f'fractions must be {len(SPLITS)} numbers of at least 0 with the sum 1, got {fractions}')
    if len(people) < sum(f > 0 for f in fractions):
        raise RefStarError(f'{len(people)} people cannot be divided into {sum(f > 0 for f in fractions)} splits')
    wanted = np.array(fractions) * len(people)
    counts = np.maximum(wanted.astype(int), np.array(fractions) > 0)
    while counts.sum() < len(people):  # one more to the split that lacks most
        counts[np.argmax(wanted - counts)] += 1
    while counts.sum() > len(people):  # one less for the split that has most too many, but none is emptied
        counts[np.argmax(np.where(counts > 1, counts - wanted, -np.inf))] -= 1
    drawn = [sorted(people)[i] for i in np.random.default_rng(seed).permutation(len(people))]
    ends = counts.cumsum()
    return {name: sorted(drawn[end - n : end]) for name, n, end in zip(SPLITS, counts, ends, strict=True)}


def reference_rows(
    photos: Sequence[str], embeddings: np.ndarray, max_refs: int, min_refs: int = 1, min_distance: float = 0
) -> list[Row]:
    """Pair each photo of a person with the others as references, ordered by farthest-point sampling.

    Embeddings are unit vectors, (n, d). A reference of a cosine distance below `min_distance` to the photo shows
    nothing else and is left out. A photo with fewer than `min_refs` gets no row.
    """
    rows = []
    for i, name in enumerate(photos):
        far = np.nonzero(1 - embeddings @ embeddings[i] >= min_distance)[0]
        others = far[far != i]
        refs = [photos[others[k]] for k in farthest_first(embeddings[others], max_refs)]
        if len(refs) >= min_refs:
            rows.append(Row('', name, name, tuple(refs)))
    return rows


def _people(root: str, unknown: Mapping, jobs: int) -> tuple[dict[str, list[str]], Rows, dict]:
    """Return person (or group of people who are alike) -> lines of a list, the rows, and how people were found."""
    if Path(root).suffix == '.csv':
        rows = defaultdict(list)
        for row in read_reference_csv(root):
            rows[row.person].append(row)
        lines = {person: list(dict.fromkeys(row.gt for row in own)) for person, own in rows.items()}
        return lines, lambda _, person: rows[person], {'people': 'rows of the csv that share a file'}
    first, *more = image_lists(root, {})
    if not more and first.unknown:
        return _unknown_people(first, unknown, jobs)
    if not more and first.named:
        tree = Tree(Path(root).expanduser())
        return {name: [name] for name in tree.folders() if tree.names(name)}, lambda *_: [], {'people': 'folders'}
    raise RefStarError(f'{root}: give a folder with folders of photos, a folder of photos, or a csv')


def _unknown_people(photos: ImageList, how: Mapping, jobs: int) -> tuple[dict[str, list[str]], Rows, dict]:
    """Group photos by embedding: people by `distance`, and people who are much alike by `split_distance`."""
    if not how['network'] or not how['weights']:
        raise RefStarError(
            f'{photos.name}: holds photos of unknown people; give --network and --weights of a face-recognition network'
        )
    near = how['distance']
    apart = near if how['split_distance'] is None else how['split_distance']
    if not 0 < near <= apart < 2:
        raise RefStarError(f'0 < --distance <= --split_distance < 2 must hold, got {near} and {apart}')
    encoder = IdentityEncoder(how['network'], how['weights'], how['prepare'])
    root, missing = Path(photos.name).expanduser(), Missing('drop')
    found = [entry.gt for entry in photos.read(missing)]
    missing.settle(photos.name)
    found, embeddings, unread = embed(found, encoder, jobs)
    for error in unread[:5]:
        print(f'left out: {error}')
    if unread:
        print(f'{len(unread)} photos were left out; refstar data check {photos.name} lists them')
    names = [photo.relative_to(root).as_posix() for photo in found]
    people = same_person(embeddings, near)
    groups = {f'{i:06d}': own for i, own in enumerate(same_person(embeddings, apart))}
    alone = sum(len(own) == 1 for own in people)
    print(f'{len(names)} photos of {len(people)} people, {alone} of them with one photo only; {len(groups)} groups')

    def rows(split: str, group: str) -> list[Row]:
        nearest = how['test_distance'] if split == 'test' else 0
        found = []
        for own in same_person(embeddings[groups[group]], near):
            own = groups[group][own]
            found += reference_rows([names[i] for i in own], embeddings[own], how['max_refs'], how['min_refs'], nearest)
        return found

    lines = {group: [names[i] for i in own] for group, own in groups.items()}
    settings = {key: value for key, value in how.items() if key != 'weights'}
    method = {'people': 'connected components of embeddings', 'sha256': encoder.sha256, 'left_out': len(unread)}
    return lines, rows, {**method, **settings}


def embed(photos: Sequence[Path], encoder: IdentityEncoder, jobs: int) -> tuple[list[Path], np.ndarray, list[str]]:
    """Embed FFHQ-aligned photos, which `jobs` processes read.

    Returns:
        The photos that could be read, their embeddings (n, d) float32 of length 1, and the errors of the others.
    """
    device = choose_device()
    encoder = encoder.to(device).eval()
    kept, rows, errors = [], [], []
    found = zip(photos, parallel(partial(_open, ImageStore(SIZE, resize=True)), photos, jobs, 'embed'), strict=True)
    while batch := list(islice(found, BATCH)):
        errors += [img for _, img in batch if isinstance(img, str)]
        good = [(photo, to_tensor(img)) for photo, img in batch if not isinstance(img, str)]
        if good:
            kept += [photo for photo, _ in good]
            with torch.inference_mode():
                rows.append(encoder(torch.stack([img for _, img in good]).to(device)).cpu().numpy())
    if not rows:
        raise RefStarError(f'no photo could be read: {errors[0] if errors else "there is none"}')
    return kept, np.concatenate(rows).astype(np.float32), errors


def _open(store: ImageStore, photo: Path) -> np.ndarray | str:
    """Return an image (SIZE, SIZE, 3) RGB uint8, or why it cannot be read."""
    try:
        return store.read(photo)
    except RefStarError as error:
        return str(error)
