"""How fast degraded samples are made on one core, against the stock `FFHQDegradationDataset` of GFPGAN.

    python benchmarks/degradation_speed.py [--rounds 40] [--presets gfpgan ...] [--formats png jpg cached]

Both read the same photos of 512 pixels and give the same: GT and LQ as normalised tensors. They take turns, photo by
photo, and processor time is counted (other programs on the machine lengthen wall time, not this). Reported, for each
preset and file format (`cached`: JPEG files, ours with `cache: true`): milliseconds for the whole sample and for the
degradation alone (the stock sample less reading, mirroring and turning the GT into a tensor), and the ratios with the
middle half of what parts of the run give.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import refstar  # isort: skip  # noqa: F401, before basicsr, which it mends
import cv2
import numpy as np
import torch
from basicsr.data.transforms import augment
from basicsr.utils import imfrombytes, img2tensor
from gfpgan.data.ffhq_degradation_dataset import FFHQDegradationDataset
from PIL import Image
from torchvision.transforms.functional import normalize

from refstar.data.degradation import PRESETS
from refstar.data.photo_dataset import sample_rng
from refstar.data.reference_pair_dataset import ReferencePairDataset
from refstar.data.synthetic.identity import person
from refstar.data.synthetic.render_photo import draw_shot, take_photo
from refstar.utils.image_files import to_tensor

SIZE, PHOTOS, PARTS = 512, 8, 8
FORMATS = ['png', 'jpg', 'cached']


def write_photos(folder: Path, kind: str) -> None:
    """Synthetic people with the grain of a camera; files are as large as those of real photos."""
    for number in range(PHOTOS):
        rng = np.random.default_rng(number)
        img = take_photo(person(0, number, SIZE), draw_shot(rng), SIZE).image * 255 + rng.normal(0, 2, (SIZE, SIZE, 3))
        (folder / f'{number}').mkdir()
        quality = {'quality': 95} if kind == 'jpg' else {}
        Image.fromarray(img.clip(0, 255).astype(np.uint8)).save(folder / f'{number}' / f'{number}.{kind}', **quality)


def stock(folder: Path, preset: str) -> FFHQDegradationDataset:
    sigma, down, noise, jpeg = (list(PRESETS[preset][key]) for key in PRESETS[preset])
    opt = {'dataroot_gt': str(folder), 'io_backend': {'type': 'disk'}, 'mean': [0.5] * 3, 'std': [0.5] * 3}
    opt |= {'out_size': SIZE, 'use_hflip': True, 'blur_kernel_size': 41}
    opt |= {'kernel_list': ['iso', 'aniso'], 'kernel_prob': [0.5, 0.5], 'blur_sigma': sigma}
    dataset = FFHQDegradationDataset({**opt, 'downsample_range': down, 'noise_range': noise, 'jpeg_range': jpeg})
    dataset.paths = [str(path) for path in sorted(folder.rglob('*.*'))]
    return dataset


def without_lq(dataset: FFHQDegradationDataset, index: int) -> torch.Tensor:
    """What a stock sample costs besides its LQ."""
    img = imfrombytes(Path(dataset.paths[index]).read_bytes(), float32=True)
    gt = img2tensor(augment(img, hflip=True, rotation=False), bgr2rgb=True, float32=True)
    return normalize(gt, dataset.mean, dataset.std, inplace=True)


def seconds(make: Callable[[], object]) -> float:
    start = time.process_time()
    make()
    return time.process_time() - start


def measure(folder: Path, preset: str, rounds: int, cache: bool) -> np.ndarray:
    """Milliseconds (4, rounds): stock sample, its GT alone, our sample, our degradation alone."""
    theirs = stock(folder, preset)
    opt = {'dataroot': str(folder), 'gt_size': SIZE, 'degradation': preset, 'draws': 10**6, 'cache': cache}
    ours = ReferencePairDataset({**opt, 'ref_drop_prob': 1, 'wrong_ref_prob': 0, 'occlusion_prob': 0})
    photo = ours.face(ours.entries[0].gt).img

    def turns(number: int) -> list[Callable[[], object]]:
        return [
            lambda: theirs[number % PHOTOS],
            lambda: without_lq(theirs, number % PHOTOS),
            lambda: ours[number],
            lambda: to_tensor(ours.degradation(photo, sample_rng(1, number))),
        ]

    for make in turns(0):
        make()
    return np.array([[seconds(make) * 1000 for make in turns(number)] for number in range(rounds)]).T


def ratio(theirs: np.ndarray, ours: np.ndarray) -> str:
    """Ratio of sums, with the middle half of the ratios of parts of the run."""
    parts = [a.sum() / b.sum() for a, b in zip(np.array_split(theirs, PARTS), np.array_split(ours, PARTS), strict=True)]
    low, _, high = statistics.quantiles(parts, n=4)
    return f'{theirs.sum() / ours.sum():.2f} ({low:.2f} to {high:.2f})'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=40, help='samples of each')
    parser.add_argument(
        '--presets', nargs='+', choices=PRESETS, default=['gfpgan', 'codeformer_small', 'ffhq_ref_train']
    )
    parser.add_argument('--formats', nargs='+', choices=FORMATS, default=FORMATS)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    np.random.seed(0)
    random.seed(0)
    print('| preset, files | stock, ms | ours, ms | ratio | degradation alone: stock, ms | ours, ms | ratio |')
    print('|---|---|---|---|---|---|---|')
    for kind in args.formats:
        with TemporaryDirectory() as folder:
            write_photos(Path(folder), 'png' if kind == 'png' else 'jpg')
            for preset in args.presets:
                whole, gt, sample, alone = measure(Path(folder), preset, args.rounds, kind == 'cached')
                cells = [f'{whole.mean():.1f}', f'{sample.mean():.1f}', ratio(whole, sample)]
                cells += [f'{(whole - gt).mean():.1f}', f'{alone.mean():.1f}', ratio(whole - gt, alone)]
                print(f'| {preset}, {kind} | {" | ".join(cells)} |', flush=True)


if __name__ == '__main__':
    main()
