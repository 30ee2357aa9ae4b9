"""The test set of `refstar evaluate`: ground truth, references and people, by folders or a csv, and what is missing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from refstar.data.collections.listing import inside
from refstar.data.collections.reference_csv import read_reference_csv
from refstar.data.images import decode
from refstar.utils.errors import RefStarError
from refstar.utils.photo_files import folders_in, images_in, natural
from refstar.utils.text_files import read_csv


@dataclass(frozen=True)
class Folders:
    """Places of a test set; everything but ``gt`` or ``lq`` may be None."""

    gt: Path | None = None  # ground truth
    lq: Path | None = None  # degraded photos
    refs: Path | None = None  # references: names of the csv (default: in ``gt``), else `<stem>.png` or `<stem>/*.png`
    wrong: Path | None = None  # references of another person, `<stem>.png` or `<stem>/*.png`
    regions: Path | None = None  # 8-bit masks `<stem>.png`: where *detail* is measured
    mapping: Path | None = None  # csv of FFHQ-Ref's form
    people: Path | None = None  # csv `image,identity` (stem, person); without it, the people are those of ``mapping``


@dataclass(frozen=True)
class Sample:
    """One photo of the test set; files that are not there are None."""

    name: str  # unique, fit to be a file name
    stems: tuple[str, ...]  # what a restored photo may be called, without suffix
    identity: str | None = None  # the person; None: unknown
    gt: Path | None = None
    lq: Path | None = None
    refs: tuple[Path, ...] = ()  # the references that are used, the first one first
    wrong: tuple[Path, ...] = ()  # references of another person
    region: Path | None = None


@dataclass
class TestSet:
    """The photos on which methods are measured."""

    __test__ = False  # nothing for pytest

    samples: list[Sample]
    title: str  # what it may be called
    lq_source: str = 'not given'  # where its degraded photos come from
    notes: list[str] = field(default_factory=list)  # what a reader of the figures has to know
    missing: list[str] = field(default_factory=list)  # files that are named and not there

    @property
    def has_gt(self) -> bool:
        return any(s.gt for s in self.samples)

    @property
    def people(self) -> list[str] | None:
        """The person on every photo; None where not all are known."""
        people = [s.identity for s in self.samples]
        return None if None in people else people


def read_testset(folders: Folders, num_refs: int = 1, name: str | None = None) -> TestSet:
    """List the photos of a test set; the first ``num_refs`` references of a photo are used, none twice.

    Raises:
        RefStarError: a folder or file is missing, the csv is malformed, a name is there twice, or nothing is left.
    """
    for key, path in vars(folders).items():
        kind = 'file' if key in ('mapping', 'people') else 'folder'
        if path is not None and not (path.is_file() if kind == 'file' else path.is_dir()):
            raise RefStarError(f'--{key}: there is no {kind} {path}')
    if folders.gt is None and folders.lq is None:
        raise RefStarError('give --gt, or --lq where there is no ground truth')
    missing: list[str] = []
    samples = list((_from_csv if folders.mapping else _from_stems)(folders, num_refs, missing))
    source = folders.mapping or folders.gt or folders.lq
    if not samples:
        first_missing = f'; missing: {missing[0]} ...' if missing else ''
        raise RefStarError(f'{source}: none of its photos is there{first_missing}')
    if twice := _repeated(s.name for s in samples):
        raise RefStarError(f'{source}: {", ".join(twice[:3])} is there twice')
    if folders.people:
        named = {row['image']: row['identity'] for _, row in read_csv(str(folders.people), ['image', 'identity'])}
        samples = [replace(s, identity=named.get(s.name) or None) for s in samples]
    return _describe(TestSet(samples, name or str(folders.gt or folders.lq), missing=missing), folders)


def images_by_stem(root: Path | None) -> dict[str, tuple[Path, ...]]:
    """Return the images of a folder by stem; a sub-folder holds several of one stem.

    Raises:
        RefStarError: two files differ in nothing but their suffix.
    """
    if root is None:
        return {}
    files = images_in(root)
    if twice := _repeated(p.stem for p in files):
        raise RefStarError(f'{root}: several files are called {twice[0]}')
    found = {p.name: tuple(images_in(p)) for p in folders_in(root)}
    return found | {p.stem: (p,) for p in files}


def _repeated(names: Iterator[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _from_stems(folders: Folders, num_refs: int, missing: list[str]) -> Iterator[Sample]:
    places = (folders.gt, folders.lq, folders.refs, folders.wrong, folders.regions)
    gt, lq, refs, wrong, regions = map(images_by_stem, places)
    for stem in sorted(gt or lq, key=natural):
        for root, found in ((folders.lq, lq), (folders.refs, refs)):
            if root is not None and not found.get(stem):
                missing.append(f'{root}/{stem}.*')
        one = [next(iter(found.get(stem, ())), None) for found in (gt, lq, regions)]
        several = [found.get(stem, ())[:num_refs] for found in (refs, wrong)]
        yield Sample(stem, (stem,), None, one[0], one[1], *several, one[2])


def _from_csv(folders: Folders, num_refs: int, missing: list[str]) -> Iterator[Sample]:
    rows = read_reference_csv(str(folders.mapping))
    wrong, regions = images_by_stem(folders.wrong), images_by_stem(folders.regions)
    ref_root = folders.refs or folders.gt

    def is_there(path: Path) -> bool:
        if not path.is_file():
            missing.append(str(path))
        return path.is_file()

    for row in rows:
        name = '_'.join(Path(row.gt.replace('\\', '/')).with_suffix('').parts)
        gt = inside(folders.gt, row.gt, row.where) if folders.gt else None
        if gt is not None and not is_there(gt):
            continue
        lq = inside(folders.lq, row.lq, row.where) if folders.lq else None
        lq = lq if lq is not None and is_there(lq) else None
        if gt is None and lq is None:
            continue
        refs = [inside(ref_root, ref, row.where) for ref in dict.fromkeys(row.refs)] if ref_root else []
        refs = tuple([ref for ref in refs if is_there(ref)][:num_refs])
        stems = tuple(dict.fromkeys((name, Path(row.gt).stem, Path(row.lq).stem)))
        region = next(iter(regions.get(name, ())), None)
        yield Sample(name, stems, row.person, gt, lq, refs, wrong.get(name, ())[:num_refs], region)


def _describe(testset: TestSet, folders: Folders) -> TestSet:
    """Add the source of the degraded photos, and what a reader of the figures has to know."""
    if folders.lq:
        testset.lq_source = f'files of {folders.lq}'
    if testset.people is None:
        testset.notes.append('Who is on which photo is not known: photos are taken as independent.')
    return testset


def find_predictions(folder: Path, samples: Sequence[Sample], suffixes: Sequence[str] = ('',)) -> dict[str, Path]:
    """Return the restored photos of one method by the names of the samples; ``suffixes`` may follow the stem.

    Raises:
        RefStarError: there is no such folder, or nothing in it fits.
    """
    if not folder.is_dir():
        raise RefStarError(f'--pred: there is no folder {folder}')
    files = {stem: paths[0] for stem, paths in images_by_stem(folder).items() if paths and paths[0].parent == folder}
    found = {}
    for sample in samples:
        names = (stem + suffix for stem in sample.stems for suffix in suffixes)
        if path := next((files[name] for name in names if name in files), None):
            found[sample.name] = path
    if not found:
        has = f'{len(files)} photos ({next(iter(files))} ...)' if files else 'no photo'
        expected = f'none called as one of the test set ({samples[0].stems[0]} ...); see --pred_suffix'
        raise RefStarError(f'--pred {folder}: has {has}, {expected}')
    return found


def read_photo(path: Path, size: int | None = None) -> np.ndarray:
    """Read a photo as uint8 (H, W, 3) BGR, brought to ``size`` by Pillow's bicubic filter (as FFHQ-Ref is) if given.

    Raises:
        RefStarError: no readable image.
    """
    img = decode(path, 'RGB')
    if size and img.shape[:2] != (size, size):
        img = np.asarray(Image.fromarray(img).resize((size, size), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(img[..., ::-1])


def shape(img: np.ndarray) -> str:
    """Format width x height."""
    return f'{img.shape[1]}x{img.shape[0]}'
