"""Patches of BasicSR and GFPGAN: each is seen to work on current libraries."""

import ast
import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import degradations
from basicsr.losses.gan_loss import r1_penalty
from basicsr.models import realesrgan_model
from basicsr.utils.registry import DATASET_REGISTRY
from torch.nn import functional as F

from refstar.trainer.patches import init_dist
from refstar.utils.errors import RefStarError


@pytest.mark.parametrize('quality', [30, 60.7])
def test_jpeg_degradation_is_that_of_opencv(quality: float) -> None:
    image = np.random.default_rng(0).random((16, 16, 3), np.float32)
    image = cv2.resize(image, (32, 32))
    out = degradations.random_add_jpg_compression(image, (quality, quality))
    encoded = cv2.imencode('.jpg', np.uint8(np.round(image * 255)), [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    np.testing.assert_allclose(out, cv2.imdecode(encoded, 1) / 255, atol=1e-6)
    assert out.dtype == np.float32 and 0.005 < np.abs(out - image).mean() < 0.2


def test_fused_leaky_relu_has_gradients_of_both_orders() -> None:
    from basicsr.ops.fused_act import fused_leaky_relu

    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fused_leaky_relu, (x, bias))
    assert torch.autograd.gradgradcheck(fused_leaky_relu, (x, bias))
    torch.testing.assert_close(fused_leaky_relu(x, bias), F.leaky_relu(x + bias[:, None], 0.2) * 2**0.5)


def test_upfirdn2d_without_extension_is_the_native_one() -> None:
    from importlib import import_module

    upfirdn2d = import_module('basicsr.ops.upfirdn2d.upfirdn2d')
    x, kernel = torch.randn(1, 2, 6, 6), torch.rand(4, 4)
    out = upfirdn2d.UpFirDn2d.apply(x, kernel, (2, 2), (1, 1), (2, 1, 2, 1))
    torch.testing.assert_close(out, upfirdn2d.upfirdn2d(x, kernel, up=2, pad=(2, 1)))


def test_stylegan2_discriminator_trains_with_r1_on_the_cpu() -> None:
    net = build_network({'type': 'StyleGAN2Discriminator', 'out_size': 16, 'narrow': 0.0625})
    image = torch.randn(2, 3, 16, 16, requires_grad=True)
    r1_penalty(net(image), image).backward()
    gradients = [p.grad for name, p in net.named_parameters() if name.endswith('weight')]
    assert all(torch.isfinite(g).all() and g.abs().sum() > 0 for g in gradients if g is not None)
    assert sum(g is not None for g in gradients) > 5


def test_landmark_file_with_numpy_values_loads(tmp_path) -> None:
    content = {'00000000': {'left_eye': [np.float64(1.5), np.float32(2), np.int64(3)], 'mouth': np.arange(3.0)}}
    torch.save(content, tmp_path / 'new.pth')
    loaded = torch.load(tmp_path / 'new.pth')
    assert loaded['00000000']['left_eye'] == [1.5, 2, 3]
    np.testing.assert_array_equal(loaded['00000000']['mouth'], np.arange(3.0))


def test_launcher_without_torchrun_says_so(monkeypatch) -> None:
    from basicsr.utils.dist_util import init_dist

    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(RefStarError, match='torchrun'):
        init_dist('pytorch')


def test_realesrgan_pool_stays_on_the_device_of_the_photos() -> None:
    model = realesrgan_model.RealESRGANModel.__new__(realesrgan_model.RealESRGANModel)
    model.queue_size, model.lq, model.gt = 4, torch.rand(2, 3, 4, 4), torch.rand(2, 3, 8, 8)
    model._dequeue_and_enqueue()
    assert torch.equal(model.queue_lr[:2], model.lq) and model.queue_gt.shape == (4, 3, 8, 8)


def test_realesrgan_filters_photos_of_any_layout() -> None:
    """Its JPEG and resizing give channels_last ones; of one photo alone BasicSR takes these too."""
    photos, kernels = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 3)
    wanted = realesrgan_model.filter2D(photos, kernels)
    turned = photos.to(memory_format=torch.channels_last)
    torch.testing.assert_close(realesrgan_model.filter2D(turned, kernels), wanted)
    assert realesrgan_model.USMSharp()(torch.rand(2, 3, 32, 32).to(memory_format=torch.channels_last)).shape[0] == 2


def test_gfpgan_mirrors_eyes_and_mouth_once() -> None:
    kind = DATASET_REGISTRY.get('FFHQDegradationDataset')
    boxes = {'left_eye': [200.0, 240.0, 40.0], 'right_eye': [310.0, 240.0, 40.0], 'mouth': [256.0, 370.0, 50.0]}
    dataset = kind.__new__(kind)
    dataset.out_size, dataset.eye_enlarge_ratio = 512, 1.4
    dataset.components_list = {'00000003': {part: np.array(box) for part, box in boxes.items()}}
    plain, mirrored, again = (dataset.get_component_coordinates(3, [flip]) for flip in (False, True, True))
    assert [box.tolist() for box in mirrored] == [box.tolist() for box in again]
    assert plain[0].tolist() == [200 - 56 + 1, 240 - 56 + 1, 200 + 56, 240 + 56]
    assert mirrored[0].tolist() == [202 - 56 + 1, 240 - 56 + 1, 202 + 56, 240 + 56]  # the other eye, from the right


def test_slurm_without_srun_is_one_line() -> None:
    with pytest.raises(RefStarError, match='--launcher slurm: needs GPUs, and srun'):
        init_dist('slurm')


def _stock_functions() -> Iterator[tuple[str, Any, list[str], int]]:
    """Functions and methods of the packages: name, what is there now, names of its arguments, how many by position."""
    for module in [module for name, module in sys.modules.items() if name.split('.')[0] in ('basicsr', 'gfpgan')]:
        tree = ast.parse(Path(module.__file__).read_text(encoding='utf-8'))
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        for block in (tree, *classes):
            home = vars(module) if block is tree else vars(vars(module)[block.name])
            for node in block.body:
                if isinstance(node, ast.FunctionDef) and inspect.isfunction(home.get(node.name)):
                    names = [a.arg for a in (*node.args.args, *node.args.kwonlyargs)]
                    where = f'{module.__name__}:{node.lineno} {node.name}'
                    yield where, home[node.name], names, len(node.args.args)


def test_what_is_replaced_takes_the_same_arguments() -> None:
    """By position and by name, as other programs give them."""
    wrong, count = [], 0
    for where, function, names, positional in _stock_functions():
        if function.__module__.startswith('refstar.'):
            function = getattr(import_module(function.__module__), function.__name__, function)
            count += 1
        signature = inspect.signature(function, follow_wrapped=False)
        try:
            signature.bind(**dict.fromkeys(names))
            signature.bind(*names[:positional], **dict.fromkeys(names[positional:]))
        except TypeError as error:
            wrong.append(f'{where}: {error}')
    assert count > 10 and wrong == []
