"""Figures of `refstar evaluate` against independent implementations on the same photos, to 1e-4; not identity."""

from pathlib import Path

import cv2
import lpips
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_niqe, calculate_psnr, calculate_ssim
from helpers.measuring import CLOSE, photo, rgb, scored

from refstar.data.face_region import face_oval
from refstar.evaluation.measures import MeasureSettings, Truth, build_measures
from refstar.metrics.detail_metric import calculate_detail
from refstar.metrics.landmark_metric import calculate_lmd
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


# ---------------------------------------------------------------- LPIPS
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


@pytest.mark.parametrize(
    ('file', 'message'),
    [
        ('none.pth', 'none.pth: no such file'),
        ('page.pth', 'page.pth: is a web page, not a network'),
        ('dlib_face.safetensors', 'is a checkpoint of another network than LandmarkNet68'),
        ('other.pth', 'is a checkpoint of another network than FAN'),
    ],
)
def test_another_network_than_of_landmarks_is_refused(file, message, tmp_path):
    (tmp_path / 'page.pth').write_bytes(b'<!DOCTYPE html><html></html>')
    torch.save({'head.weight': torch.zeros(1)}, tmp_path / 'other.pth')
    path = PRETRAINED / file if (PRETRAINED / file).is_file() else tmp_path / file
    with pytest.raises(RefStarError, match=message):
        calculate_lmd(photo(0), photo(0), str(path))


def test_lmd_sees_a_shift(faces_root):
    img = cv2.imread(str(sorted((faces_root / 'london_512').glob('*/01.jpg'))[0]))
    moved = np.roll(img, 6, axis=1)
    assert calculate_lmd(img, img) == 0
    assert calculate_lmd(moved, img) == pytest.approx(6, abs=2)
