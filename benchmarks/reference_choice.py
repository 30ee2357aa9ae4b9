"""Does the choice of references help? The one that is chosen, against any one and the least useful.

    python benchmarks/reference_choice.py FACES NETWORK

FACES holds `identities/`, `splits/lfw_test.txt` and `weights/`; NETWORK is a RefSTAR for aligned faces. Of every
person with at least four photos the first is degraded (`ffhq_ref_severe`) and restored with each of the others alone.
Printed are the cosine to the truth by EdgeFace (no part of the choice), and the PSNR. No photo is written.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from identity_guard import degrade, read

import refstar  # noqa: F401  (first: makes basicsr importable)
from refstar.restore.alignment import FaceDetector
from refstar.restore.faces import AlignedFace, FaceAttributes, Reference, RestoreSettings
from refstar.restore.identity_check import IdentityChecker
from refstar.restore.restorer import Restorer
from refstar.utils.photo_files import images_in

DETECTOR, JUDGE = 'detection_mobilenet0.25_Final.pth', 'edgeface_xxs_q.pt'


def points_in(detector: FaceDetector, crop: np.ndarray) -> np.ndarray | None:
    """Five points of an aligned face, None where none is found."""
    found = detector(crop)
    return found[0].points if found else None


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('faces', type=Path)
    parser.add_argument('network')
    args = parser.parse_args()
    torch.set_num_threads(1)
    restorer, weights = Restorer.from_pretrained(args.network), args.faces / 'weights'
    judge, detector = (
        IdentityChecker.from_file('edgeface_xxs', str(weights / JUDGE)),
        FaceDetector(str(weights / DETECTOR)),
    )
    rows = []
    for number, name in enumerate((args.faces / 'splits/lfw_test.txt').read_text().split()):
        photos = images_in(args.faces / 'identities' / name)
        if len(photos) < 4:
            continue
        truth, *others = (read(photo, restorer.size) for photo in photos)
        lq, person = degrade(truth, 'ffhq_ref_severe', number), restorer.people(others)[0]
        for ref in person.references:
            points = points_in(detector, ref.crop)
            ref.attributes, ref.points = FaceAttributes.measure(ref.crop, points), points
        plan = restorer.prepare([restorer.face(lq, points_in(detector, lq))], [person], RestoreSettings(num_refs=99))[0]
        results = [restorer.restore([_only(plan, choice.reference)], RestoreSettings())[0] for choice in plan.chosen]
        images = [result.image for result in results]
        cosine = judge.embed(images, False) @ judge.embed([truth], False)[0]
        psnr = [10 * np.log10(255**2 / np.square(img.astype(float) - truth).mean()) for img in images]
        rows.append([(values[0], np.mean(values), values[-1]) for values in (cosine, psnr)])
    table = np.array(rows)  # people, measures, (chosen, any, last)
    print(f'{len(table)} people')
    print('| reference | ID-GT | PSNR |')
    print('|---|---|---|')
    for i, which in enumerate(('chosen', 'any (mean)', 'least useful')):
        print(f'| {which} | {table[:, 0, i].mean():.3f} | {table[:, 1, i].mean():.2f} |')
    gain = table[:, 0, 0] - table[:, 0, 1]
    print(f'ID-GT, chosen minus any: {gain.mean():.3f} +- {1.96 * gain.std() / len(gain) ** 0.5:.3f}')


def _only(plan: AlignedFace, reference: Reference) -> AlignedFace:
    return replace(plan, chosen=[choice for choice in plan.chosen if choice.reference is reference])


if __name__ == '__main__':
    main()
