"""Propagation: RefSel learns from the best proposals, by `basicsr train`, and predicts the masks of all pairs."""

import copy
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import yaml
from basicsr.archs import build_network
from tqdm import tqdm

from refstar.data.images import ImageStore, decode
from refstar.tools.train import main as basicsr_train
from refstar.trainer.option_file import load_options
from refstar.utils.atomic_files import publish
from refstar.utils.checkpoint import state_dict_of
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor
from refstar.utils.text_files import write_text
from refstar.utils.training_log import parse_line

from .build_stages import write_image
from .mask_curation import agreement, merge

NAME = 'masks'  # of the training run


def training_options(base: Path, iterations: int | None) -> dict:
    """The options of the training, but for where the proposals are.

    Args:
        base: option file of `basicsr train`: RefSel on RefSelDataset.
        iterations: in place of the file's.

    Raises:
        RefStarError: it is no such file.
    """
    opt = _plain(load_options(base))
    data = (opt.get('datasets') or {}).get('train') or {}
    if data.get('type') != 'RefSelDataset' or (opt.get('network_g') or {}).get('type') != 'RefSel':
        raise RefStarError(f'{base}: must train RefSel (network_g) on RefSelDataset (datasets: train)')
    opt['name'] = NAME
    if iterations:
        opt['train']['total_iter'] = iterations
        if 'periods' in (opt['train'].get('scheduler') or {}):
            opt['train']['scheduler']['periods'] = [iterations]
    return opt


def _plain(value: object) -> object:
    """Without OrderedDict, for the YAML writer."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def train(folder: Path, teach: Path, opt: dict, threads: int, lock: int) -> None:
    """Trains in a process of its own, from its last checkpoint on; leaves `network.pth` and `train.log` in the folder.

    Args:
        folder: where `basicsr train` runs.
        teach: folder of the proposals to learn from, with `points.npz`.
        opt: of `training_options`.
        threads: that it may use; the last bits of the result depend on their number.
        lock: of `stages.alone`; the process holds on to it.

    Raises:
        RefStarError: it failed.
    """
    opt = copy.deepcopy(opt)
    opt['datasets']['train'] |= {'dataroot': str(teach.resolve()), 'landmarks': str(teach.resolve() / 'points.npz')}
    write_text(folder / f'{NAME}.yml', yaml.safe_dump(opt, sort_keys=False))
    env = {key: value for key, value in os.environ.items() if key not in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE')}
    env['OMP_NUM_THREADS'] = str(threads)
    command = [sys.executable, '-m', __name__, str(os.getpid()), '-opt', f'{NAME}.yml', '--auto_resume']
    pipe = {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, 'text': True, 'errors': 'replace'}
    total, problem = opt['train']['total_iter'], ''
    with (
        open(folder / 'train.log', 'a', buffering=1) as log,
        tqdm(total=total, desc='train', unit='', disable=None) as bar,
        subprocess.Popen(command, cwd=folder, env=env, pass_fds=[lock], **pipe) as process,
    ):
        try:
            for line in process.stdout:
                log.write(line)
                problem = line.strip().removeprefix('error: ') if line.startswith('error: ') else problem
                if entry := parse_line(line):
                    bar.update(entry.iteration - bar.n)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise RefStarError(f'the training failed: {problem or "no reason given"}; see {folder / "train.log"}')
    run = folder / 'experiments' / NAME
    publish(run / 'models' / 'net_g_latest.pth', folder / 'network.pth')
    shutil.rmtree(folder / 'experiments')


def _end_with(parent: int) -> None:
    """Ends this process soon after its parent was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


class Predictor:
    """Predicts the masks of pairs and merges them with the proposals; the work of a stage.

    Args:
        root: folder of the collection; `mask/<id>.png` is written there.
        proposed: folder of the proposals, probabilities as 8-bit grey.
        size: side of the photos in pixels.
        network: block `network_g` of the training and its weights; None: a proposal is the mask.
        keep: ids whose mask is not touched.
    """

    def __init__(
        self, root: Path, proposed: Path, size: int, network: tuple[dict, Path] | None, keep: Sequence[str] = ()
    ):
        self.root, self.proposed, self.network, self.keep = root, proposed, network, set(keep)
        self.store = ImageStore(size)

    def __call__(self, names: Sequence[str]) -> list[dict]:
        """Records with `id`, `area` of the mask, and, with a network, `agreement`."""
        proposals = [self._proposal(name) for name in names]
        predictions = proposals if self.network is None else self._predict(names)
        records = []
        for name, proposal, prediction in zip(names, proposals, predictions, strict=True):
            mask = merge(proposal, prediction)
            if name not in self.keep:
                write_image(self.root / 'mask' / f'{name}.png', mask.astype(np.uint8) * 255)
            record = {'id': name, 'area': round(float(mask.mean()), 4)}
            if self.network is not None:
                record['agreement'] = round(agreement(proposal, prediction), 4)
            records.append(record)
        return records

    def _proposal(self, name: str) -> np.ndarray:
        return decode(self.proposed / f'{name}.png', 'L') / np.float32(255)

    def _predict(self, names: Sequence[str]) -> list[np.ndarray]:
        gt, ref = (
            torch.stack([to_tensor(self.store(self.root / part / f'{name}.png')) for name in names])
            for part in ('gt', 'ref')
        )
        with torch.inference_mode():
            return list(self._net(gt, ref[:, None])[:, 0, 0].numpy())

    @cached_property
    def _net(self) -> torch.nn.Module:
        block, weights = self.network
        net = build_network(dict(block)).eval()
        net.load_state_dict(state_dict_of(weights, 'params_ema'))
        return net


if __name__ == '__main__':
    threading.Thread(target=_end_with, args=[int(sys.argv[1])], daemon=True).start()
    sys.exit(basicsr_train(sys.argv[2:]))
