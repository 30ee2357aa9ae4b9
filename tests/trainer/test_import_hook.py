"""The import hook: BasicSR works after `import refstar`, and everything is registered."""

import sys

import numpy as np
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY

import refstar
from refstar.trainer import import_hook


def test_functional_tensor_is_the_function_of_torchvision() -> None:
    from torchvision.transforms import functional
    from torchvision.transforms.functional_tensor import rgb_to_grayscale

    assert rgb_to_grayscale is functional.rgb_to_grayscale


def test_facexlib_landmarks_find_the_peak_of_a_heatmap() -> None:
    from facexlib.alignment.awing_arch import calculate_points

    heatmap = np.zeros((1, 1, 64, 64), np.float32)
    heatmap[0, 0, 20, 30] = 1
    np.testing.assert_allclose(calculate_points(heatmap)[0, 0], (30.5, 20.5))


def test_the_hook_is_installed_once() -> None:
    import_hook.install()
    assert sum(type(finder).__name__ == '_Hook' for finder in sys.meta_path) == 1


def test_registries_hold_what_this_project_registers() -> None:
    assert 'RefSTAR' in ARCH_REGISTRY and 'RefGFPGANModel' in MODEL_REGISTRY.keys()  # noqa: SIM118
    assert refstar.RefSTAR is ARCH_REGISTRY.get('RefSTAR')
