"""Figures of `refstar evaluate` against independent implementations on the same photos, to 1e-4; not identity."""

from pathlib import Path

import cv2
import lpips
import numpy as np
import pytest
import scipy.linalg
import torch
from basicsr.metrics import calculate_niqe, calculate_psnr, calculate_ssim
from helpers.measuring import CLOSE, photo, rgb, scored
from torch import nn

from refstar.data.face_region import face_oval
from refstar.evaluation.measures import MeasureSettings, Truth, build_measures
from refstar.metrics.detail_metric import calculate_detail
from refstar.metrics.fid import FeatureNetwork, frechet_distance
from refstar.metrics.landmark_metric import calculate_lmd
from refstar.metrics.lpips_metric import FACE, calculate_flpips
from refstar.utils.errors import RefStarError
from refstar.utils.released_weights import PRETRAINED


# ---------------------------------------------------------------- PSNR, SSIM, NIQE, detail
def test_psnr_and_ssim_are_those_of_basicsr():
    gt, img = photo(0), photo(1)
    values = scored(MeasureSettings(crop_border=4), Truth(gt), img)
    assert values['psnr'] == calculate_psnr(img, gt, 4) and values['ssim'] == calculate_ssim(img, gt, 4)
    assert scored(MeasureSettings(), Truth(gt), gt)['psnr'] == 'equal to the ground truth: infinite'


def test_niqe_is_that_of_basicsr():
    img = photo(0, 192)
    niqe = build_measures(MeasureSettings())[0][-1].against(Truth())
    assert niqe(img) == {'niqe': calculate_niqe(img, 0)}
    assert niqe(photo(0, 128)) == {'niqe': 'NIQE needs 192 pixels, there are 128'}


def test_detail_inside_the_selection_or_the_oval():
    gt, img, region = photo(0), photo(1), np.zeros((64, 64))
    region[10:30] = 1
    for truth, mask in ((Truth(gt, region=region), region), (Truth(gt), face_oval(64))):
        assert scored(MeasureSettings(down=8), truth, img)['detail'] == calculate_detail(img, gt, 8, mask)
    assert scored(MeasureSettings(), Truth(gt), img)['detail'] == calculate_detail(
        img, gt, 4, face_oval(64)
    )  # 32 of 512


# ---------------------------------------------------------------- LPIPS, fLPIPS
def saved_backbone(model: lpips.LPIPS, path: Path) -> str:
    """The ImageNet backbone of an LPIPS network as torchvision's file has it."""
    torch.save({f'features.{k.split(".", 1)[1]}': v for k, v in model.net.state_dict().items()}, path)
    return str(path)


@pytest.mark.parametrize('net', ['squeeze', 'alex'])
def test_lpips_is_that_of_the_package(net, tmp_path):
    torch.manual_seed(0)
    package = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    settings = MeasureSettings(lpips_net=net, lpips_weights=saved_backbone(package, tmp_path / 'net.pth'))
    with torch.no_grad():
        want = package(rgb(photo(1)), rgb(photo(0))).item()
    assert scored(settings, Truth(photo(0)), photo(1))['lpips'] == pytest.approx(want, **CLOSE)


@pytest.mark.parametrize('kind', ['ParseNet', 'BiSeNet'])
def test_flpips_is_lpips_of_the_parsed_face(kind, tmp_path, monkeypatch):
    from facexlib.parsing.bisenet import BiSeNet
    from facexlib.parsing.parsenet import ParseNet

    monkeypatch.setattr('refstar.metrics.lpips_metric.PARSER_SIZE', 64)
    torch.manual_seed(0)
    net = (BiSeNet(19) if kind == 'BiSeNet' else ParseNet(in_size=64, out_size=64, parsing_ch=19)).eval()
    torch.save(net.state_dict(), tmp_path / 'parse.pth')
    gt, img = photo(0), photo(1)
    mean, std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if kind == 'BiSeNet' else ((0.5,) * 3, (0.5,) * 3)
    x = ((rgb(gt) + 1) / 2 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        classes = net(x)[0].argmax(1)[0]
    face = torch.stack([classes == c for c in FACE[kind]]).any(0)
    assert 0 < face.sum() < face.numel()
    package = lpips.LPIPS(net='squeeze', pnet_rand=True, verbose=False).eval()
    files = {'lpips_net': 'squeeze', 'lpips_weights': saved_backbone(package, tmp_path / 'net.pth')}
    black = [torch.where(face, rgb(x), torch.tensor(-1.0)) for x in (img, gt)]
    with torch.no_grad():
        want = package(*black).item()
    found = scored(MeasureSettings(parsing_weights=str(tmp_path / 'parse.pth'), **files), Truth(gt), img)
    assert found['flpips'] == pytest.approx(want, **CLOSE) and found['flpips'] != pytest.approx(found['lpips'], **CLOSE)
    registered = calculate_flpips(img, gt, 'squeeze', files['lpips_weights'], str(tmp_path / 'parse.pth'))
    assert registered == pytest.approx(want, **CLOSE)


# ---------------------------------------------------------------- LMD
def test_lmd_of_facexlibs_network(tmp_path, monkeypatch):
    from facexlib.alignment.awing_arch import FAN

    torch.save({'state_dict': FAN(4, num_landmarks=98, device='cpu').state_dict()}, tmp_path / 'wflw.pth')
    points = {seed: np.random.default_rng(seed).uniform(0, 64, (98, 2)) for seed in (0, 1)}
    monkeypatch.setattr(FAN, 'get_landmarks', lambda self, img: points[int((img != photo(0)).any())])
    want = np.sqrt(((points[0] - points[1]) ** 2).sum(1)).mean()
    file = str(tmp_path / 'wflw.pth')
    assert calculate_lmd(photo(1), photo(0), file) == pytest.approx(want, **CLOSE)
    assert scored(MeasureSettings(landmark_weights=file), Truth(photo(0)), photo(1))['lmd'] == pytest.approx(
        want, **CLOSE
    )


def test_lmd_sees_a_shift(faces_root):
    img = cv2.imread(str(sorted((faces_root / 'london_512').glob('*/01.jpg'))[0]))
    moved = np.roll(img, 6, axis=1)
    weights = str(faces_root / 'weights' / 'pfld_68.onnx')
    assert calculate_lmd(img, img, weights) == 0
    assert calculate_lmd(moved, img, weights) == pytest.approx(6, abs=2)


@pytest.mark.parametrize(
    ('file', 'message'),
    [
        ('none.onnx', 'none.onnx: no such file'),
        ('page.onnx', 'page.onnx cannot be read'),
        ('yunet.onnx', 'yunet.onnx gives no 136 numbers; name one with 68 points'),
        ('dlib_face.safetensors', 'is a checkpoint of another network than LandmarkNet68'),
        ('dlib_face.pth', 'is a checkpoint of another network than FAN'),
    ],
)
def test_another_network_than_of_landmarks_is_refused(file, message, tmp_path):
    (tmp_path / 'page.onnx').write_bytes(b'<!DOCTYPE html>')
    if file.endswith('.pth'):
        torch.save({'head.weight': torch.zeros(1)}, tmp_path / file)
    path = PRETRAINED / file if (PRETRAINED / file).is_file() else tmp_path / file
    with pytest.raises(RefStarError, match=message):
        calculate_lmd(photo(0), photo(0), str(path))


# ---------------------------------------------------------------- FID
def test_fid_is_the_frechet_distance(tmp_path):
    class Features(nn.Module):
        def forward(self, x, return_features: bool = False):
            x = x.float() / 255
            return torch.cat([x.mean((2, 3)), x.std((2, 3))], 1) if return_features else x[:, :, 0, 0]

    torch.jit.script(Features()).save(tmp_path / 'features.pt')
    network = FeatureNetwork(str(tmp_path / 'features.pt'))
    a, b = (torch.stack([network(photo(i, 24)) for i in range(start, start + 20)]) for start in (0, 50))
    assert a.shape == (20, 6)
    (mu, s), (nu, t) = ((x.mean(0).numpy(), np.cov(x.numpy().T)) for x in (a, b))
    want = ((mu - nu) ** 2).sum() + np.trace(s + t - 2 * scipy.linalg.sqrtm(s @ t).real)
    assert frechet_distance(a, b) == pytest.approx(want, **CLOSE) and want > 1e-3
    assert network.about()['program'].startswith('torch-fidelity')
    with pytest.raises(RefStarError, match='two photos on each side'):
        frechet_distance(a[:1], b)
