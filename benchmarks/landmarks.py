"""Computes the landmarks of a folder of aligned faces, for the option `landmarks` of the datasets.

    python benchmarks/landmarks.py FACES OUT.npz [--draw SHEET.png]

By the landmark network that ships. Faces are aligned to the FFHQ template, so the crops are fixed squares and no
detector is needed. Every photo is
measured in several crops, mirrored and not; the mean is kept, and photos on which they disagree are left out.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file

import refstar
from refstar.dlib_face_arch import LandmarkNet68
from refstar.utils.checkpoint import load_fitting

SHIPPED = Path(refstar.__file__).parent / 'pretrained/landmarks_68.safetensors'

CROPS = ((0.60, 0.66), (0.61, 0.70), (0.62, 0.74))  # middle (down) and side, shares of an FFHQ-aligned photo's side
INPUT = 112
SUFFIXES = {'.png', '.jpg', '.jpeg', '.webp', '.bmp'}

# the number of each point in the mirror image
PAIRS = [(i, 16 - i) for i in range(8)] + [(17 + i, 26 - i) for i in range(5)]
PAIRS += [(31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
PAIRS += [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)]
MIRRORED = np.arange(68)
for left, right in PAIRS:
    MIRRORED[[left, right]] = right, left


def detect(net: LandmarkNet68, img: np.ndarray, middle: float, side: float) -> np.ndarray:
    """Find the 68 points of one aligned face, (68, 2), shares of the side; `img` (S, S, 3), RGB, uint8."""
    scale = INPUT / (side * len(img))
    matrix = np.array([[scale, 0, 0], [0, scale, 0]])
    matrix[:, 2] = INPUT / 2 - 0.5 - scale * (np.array([0.5, middle]) * len(img) - 0.5)
    over = 2 if scale < 0.5 else 1
    crop = cv2.warpAffine(
        img, matrix * over, (INPUT * over,) * 2, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    crop = cv2.resize(crop, (INPUT, INPUT), interpolation=cv2.INTER_AREA)
    with torch.no_grad():
        points = net(torch.from_numpy(crop).permute(2, 0, 1)[None] / 127.5 - 1)[0].numpy()
    return (points - 0.5) * side + [0.5, middle]


def measure(net: LandmarkNet68, img: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean points of a photo, and how far the single measurements lie from them, over the distance of the eyes."""
    single = [detect(net, img, *crop) for crop in CROPS]
    for crop in CROPS:
        points = detect(net, np.ascontiguousarray(img[:, ::-1]), *crop)[MIRRORED]
        single.append(np.stack([1 - points[:, 0], points[:, 1]], 1))
    mean = np.median(single, axis=0)
    eyes = np.linalg.norm(mean[36:42].mean(0) - mean[42:48].mean(0))
    return mean, float(np.linalg.norm(single - mean, axis=-1).mean() / eyes)


def draw(img: np.ndarray, points: np.ndarray, side: int = 256) -> np.ndarray:
    """The photo with its points, for looking at."""
    canvas = cv2.resize(img, (side, side), interpolation=cv2.INTER_CUBIC)
    for x, y in np.rint(points * side - 0.5).astype(int):
        cv2.circle(canvas, (int(x), int(y)), 1, (0, 255, 0), -1)
    return canvas


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('faces', type=Path, help='folder of aligned, square faces, searched to any depth')
    parser.add_argument('out', type=Path, help='file to write: .npz with names and points')
    parser.add_argument('--disagreement', type=float, default=0.07, help='largest spread, of the eye distance')
    parser.add_argument('--draw', type=Path, help='also write a sheet of 40 photos with their points')
    args = parser.parse_args()
    if not args.faces.is_dir():
        sys.exit(f'{args.faces}: not found')
    net = load_fitting(LandmarkNet68(), load_file(SHIPPED), SHIPPED).eval()

    files = sorted(p for p in args.faces.rglob('*') if p.suffix.lower() in SUFFIXES)
    names, points, left_out = [], [], []
    for i, file in enumerate(files, 1):
        img = cv2.imread(str(file))
        img = img if img is None else cv2.cvtColor(img, cv2.COLOR_BGR2RGB)
        found, error = (None, np.inf) if img is None or img.shape[0] != img.shape[1] else measure(net, img)
        name = file.relative_to(args.faces).as_posix()
        if error <= args.disagreement:
            names.append(name)
            points.append(found)
        else:
            left_out.append(name)
        if sys.stderr.isatty() and i % 50 == 0:
            print(f'\r{i} of {len(files)}', end='', file=sys.stderr)
    if not names:
        sys.exit(f'{args.faces}: no face with consistent landmarks among {len(files)} photos')
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.out, names=np.array(names), points=np.array(points, np.float32))
    print(f'{args.out}: {len(names)} photos, {len(left_out)} left out: {", ".join(left_out[:10])}')
    if args.draw:
        chosen = np.linspace(0, len(names) - 1, min(40, len(names))).astype(int)
        sheet = [draw(cv2.imread(str(args.faces / names[i])), points[i]) for i in chosen]
        sheet += [np.zeros_like(sheet[0])] * (-len(sheet) % 8)
        cv2.imwrite(str(args.draw), np.vstack([np.hstack(sheet[i : i + 8]) for i in range(0, len(sheet), 8)]))


if __name__ == '__main__':
    main()
