"""Measures of `refstar evaluate`: what each needs, what it computes on one photo, and which way is better."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from basicsr.metrics.niqe import calculate_niqe
from basicsr.metrics.psnr_ssim import calculate_psnr, calculate_ssim

from refstar.data.face_region import face_oval
from refstar.lpips_network import BACKBONES
from refstar.metrics.detail_metric import calculate_detail
from refstar.metrics.identity_protocols import IdentityScore, protocol
from refstar.metrics.landmark_metric import DEFAULT, landmark_network, mean_distance
from refstar.metrics.lpips_metric import calculate_lpips, lpips_network
from refstar.utils.checkpoint import sha256
from refstar.utils.released_weights import resolve

NIQE_SIDE = 192  # pixels: below it BasicSR's NIQE has one block of 96 and no covariance
STRONGEST = 32 / 512  # down-sampling factor over the side: the strongest of ffhq_ref_severe

Values = dict[str, float | str]  # column -> figure, or why there is none
Score = Callable[[np.ndarray], Values]


@dataclass
class Truth:
    """Everything that a restored photo is compared with; all images uint8 (H, W, 3) BGR in [0, 255]."""

    gt: np.ndarray | None = None  # None: real degraded photos; what needs a ground truth is not measured
    refs: Sequence[np.ndarray] = ()  # references that were used, the first one first
    wrong: Sequence[np.ndarray] = ()  # references of another person, where they are known
    region: np.ndarray | None = None  # (H, W) in [0, 1], where the references can help; None: not known


@dataclass
class Measure:
    """One or more columns of figures.

    ``against`` takes the truth, computes once what belongs to it alone, and returns the function that scores a restored
    photo. It raises RefStarError where it cannot be measured on this photo.
    """

    columns: dict[str, str]  # name -> 'higher' or 'lower' is better, or '' if neither
    against: Callable[[Truth], Score]
    about: dict[str, object] = field(default_factory=dict)  # facts to publish with the figures: network, sha256, crop
    needs_gt: bool = True


@dataclass
class MeasureSettings:
    """Options and files of the measures; a measure whose file is not given is left out."""

    crop_border: int = 0  # pixels left out at every edge, for PSNR, SSIM and NIQE
    down: float | None = None  # strongest down-sampling factor, for *detail*; None: that of ffhq_ref_severe
    lpips_net: str = 'vgg'  # or 'alex', 'squeeze'
    lpips_weights: str | None = None
    id_protocol: str = 'refldm'  # see metrics/identity_protocols.py
    id_weights: str | None = None
    detector_weights: str | None = None
    landmark_weights: str | None = DEFAULT
    device: str = 'cpu'


def fidelity(s: MeasureSettings) -> Measure:
    """Build PSNR and SSIM of BasicSR."""

    def against(truth: Truth) -> Score:
        def measure(img: np.ndarray) -> Values:
            psnr = calculate_psnr(img, truth.gt, s.crop_border)
            psnr = psnr if math.isfinite(psnr) else 'equal to the ground truth: infinite'
            return {'psnr': psnr, 'ssim': calculate_ssim(img, truth.gt, s.crop_border)}

        return measure

    return Measure({'psnr': 'higher', 'ssim': 'higher'}, against, {'program': 'BasicSR', 'crop_border': s.crop_border})


def fine_detail(s: MeasureSettings) -> Measure:
    """Build *detail*, inside the selection where it is known, else in the face oval."""

    def against(truth: Truth) -> Score:
        height, width = truth.gt.shape[:2]
        region = face_oval(width) if truth.region is None and height == width else truth.region
        down = s.down or max(2.0, STRONGEST * max(height, width))
        return lambda img: {'detail': calculate_detail(img, truth.gt, down, region)}

    factor = f'{s.down:g}' if s.down else f'{STRONGEST:g} of the side (ffhq_ref_severe), at least 2'
    return Measure({'detail': 'higher'}, against, {'down': factor, 'region': 'selection where known, else face oval'})


def perceptual(s: MeasureSettings) -> Measure:
    """Build LPIPS by the named net."""
    lpips_network(*(files := (s.lpips_net, s.lpips_weights)), s.device)

    def against(truth: Truth) -> Score:
        return lambda img: {'lpips': calculate_lpips(img, truth.gt, *files, device=s.device)}

    about = {'net': s.lpips_net, 'weights': s.lpips_weights, 'sha256': sha256(s.lpips_weights)}
    return Measure({'lpips': 'lower'}, against, {'program': 'lpips', **about})


def identity(s: MeasureSettings) -> Measure:
    """Build ID-GT, ID-Ref (first reference, mean), ID-wrong and the copy gap, by a named protocol."""
    score = IdentityScore(s.id_protocol, s.id_weights, s.detector_weights, s.device)

    def values(cosines: list[float]) -> float | str:
        kept = [v for v in map(score.value, cosines) if not math.isnan(v)]
        least = f'{score.protocol.skip_below:g} {score.protocol.unit}'
        return sum(kept) / len(kept) if kept else f'left out by {s.id_protocol}: pairs below {least}'

    def against(truth: Truth) -> Score:
        gt = [score.embed(x) for x in (truth.gt,) if x is not None]
        refs, wrong = ([score.embed(x) for x in images] for images in (truth.refs, truth.wrong))
        faces = {'id_gt': gt, 'id_ref_first': refs[:1], 'id_ref': refs, 'id_wrong': wrong}

        def measure(img: np.ndarray) -> Values:
            own = score.embed(img)
            cosines = {column: [float(own @ x) for x in others] for column, others in faces.items() if others}
            found = {column: values(several) for column, several in cosines.items()}
            if gt and refs:
                found['copy_gap'] = sum(cosines['id_ref']) / len(refs) - cosines['id_gt'][0]
            return found

        return measure

    better, worse = ('higher', 'lower') if score.protocol.unit == 'cosine' else ('lower', 'higher')
    columns = {'id_gt': better, 'id_ref_first': '', 'id_ref': '', 'copy_gap': '', 'id_wrong': worse}
    about = score.about() | {
        'id_ref': 'mean over the references used; id_ref_first: the first of them',
        'copy_gap': 'cosine to the references (mean) minus cosine to the ground truth; far above zero it is copying',
        'id_wrong': "to the other person's references",
    }
    return Measure(columns, against, about, needs_gt=False)


def landmarks(s: MeasureSettings) -> Measure:
    """Build LMD, the mean distance of landmarks."""
    network = landmark_network(s.landmark_weights, s.device)

    def against(truth: Truth) -> Score:
        points = network(truth.gt)
        return lambda img: {'lmd': mean_distance(network(img), points)}

    about = {'network': network.name, 'weights': s.landmark_weights, 'sha256': sha256(resolve(s.landmark_weights))}
    return Measure({'lmd': 'lower'}, against, about | {'unit': 'pixels of these photos'})


def naturalness(s: MeasureSettings) -> Measure:
    """Build BasicSR's NIQE."""

    def niqe(img: np.ndarray) -> Values:
        side = min(img.shape[:2]) - 2 * s.crop_border
        small = f'NIQE needs {NIQE_SIDE} pixels, there are {side}'
        return {'niqe': small if side < NIQE_SIDE else calculate_niqe(img, s.crop_border)}

    about = {'program': 'BasicSR', 'crop_border': s.crop_border, 'note': "pyiqa's NIQE is another number"}
    return Measure({'niqe': 'lower'}, lambda truth: niqe, about, needs_gt=False)


def build_measures(s: MeasureSettings, with_gt: bool = True) -> tuple[list[Measure], dict[str, str]]:
    """Build the measures that the settings allow; return them, and columns -> why the others are not measured.

    Raises:
        RefStarError: a file that was given is missing or of another network, or a name is unknown.
    """
    lpips_file = f'{BACKBONES[s.lpips_net]} of torchvision' if s.lpips_net in BACKBONES else 'the backbone'
    id_file = protocol(s.id_protocol).published or f'the file of {s.id_protocol}'
    table = [
        (fidelity, 'psnr, ssim', {}),
        (fine_detail, 'detail', {}),
        (perceptual, 'lpips', {'lpips_weights': lpips_file}),
        (identity, 'id_gt, id_ref, copy_gap, id_wrong', {'id_weights': id_file}),
        (landmarks, 'lmd', {'landmark_weights': '68 landmarks'}),
        (naturalness, 'niqe', {}),
    ]
    measures, absent = [], {}
    for build, names, needs in table:
        lacking = [f'--{key} ({what})' for key, what in needs.items() if not getattr(s, key)]
        if lacking:
            absent[names] = f'give {" and ".join(lacking)}'
            continue
        measure = build(s)
        if with_gt or not measure.needs_gt:
            measures.append(measure)
        else:
            absent[names] = 'there is no ground truth'
    return measures, absent
