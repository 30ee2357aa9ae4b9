"""Named identity protocols against a reference of ten lines each, on the same photos, to 1e-4."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.transform
import torch
import torch.nn.functional as F
from helpers.measuring import CLOSE, photo, rgb
from torch import nn

from refstar.evaluation.measures import MeasureSettings, Truth, build_measures
from refstar.identity_arch import ARCFACE_112, FFHQ_512
from refstar.metrics import identity_protocols
from refstar.metrics.identity_protocols import PROTOCOLS, IdentityScore
from refstar.utils.errors import RefStarError
from refstar.utils.face_points import FacePoints, similarity


class Tiny(nn.Module):
    """A stand-in of an identity network that sees everything: position, colour, contrast."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 8, 5, stride=4), nn.Linear(8 * 27 * 27, 16)

    def forward(self, x):
        return self.out(torch.relu(self.conv(x)).flatten(1))


@pytest.fixture(scope='module')
def tiny(tmp_path_factory) -> tuple[Path, nn.Module]:
    torch.manual_seed(0)
    net, path = Tiny().eval(), tmp_path_factory.mktemp('tiny') / 'webface_r50.pt'
    torch.jit.trace(net, torch.rand(1, 3, 112, 112)).save(path)
    return path, net


@pytest.fixture(scope='module')
def resnet18(tmp_path_factory) -> tuple[Path, nn.Module]:
    """GFPGAN's and VQFR's network with random weights, saved as theirs is."""
    from gfpgan.archs.arcface_arch import ResNetArcFace

    torch.manual_seed(0)
    net = ResNetArcFace('IRBlock', [2, 2, 2, 2], use_se=False).eval()
    path = tmp_path_factory.mktemp('resnet18') / 'resnet18_110.pth'
    torch.save({f'module.{k}': v for k, v in net.state_dict().items()}, path)
    return path, net


def cosine(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    with torch.no_grad():
        return F.cosine_similarity(net(x).double(), net(y).double()).item()


def identity(name: str, path: Path, truth: Truth, img: np.ndarray, **more) -> dict:
    settings = MeasureSettings(id_protocol=name, id_weights=str(path), **more)
    return build_measures(settings)[0][2].against(truth)(img)


def test_refldm_feeds_the_middle_of_the_face(tiny):
    path, net = tiny

    def prepared(img):
        return F.interpolate(rgb(img)[:, :, 32:480, 32:480], (112, 112), mode='area')

    gt, img, *refs = (photo(i, 512) for i in range(4))
    found = identity('refldm', path, Truth(gt, refs, wrong=[gt]), img)
    own, *others = (prepared(x) for x in (img, gt, *refs))
    to_gt, *to_refs = (cosine(net, own, x) for x in others)
    assert found['id_gt'] == pytest.approx(to_gt, **CLOSE) and found['id_wrong'] == pytest.approx(to_gt, **CLOSE)
    assert found['id_ref_first'] == pytest.approx(to_refs[0], **CLOSE)
    assert found['id_ref'] == pytest.approx(np.mean(to_refs), **CLOSE)
    assert found['copy_gap'] == pytest.approx(np.mean(to_refs) - to_gt, **CLOSE)


def test_gfpgan_and_restoreformer_feed_luminance(resnet18):
    path, net = resnet18
    luma = torch.tensor([0.2989, 0.5870, 0.1140])[:, None, None]
    gt, img = photo(0, 200), photo(1, 200)

    def grey(x):
        return F.interpolate((x * luma).sum(1, keepdim=True), (128, 128), mode='bilinear', align_corners=False)

    want = cosine(net, *(grey(rgb(x)) for x in (img, gt)))
    assert identity('gfpgan', path, Truth(gt), img)['id_gt'] == pytest.approx(want, **CLOSE)
    as_read = [torch.tensor(x.transpose(2, 0, 1)[None] / 255, dtype=torch.float32) for x in (img, gt)]
    want = math.acos(cosine(net, *map(grey, as_read)))
    found = identity('restoreformer', path, Truth(gt, [gt]), img)
    assert found['id_gt'] == pytest.approx(want, **CLOSE)
    assert found['copy_gap'] == 0  # of cosines, whatever the unit


def test_vqfr_measures_degrees_of_grey_faces(resnet18, tmp_path):
    path, net = resnet18
    gt, img = photo(0, 200), photo(1, 200)

    def prepared(x):
        cv2.imwrite(str(tmp_path / 'x.png'), x)
        grey = cv2.resize(cv2.imread(str(tmp_path / 'x.png'), 0), (128, 128), interpolation=cv2.INTER_LINEAR)
        return torch.tensor((grey.astype(np.float32) - 127.5) / 127.5)[None, None]

    want = math.degrees(math.acos(cosine(net, prepared(img), prepared(gt))))
    assert want > 1
    assert identity('vqfr', path, Truth(gt), img)['id_gt'] == pytest.approx(want, **CLOSE)
    same = identity('vqfr', path, Truth(gt, [gt, img]), gt)
    assert same['id_gt'] == 'left out by vqfr: pairs below 1 degrees' == same['id_ref_first']
    assert same['id_ref'] == pytest.approx(want, **CLOSE)  # the mean of those that count


def test_insightface_aligns_by_five_points(tiny, tmp_path, monkeypatch):
    path, net = tiny
    gt, img = photo(0, 160), photo(1, 160)
    points = np.array(FFHQ_512) * 160 / 512 + np.random.default_rng(0).normal(0, 3, (5, 2))
    monkeypatch.setattr(FacePoints, '__init__', lambda self, *args: None)
    monkeypatch.setattr(FacePoints, '__call__', lambda self, img: points)
    monkeypatch.setattr(FacePoints, 'about', lambda self: {})
    transform = skimage.transform.SimilarityTransform.from_estimate(points, np.array(ARCFACE_112)).params[:2]
    np.testing.assert_allclose(similarity(points, np.array(ARCFACE_112)), transform, atol=1e-9)
    crops = [rgb(cv2.warpAffine(x, transform, (112, 112), borderValue=0.0)) for x in (img, gt)]
    found = identity('insightface', path, Truth(gt), img, detector_weights='any.pth')
    assert found['id_gt'] == pytest.approx(cosine(net, *crops), **CLOSE)


def test_detectors_find_the_five_points(faces_root):
    img = cv2.imread(str(sorted((faces_root / 'london_512').glob('*/01.jpg'))[0]))
    for file in ('detection_mobilenet0.25_Final.pth', 'yunet_n_640_640.onnx'):
        points = FacePoints(str(faces_root / 'weights' / file))
        assert np.abs(points(img) - np.array(FFHQ_512)).max() < 20
        with pytest.raises(RefStarError, match='no face found'):
            points(np.zeros((64, 64, 3), np.uint8))
        assert len(points.about()['detector_sha256']) == 64


def test_protocol_describes_itself(tiny, identity_weights):
    about = IdentityScore('refldm', str(tiny[0])).about()
    assert about['crop'].startswith('centre') and len(about['sha256']) == 64
    assert 'published with webface_r50.onnx, measured with webface_r50.pt' in about['note']
    assert '(?)' in PROTOCOLS['gfpgan'].note
    assert IdentityScore('mobilefacenet', identity_weights).about()['note'] == 'no published protocol'


def test_wrong_protocols_are_named(tiny, tmp_path):
    with pytest.raises(RefStarError, match="unknown identity protocol 'arcface'; nearest: arcface_resnet18"):
        identity_protocols.protocol('arcface')
    with pytest.raises(RefStarError, match=r'gone\.onnx: no such file'):
        IdentityScore('refldm', 'gone.onnx')
    with pytest.raises(RefStarError, match='insightface needs five points'):
        IdentityScore('insightface', str(tiny[0]))
    with pytest.raises(RefStarError, match='expected a square'):
        IdentityScore('refldm', str(tiny[0])).embed(photo(0)[:40])
    with pytest.raises(RefStarError, match=r'webface_r50\.pt: '):
        IdentityScore('vqfr', str(tiny[0]))
