"""Running of a model for `refstar evaluate --opt`: every arm on every photo of its test sets, as folders of PNGs.

The folders have the form that `refstar evaluate --pred` takes, so they can be scored again.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from basicsr.models.base_model import BaseModel
from basicsr.utils import imwrite, mkdir_and_rename, tensor2img
from torch import Tensor
from tqdm import tqdm

from refstar.data.degradation import Degradation
from refstar.models.arms import selected_arms, test_settings
from refstar.models.reference_mixin import ARMS, ReferenceMixin
from refstar.models.refstar_model import RefSTARModel
from refstar.trainer.option_check import check_options
from refstar.trainer.option_file import load_options, parse_options
from refstar.utils.errors import RefStarError
from refstar.utils.text_files import write_csv

from .testset import Folders, TestSet, read_testset

DEGRADATION = 'ffhq_ref_severe'  # default of the data sets for tests


def read_test(opt_file: str, force: Sequence[str] = ()) -> dict[str, Any]:
    """Read and check the options of `basicsr test`.

    Raises:
        RefStarError: the file is wrong.
    """
    check_options(load_options(opt_file, list(force)), is_train=False)
    sys.argv = ['refstar evaluate', '-opt', opt_file, *(['--force_yml', *force] if force else [])]  # read by the next
    return parse_options(str(Path.cwd()), is_train=False)[0]


def run_model(
    opt: dict[str, Any], arms: Sequence[str], out: Path
) -> Iterator[tuple[TestSet, dict[str, Path], dict[str, Any], Path]]:
    """Run arms on all test sets of an option file; every data set gets a folder of its own in ``out``.

    Yields:
        The test set, arm -> folder of its restored photos, the fields of `MeasureSettings` that the option file names,
        and the folder of the data set.

    Raises:
        RefStarError: the model knows no references, or photos are wrong.
    """
    opt['val'] = {**(opt.get('val') or {}), 'arms': list(arms)}
    model = build_model(opt)
    restore = restorer(model)
    for _, block in sorted(opt['datasets'].items()):
        dataset = build_dataset(block)
        loader = build_dataloader(dataset, block, num_gpu=opt['num_gpu'], dist=False, sampler=None, seed=0)
        wanted = selected_arms(model, ARMS, dataset[0])
        folder = out / block['name']
        mkdir_and_rename(str(folder))  # an earlier run is kept as <folder>_archived_<time>
        people = {}
        for data in tqdm(loader, block['name'], unit='photo', disable=None):
            stem = Path(data['lq_path'][0]).stem
            people[stem] = str(data['identity'][0])
            write_truth(data, folder, stem)
            model.feed_data(data)
            for arm in wanted:
                with torch.no_grad():
                    imwrite(restore(arm), str(folder / 'restored' / arm / f'{stem}.png'))
        rows = [{'image': stem, 'identity': person} for stem, person in people.items()]
        write_csv(folder / 'people.csv', rows, ['image', 'identity'])
        testset = read_testset(folders_of(folder), block.get('num_refs', 1), block['name'])
        ready = block.get('dataroot_lq')
        degradation = block.get('degradation', DEGRADATION), block.get('seed', 0), block['gt_size']
        testset.lq_source = f'files of {ready}' if ready else describe_degradation(*degradation)
        settings = settings_of(opt['val'])
        if not ready:
            settings.setdefault('down', dataset.degradation.max_factor)
        made = {arm: folder / 'restored' / arm for arm in wanted}
        yield testset, made, settings, folder


def restorer(model: BaseModel) -> Callable[[str], np.ndarray]:
    """Return a function that restores the photo that the model was fed: arm -> uint8 BGR.

    Raises:
        RefStarError: the model takes no references.
    """
    if isinstance(model, RefSTARModel):
        model.net_eval.eval()
        return lambda arm: tensor2img(model.test_arm(arm)['result'], min_max=(-1, 1))
    if isinstance(model, ReferenceMixin):
        model.call = test_settings(model)

        def restore(arm: str) -> np.ndarray:
            model.arm = arm
            model.test()
            return tensor2img(model.output, min_max=model.value_range)

        return restore
    raise RefStarError(f'model_type {type(model).__name__}: restores no photos with references; use e.g. RefSTARModel')


def write_truth(data: dict[str, Any], folder: Path, stem: str) -> None:
    """Write a sample's photos, and the mask inside which its references show the truth, where that is known."""

    def write(image: Tensor, *place: str) -> None:
        imwrite(tensor2img(image, min_max=(-1, 1)), str(folder.joinpath(*place)) + '.png')

    for key in ('gt', 'lq'):
        if key in data:
            write(data[key], key, stem)
    for key, valid in (('refs', 'ref_valid'), ('wrong_refs', 'wrong_valid')):
        for i, ref in enumerate(data[key][0][data[valid][0]] if key in data else ()):
            write(ref, key, stem, str(i))
    if 'gt_mask' in data:
        mask = data['gt_mask'][0].amax(0)[0].numpy()
        imwrite((mask * 255).round().astype(np.uint8), str(folder / 'regions' / f'{stem}.png'))


def folders_of(folder: Path) -> Folders:
    """Return what was written into a data set's folder."""
    names = {'wrong': 'wrong_refs', 'people': 'people.csv'} | {key: key for key in ('gt', 'lq', 'refs', 'regions')}
    return Folders(**{key: folder / name for key, name in names.items() if (folder / name).exists()})


def describe_degradation(degradation: str | Mapping[str, Any], seed: int, size: int) -> str:
    """Name what degraded photos are: `synthesised, ffhq_ref_severe ranges, seed 0`."""
    opt = {'preset': degradation} if isinstance(degradation, str) else dict(degradation)
    changed = ', '.join(f'{k} {v}' for k, v in opt.items() if k != 'preset')
    ranges = f'{opt["preset"]} ranges' if 'preset' in opt else 'own ranges'
    made_for = Degradation.from_option(degradation, size).reference_size
    scaled = '' if size == made_for else f', scaled from {made_for} to {size} px'
    return f'synthesised, {ranges}{f" with {changed}" if changed else ""}, seed {seed}{scaled}'


def settings_of(val: dict[str, Any]) -> dict[str, Any]:
    """Return the networks and files that the metrics of an option file name, as settings of the measures."""
    names = {
        'calculate_psnr': {'crop_border': 'crop_border'},
        'calculate_detail': {'down': 'down'},
        'calculate_lpips': {'lpips_net': 'net', 'lpips_weights': 'weights'},
        'calculate_id_gt': {'id_protocol': 'network', 'id_weights': 'weights'},
    }
    metrics = (val.get('metrics') or {}).values()
    return {
        setting: metric[key]
        for metric in metrics
        for setting, key in names.get(metric['type'], {}).items()
        if key in metric
    }
