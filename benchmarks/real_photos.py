"""The network that ships on real photos of people it never saw: every set, degradation and arm, with intervals.

    python benchmarks/real_photos.py FACES PORTRAITS [--network FILE] [--photos 40] [--out results/real_photos]

FACES holds `identities/`, `london_512/`, `splits/` and `weights/`; PORTRAITS holds `identities/` and `splits/`. Arms:
the photo itself, no reference, the right reference, another person's. Everything runs as for users: a reference that
is likely another person's is left out. Identity is measured by EdgeFace-XXS, LPIPS is LPIPS-squeeze; neither
EdgeFace nor any person of these sets was used in the training. `mouth` is the error of mouth corners and lip gap in eye
distances, `teeth` the share of photos that show teeth where the truth has none, `used` the share of used references.
Writes `table.md`, `scores.csv` and, with --sheets, pictures of all arms beside each other (not for publication, London
people apart).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from checks import check_needs
from mouth import find_mouth
from tables import digits, signed, table
from torch import Tensor

from refstar.data.face_region import face_oval
from refstar.data.reference_test_dataset import ReferenceTestDataset
from refstar.evaluation.bootstrap import bootstrap
from refstar.identity_arch import IdentityEncoder
from refstar.layers import resize
from refstar.lpips_network import load_lpips
from refstar.metrics.detail_metric import SIGMA_PER_DOWN, detail
from refstar.models.pictures import strip
from refstar.restore.restorer import Restorer
from refstar.utils.image_files import to_image
from refstar.utils.released_weights import SHIPPED
from refstar.utils.text_files import write_csv

LONDON_TEST = Path(__file__).parents[1] / 'options/release/london_test.txt'
SHARP = {'blur_sigma': 0, 'downsample_range': 1, 'noise_range': None, 'jpeg_range': None}
DEGRADATIONS = {'severe': 'ffhq_ref_severe', 'moderate': 'ffhq_ref_moderate', 'sharp': SHARP}
ARMS = ('photo', 'none', 'right', 'wrong')
COMPARED = ('psnr', 'detail', 'lpips', 'id_gt', 'id_wrong', 'mouth')
COLUMNS = (*COMPARED, 'teeth', 'used')
SHOWN = ('london_003_02', 'london_007_02', 'london_036_01')
SHOWN_ARMS = ('photo', 'ref', 'none', 'right', 'gt')
CAPTIONS = {'ref': 'reference', 'none': 'without reference', 'right': 'with reference', 'gt': 'truth'}
DOWN = 1 / 64 / SIGMA_PER_DOWN  # of detail, in sides: its Gaussian has 1/64 of the side


class Judge:
    """Measures of restored faces: PSNR, detail, LPIPS-squeeze and identity by EdgeFace-XXS."""

    def __init__(self, weights: Path) -> None:
        self.lpips = load_lpips('squeeze', str(weights / 'squeezenet1_1_features.pth'))
        self.identity = IdentityEncoder('edgeface_xxs', str(weights / 'edgeface_xxs_q.pt'))

    @torch.no_grad()
    def __call__(self, images: dict[str, Tensor], gt: Tensor, wrong: Tensor) -> dict[str, dict[str, float]]:
        """Measure images (1, 3, S, S), RGB in [-1, 1], by name, against the truth and another person's photo."""
        side, faces = gt.shape[-1], torch.cat([*images.values(), gt, wrong])
        embeddings, oval = self.identity(faces), torch.from_numpy(face_oval(side).copy())[None, None]
        truth, stranger = embeddings[-2], embeddings[-1]
        found, mouth = {}, find_mouth(photo_of(gt))
        for i, (name, image) in enumerate(images.items()):
            error, seen = ((image - gt) / 2).square().mean().clamp_min(1e-10), find_mouth(photo_of(image))
            found[name] = {
                'psnr': -10 * error.log10().item(),
                'detail': detail(image, gt, DOWN * side, oval).item(),
                'lpips': self.lpips(image, gt).item(),
                'id_gt': (embeddings[i] @ truth).item(),
                'id_wrong': (embeddings[i] @ stranger).item(),
                'mouth': seen.error(mouth),
                'teeth': float(seen.adds_teeth(mouth)),
            }
        return found


def test_sets(faces: Path, portraits: Path) -> dict[str, dict]:
    """Options of the test sets by name."""
    return {
        'london_test': {'dataroot': faces / 'london_512', 'split_file': LONDON_TEST, 'gt_size': 512},
        'portraits_test': {
            'dataroot': portraits / 'identities',
            'split_file': portraits / 'splits/portraits_test.txt',
            'gt_size': 256,
        },
        'lfw_test': {
            'dataroot': faces / 'identities',
            'split_file': faces / 'splits/lfw_test.txt',
            'gt_size': 128,
        },
    }


def photo_of(image: Tensor) -> np.ndarray:
    """Turn an image (1, 3, S, S), RGB in [-1, 1], into a photo, uint8 (S, S, 3)."""
    return to_image(image[0])


def restored(restorer: Restorer, lq: Tensor, ref: Tensor | None) -> tuple[Tensor, bool]:
    """Restore a face (1, 3, S, S) as users do; returns it at its own side, and whether the reference was used."""
    face = restorer(photo_of(lq), None if ref is None else [photo_of(ref)])
    image = torch.from_numpy(face.image).permute(2, 0, 1)[None] / 127.5 - 1
    return ((resize(image, lq.shape[-2:]) + 1) * 127.5).round() / 127.5 - 1, bool(face.chosen)


def build_test_set(options: dict, degradation: str | dict, photos: int | None) -> ReferenceTestDataset:
    """Build a test set whose photos are degraded: all of them, or so many, evenly spread."""
    values = {'degradation': degradation, 'resize': True, 'max_images': photos}
    return ReferenceTestDataset({key: str(v) if isinstance(v, Path) else v for key, v in (options | values).items()})


def run(
    restorer: Restorer, judge: Judge, options: dict, degradation: str | dict, photos: int | None
) -> Iterator[tuple[str, str, dict, dict]]:
    """Yield (identity, name, images by arm, scores by arm) of every photo of a test set."""
    for sample in build_test_set(options, degradation, photos):
        lq, gt, right, wrong = (
            sample[key].reshape(1, 3, *sample['gt'].shape[1:]) for key in ('lq', 'gt', 'refs', 'wrong_refs')
        )
        images, used = {'photo': lq}, {'photo': False}
        for arm, ref in (('none', None), ('right', right), ('wrong', wrong)):
            images[arm], used[arm] = restored(restorer, lq, ref)
        scores = judge(images, gt, wrong)
        scores = {arm: found | {'used': float(used[arm])} for arm, found in scores.items()}
        yield (
            sample['identity'],
            Path(sample['lq_path']).stem,
            images | {'gt': gt, 'ref': right, 'other': wrong},
            scores,
        )


def row_of(images: dict[str, Tensor], side: int | None = None) -> np.ndarray:
    """Put images beside each other, with captions, at a side in pixels; uint8 BGR."""
    panels = [(CAPTIONS.get(name, name), photo_of(image)[..., ::-1]) for name, image in images.items()]
    if side:
        panels = [(name, cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)) for name, image in panels]
    return strip(panels)


def measured(rows: list[dict], title: str, sharp: bool) -> list[str]:
    """Lines of a table: the mean of every arm and, unless photos are sharp, differences with their 95 % intervals."""
    values = {arm: np.array([[row['scores'][arm][c] for c in COLUMNS] for row in rows]) for arm in ARMS}
    people, lines = [row['identity'] for row in rows], []
    for arm in ARMS[1:] if sharp else ARMS:
        lines.append([arm, *(f'{x:.{digits(c)}f}' for c, x in zip(COLUMNS, values[arm].mean(0), strict=True))])
    for a, b in () if sharp else (('right', 'photo'), ('right', 'none'), ('none', 'photo'), ('wrong', 'none')):
        found = bootstrap(values[a] - values[b], people)
        cells = [signed(c, i) if c in COMPARED else '' for c, i in zip(COLUMNS, found, strict=True)]
        lines.append([f'{a} - {b}', *cells])
    return table([f'{title}: {len(rows)} photos, {len(set(people))} people', *COLUMNS], lines)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('faces', type=Path)
    parser.add_argument('portraits', type=Path)
    parser.add_argument('--network', default=SHIPPED, help='default: the network that ships')
    parser.add_argument('--base', help='weights of another restorer, whose output the network gets too')
    parser.add_argument('--photos', type=int, help='photos of each set, evenly spread; default: all')
    parser.add_argument('--sets', nargs='+', choices=['london_test', 'portraits_test', 'lfw_test'])
    parser.add_argument('--degradations', nargs='+', choices=list(DEGRADATIONS), default=list(DEGRADATIONS))
    parser.add_argument('--sheets', type=int, default=0, help='so many rows of pictures for each set')
    parser.add_argument('--pictures', type=Path, help='folder for pictures of SHOWN (docs/images)')
    parser.add_argument('--out', type=Path, default=Path('results/real_photos'))
    args = parser.parse_args()
    weights = args.faces / 'weights'
    files = [weights / 'squeezenet1_1_features.pth', args.faces / 'london_512', args.portraits / 'identities']
    check_needs([{'network': 'edgeface_xxs', 'weights': str(weights / 'edgeface_xxs_q.pt')}], files)
    restorer, judge = Restorer.from_pretrained(args.network, detector=None, base=args.base), Judge(weights)
    args.out.mkdir(parents=True, exist_ok=True)
    text_of_all, scores = [], []
    for name, options in test_sets(args.faces, args.portraits).items():
        if args.sets and name not in args.sets:
            continue
        for degradation in args.degradations:
            rows, pictures, shown = [], [], []
            for identity, stem, images, found in run(restorer, judge, options, DEGRADATIONS[degradation], args.photos):
                rows.append({'identity': identity, 'scores': found})
                about = {'set': name, 'degradation': degradation, 'photo': stem}
                scores += [{**about, 'arm': arm, **found[arm]} for arm in ARMS]
                if len(pictures) < args.sheets:
                    pictures.append(row_of(images))
                if args.pictures and stem in SHOWN:
                    shown.append(row_of({key: images[key] for key in SHOWN_ARMS}, 256))
            text = measured(rows, f'{name}, {degradation}', degradation == 'sharp')
            print('\n'.join(text), flush=True)
            text_of_all += text
            if pictures:
                cv2.imwrite(str(args.out / f'{name}_{degradation}.png'), np.vstack(pictures))
            if shown:
                file = str(args.pictures / f'real_photos_{degradation}.jpg')
                cv2.imwrite(file, np.vstack(shown), [cv2.IMWRITE_JPEG_QUALITY, 92])
    (args.out / 'table.md').write_text('\n'.join(text_of_all), encoding='utf-8')
    write_csv(args.out / 'scores.csv', scores, scores[0])


if __name__ == '__main__':
    main()
