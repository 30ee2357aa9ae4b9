"""Option files: every key is checked, a misspelt one named with the nearest known."""

import pytest
import yaml
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY
from helpers import runs
from helpers.recipes import put
from torch.utils.data import Dataset

from refstar.trainer.option_check import block_of, check_options
from refstar.trainer.option_file import load_options
from refstar.trainer.signatures import call_block
from refstar.utils.errors import RefStarError
from refstar.utils.option_block import OptionBlock

# The blocks that GFPGAN's full recipe `train_gfpgan_v1` has beyond the simple one.
FULL_RECIPE = """
datasets:
  train: {crop_components: true, component_path: experiments/pretrained_models/landmarks.pth, eye_enlarge_ratio: 1.4}
network_d_left_eye: {type: FacialComponentDiscriminator}
network_d_right_eye: {type: FacialComponentDiscriminator}
network_d_mouth: {type: FacialComponentDiscriminator}
network_identity: {type: ResNetArcFace, block: IRBlock, layers: [2, 2, 2, 2], use_se: False}
path:
  pretrain_network_d_left_eye: ~
  pretrain_network_d_right_eye: ~
  pretrain_network_d_mouth: ~
  pretrain_network_identity: datasets/identity.pth
  ignore_resume_networks: [network_identity]
train:
  gan_component_opt: {type: GANLoss, gan_type: vanilla, real_label_val: 1.0, fake_label_val: 0.0, loss_weight: 1.0}
  comp_style_weight: 200
  identity_weight: 10
"""


def in_a_folder(tmp_path, monkeypatch, name: str) -> dict:
    """Options of a fixture, in a folder where its data are."""
    monkeypatch.chdir(tmp_path)
    for part in ('gt', 'lq'):
        (tmp_path / 'datasets' / part).mkdir(parents=True)
    return load_options(runs.FIXTURES / name)


@pytest.fixture
def gfpgan(tmp_path, monkeypatch) -> dict:
    """GFPGAN's simple recipe."""
    return in_a_folder(tmp_path, monkeypatch, 'gfpgan_simple_small.yml')


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> dict:
    return in_a_folder(tmp_path, monkeypatch, 'sr_tiny.yml')


def merge(into: dict, other: dict) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def test_gfpgan_recipes_pass(gfpgan, tmp_path) -> None:
    check_options(gfpgan, is_train=True)
    merge(gfpgan, yaml.safe_load(FULL_RECIPE))
    (tmp_path / 'datasets/identity.pth').touch()
    check_options(gfpgan, is_train=True)


MISSPELT = {
    'nmae': 'name',
    'trian': 'train',
    'network_gg': 'network_g',
    'datasets:train:dataroot_hq': 'dataroot_gt',
    'datasets:train:jpg_range': 'jpeg_range',
    'network_g:num_style_feats': 'num_style_feat',
    'path:pretrain_networkg': 'pretrain_network_g',
    'train:total_iters': 'total_iter',
    'train:r1_reg_wieght': 'r1_reg_weight',
    'train:scheduler:milestone': 'milestones',
    'train:perceptual_opt:layer_weight': 'layer_weights',
    'val:val_frequency': 'val_freq',
    'val:metrics:psnr:crop_borders': 'crop_border',
    'logger:wandb:projects': 'project',
}


@pytest.mark.parametrize('path', MISSPELT)
def test_misspelt_key_is_named_with_the_nearest(gfpgan, path: str) -> None:
    with pytest.raises(RefStarError) as error:
        check_options(put(gfpgan, path, 1), is_train=True)
    message = str(error.value)
    assert f'unknown key {path.split(":")[-1]!r} ({path})' in message
    assert MISSPELT[path] in message.split('nearest: ')[1]


@pytest.mark.parametrize(
    ('path', 'value', 'nearest'),
    [
        ('model_type', 'GFPGAN', 'GFPGANModel'),
        ('network_g:type', 'GFPGANv2', 'GFPGANv1'),
        ('datasets:val:type', 'PairedImagesDataset', 'PairedImageDataset'),
        ('train:pixel_opt:type', 'L1_Loss', 'L1Loss'),
        ('train:optim_d:type', 'Adamw', 'AdamW'),
        ('val:metrics:psnr:type', 'psnr', 'calculate_psnr'),
    ],
)
def test_unknown_type_is_named_with_the_nearest(gfpgan, path: str, value: str, nearest: str) -> None:
    with pytest.raises(RefStarError) as error:
        check_options(put(gfpgan, path, value), is_train=True)
    assert repr(value) in str(error.value) and path in str(error.value)
    assert nearest in str(error.value).split('nearest: ')[1]


def test_missing_paths_are_named(gfpgan) -> None:
    with pytest.raises(RefStarError, match=r'datasets:train:dataroot_gt: nowhere does not exist; see docs/data\.md'):
        check_options(put(gfpgan, 'datasets:train:dataroot_gt', 'nowhere'), is_train=True)
    with pytest.raises(RefStarError, match=r'path:pretrain_network_g: gone\.pth does not exist'):
        check_options(put(gfpgan, 'path:pretrain_network_g', 'gone.pth'), is_train=True)
    check_options(put(gfpgan, 'path:pretrain_network_g', 'gone.pth'), is_train=True, auto_resume=True)


WRONG_VALUES = [
    ('name', 2026, "expected the name of a folder (a number in quotes: '1'), got 2026"),
    ('rank', 0, "unknown key 'rank'"),  # which the trainer sets
    ('model_type', ['SRModel'], "unknown model ['SRModel']"),
    ('num_gpu', 'all', "expected auto or a whole number from 0, got 'all'"),
    ('datasets:train:batch_size_per_gpu', 2.5, 'expected a whole number from 1, got 2.5'),
    ('datasets:train:prefetch_mode', 'gpu', "expected cpu or cuda, got 'gpu'"),
    ('path:ignore_resume_networks', 'network_d', "expected a list of names, got 'network_d'"),
    ('train:total_iter', '6', "expected a whole number from 1, got '6'"),
    ('train:ema_decay', 1, 'expected a number from 0, below 1, got 1'),
    ('train:net_d_reg_every', None, 'got None'),
    ('train:pixel_opt:loss_weight', 'a', "expected a number, got 'a'"),
    ('train:optim_g:lr', float('nan'), 'got nan'),
    ('train:optim_g:betas', 0.9, 'expected a list of numbers, got 0.9'),
    ('val:metrics', ['psnr'], "expected a block of blocks, got ['psnr']"),
    ('logger:print_freq', True, 'expected a whole number from 1, got True'),
]


@pytest.mark.parametrize(('path', 'value', 'message'), WRONG_VALUES)
def test_a_value_that_cannot_be_is_named_with_its_key(gfpgan, path: str, value: object, message: str) -> None:
    with pytest.raises(RefStarError) as error:
        check_options(put(gfpgan, path, value), is_train=True)
    assert path in str(error.value) and message in str(error.value)


def test_what_upstream_writes_is_no_wrong_value(gfpgan) -> None:
    for path, value in {
        'logger:save_checkpoint_freq': 5e3,
        'val:val_freq': 5e3,
        'train:total_iter': 8e5,
        'path:strict_load_g': None,
        'datasets:train:pin_memory': None,
        'logger:wandb': None,
    }.items():
        check_options(put(gfpgan, path, value), is_train=True)


def test_keys_of_a_model_are_its_own_and_those_of_its_bases() -> None:
    class Model(SRModel):
        class Options(OptionBlock):
            extra: int = 1

            class Train(OptionBlock):
                cycle_every: int = 1

    def keys(block: str = '') -> set[str]:
        return set(block_of(Model, block).model_fields)

    assert {'extra', 'network_g', 'path'} <= keys() and not {'cycle_every', 'ema_decay'} & keys()
    assert {'cycle_every', 'pixel_opt', 'ema_decay', 'optim_g'} <= keys('train')
    assert {'pretrain_network_g', 'param_key_g', 'strict_load_g', 'resume_state'} <= keys('path')


def test_a_class_of_another_package_may_read_any_key(tiny, monkeypatch) -> None:
    class Mine(SRModel):
        pass

    class Bare(Dataset):
        pass

    monkeypatch.setitem(MODEL_REGISTRY._obj_map, 'Mine', Mine)
    monkeypatch.setitem(DATASET_REGISTRY._obj_map, 'Bare', Bare)
    tiny = put(put(tiny, 'model_type', 'Mine'), 'train:my_key', 1)
    tiny['datasets']['train'].update(type='Bare', my_folder='x')
    check_options(tiny, is_train=True)
    with pytest.raises(RefStarError, match='train:total_iter: expected'):
        check_options(put(tiny, 'train:total_iter', 'x'), is_train=True)


def test_parameters_follow_kwargs_up_the_bases() -> None:
    class Base:
        def __init__(self, a, *, b=1):
            pass

    class Passing(Base):
        def __init__(self, c, **kwargs):
            pass

    class Open:
        def __init__(self, **kwargs):
            pass

    def keys(kind: type) -> set[str]:
        return set(call_block(kind).model_fields)

    assert keys(Passing) == {'type', 'a', 'b', 'c'} and keys(Base) == {'type', 'a', 'b'}
    assert call_block(Open).read({'type': 'Open', 'anything': 1})
