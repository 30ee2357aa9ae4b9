"""Propagate masks: train RefSel on the best proposals, and merge its predictions with all proposals."""

import copy
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import yaml
from basicsr.archs import build_network

from refstar.data.images import ImageStore, decode
from refstar.data.mask_proposal import LEAST, without_specks
from refstar.trainer.option_file import load_options
from refstar.utils.atomic_files import publish
from refstar.utils.checkpoint import state_dict_of
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor
from refstar.utils.parallel import end_with_parent
from refstar.utils.text_files import read_text, write_text

from .photo_survey import write_image

NAME = 'masks'  # of the training run


def training_options(base: Path, iterations: int | None) -> dict:
    """Read the options of the training, all but where the proposals are; `iterations` replace the file's.

    Raises:
        RefStarError: it is no option file that trains RefSel on RefSelDataset.
    """
    opt = json.loads(json.dumps(load_options(base)))  # plain dicts, for the YAML writer
    data = (opt.get('datasets') or {}).get('train') or {}
    if data.get('type') != 'RefSelDataset' or (opt.get('network_g') or {}).get('type') != 'RefSel':
        raise RefStarError(f'{base}: must train RefSel (network_g) on RefSelDataset (datasets: train)')
    opt['name'] = NAME
    if iterations:
        opt['train']['total_iter'] = iterations
        if 'periods' in (opt['train'].get('scheduler') or {}):
            opt['train']['scheduler']['periods'] = [iterations]
    return opt


def train_network(network: Path, teach: Path, opt: Mapping, threads: int, train: Callable[[list[str]], int]) -> None:
    """Train from the last checkpoint on, in a process of its own; its output goes to `train.log` beside the network.

    Args:
        network: file to write.
        teach: folder of the proposals to learn from, with `points.npz`.
        opt: of `training_options`.
        threads: that it may use; the last bits of the result depend on their number.
        train: of `build_masks`.
    """
    opt, folder = copy.deepcopy(dict(opt)), network.parent
    opt['datasets']['train'] |= {'dataroot': str(teach.resolve()), 'landmarks': str(teach.resolve() / 'points.npz')}
    write_text(folder / f'{NAME}.yml', yaml.safe_dump(opt, sort_keys=False))
    log = folder / 'train.log'
    print(f'train: {opt["train"]["total_iter"]} iterations; see {log}', flush=True)
    spawned = multiprocessing.get_context('spawn')
    try:
        with ProcessPoolExecutor(1, mp_context=spawned, initializer=end_with_parent) as pool:
            failed = pool.submit(_train, train, folder, threads).result()
    except BrokenProcessPool:
        failed = True
    if failed:
        errors = [line.removeprefix('error: ') for line in read_text(log).split('\n') if line.startswith('error: ')]
        raise RefStarError(f'the training failed: {errors[-1] if errors else "no reason given"}; see {log}')
    run = folder / 'experiments' / NAME
    publish(run / 'models' / 'net_g_latest.pth', network)
    shutil.rmtree(folder / 'experiments')


def _train(train: Callable[[list[str]], int], folder: Path, threads: int) -> int:
    os.chdir(folder)
    with open('train.log', 'a', encoding='utf-8') as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    torch.set_num_threads(threads)
    return train(['-opt', f'{NAME}.yml', '--auto_resume'])


def final_mask(root: Path, size: int, block: str, weights: Path | None, keep: frozenset[str], name: str) -> dict:
    """Merge the proposal of a pair with what the trained network predicts; write `mask/<id>.png`.

    Args:
        root: folder of the collection.
        size: side of the photos in pixels.
        block: `network_g` of the training, as JSON.
        weights: file of the network; None: the proposal is the mask.
        keep: ids whose mask is not touched.
        name: the pair's id.

    Returns:
        `id`, `area` of the mask, and, with a network, `agreement`: the IoU of proposal and prediction.
    """
    proposal = prediction = decode(root / 'build/teach/mask' / f'{name}.png', 'L') / np.float32(255)
    record = {'id': name}
    if weights:
        store = ImageStore(size)
        gt, ref = (to_tensor(store(root / folder / f'{name}.png'))[None] for folder in ('gt', 'ref'))
        with torch.inference_mode():
            prediction = _network(block, weights)(gt, ref[:, None])[0, 0, 0].numpy()
        record['agreement'] = round(agreement(proposal, prediction), 4)
    mask = merge(proposal, prediction)
    if name not in keep:
        write_image(root / 'mask' / f'{name}.png', mask.astype(np.uint8) * 255)
    return record | {'area': round(float(mask.mean()), 4)}


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Return the IoU of what two probabilities select; 1 if both select nothing."""
    a, b = a > 0.5, b > 0.5
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def merge(proposal: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return the mask that both give together: where the mean of their probabilities exceeds a half, (S, S) bool."""
    return without_specks((proposal + prediction) / 2 > 0.5, LEAST)


@lru_cache(maxsize=1)
def _network(block: str, weights: Path) -> torch.nn.Module:
    net = build_network(json.loads(block)).eval()
    net.load_state_dict(state_dict_of(weights, 'params_ema'))
    return net
