"""Base of the models with references: feeding data, named losses, arms of an evaluation, pictures, figures.

The training loop, the optimizers, EMA and checkpoints are BasicSR's ``SRModel``.
"""

import inspect
import json
import math
from collections import OrderedDict
from os import path as osp
from typing import Any

import torch
from basicsr.losses import build_loss
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger, imwrite, tensor2img
from basicsr.utils.registry import METRIC_REGISTRY
from pydantic import Field
from torch import Tensor, nn

from refstar.trainer.run_options import Built
from refstar.trainer.training_step import step_of
from refstar.utils.errors import RefStarError
from refstar.utils.text_files import write_csv

from . import load_and_freeze, replica_gradients
from .arms import selected_arms
from .pictures import strip


class ReferenceModel(SRModel):
    """Base of :class:`RefSelModel`, and of the models with a discriminator, see :class:`AdversarialModel`.

    Subclasses define ``arms``, ``optimize_parameters`` and ``test_arm``.
    """

    arms: tuple[str, ...] = ()
    runs_training_step = True

    class Options(load_and_freeze.PartOptions):
        """Keys of option files, see :mod:`refstar.trainer.option_check`."""

        class Train(load_and_freeze.PartOptions.Train):
            """Losses of what RefSel finds."""

            selection_opt: Built | None = Field(None, description='loss of the selection masks')
            correspondence_opt: Built | None = Field(None, description='loss of the correspondence')
            person_opt: Built | None = Field(
                None, description='loss of the person check; needs a person block in RefSel'
            )

    # ----------------------------------------------------------------- set-up
    def __init__(self, opt: dict) -> None:
        super().__init__(opt)
        if not self.is_train:  # training does so in init_training_settings, before the EMA is made
            load_and_freeze.load_parts(self, self.net_g)

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Put the plain network on the device of every process, see :mod:`~refstar.models.replica_gradients`."""
        if self.opt['num_gpu'] > 1 and not self.opt['dist']:
            raise RefStarError(
                f'{self.opt["num_gpu"]} GPUs in one process: start with torchrun --nproc_per_node '
                f'{self.opt["num_gpu"]} -m refstar.tools.train ... --launcher pytorch, or set num_gpu: 1'
            )
        net = net.to(self.device)
        if self.opt['dist']:
            replica_gradients.share_weights(net)
        return net

    def init_training_settings(self) -> None:
        train_opt = self.opt['train']
        load_and_freeze.load_parts(self, self.net_g)
        load_and_freeze.freeze_parts(self, self.net_g)
        self.criteria = nn.ModuleDict(
            {key[: -len('_opt')]: build_loss(opt) for key, opt in train_opt.items() if key.endswith('_opt') and opt}
        ).to(self.device)
        self.net_g.train()
        self.init_ema()
        self.setup_optimizers()
        self.setup_schedulers()

    def init_ema(self) -> None:
        from basicsr.archs import build_network

        self.ema_decay = self.opt['train'].get('ema_decay', 0)
        if self.ema_decay <= 0:
            return
        self.net_g_ema = build_network(self.opt['network_g']).to(self.device).eval()
        self.net_g_ema.load_state_dict(self.net_g.state_dict())  # a file may not hold all of it
        path = self.opt['path']
        if file := path.get('pretrain_network_g'):
            self.load_network(self.net_g_ema, file, path.get('strict_load_g', True), 'params_ema')

    def setup_optimizers(self) -> None:
        """Build the optimizer of the weights that are not frozen (BasicSR warns once for every frozen parameter)."""
        opt = dict(self.opt['train']['optim_g'])
        trained = [p for p in self.net_g.parameters() if p.requires_grad]
        get_root_logger().info(f'{sum(p.numel() for p in trained):,d} parameters of net_g are trained.')
        self.optimizer_g = self.get_optimizer(opt.pop('type'), trained, **opt)
        self.optimizers.append(self.optimizer_g)

    # ----------------------------------------------------------------- a step
    def feed_data(self, data: dict[str, Any]) -> None:
        """Send every tensor of a batch to the device and keep the batch (keys: see ``docs/training.md``)."""
        tensors = {k: v.to(self.device, non_blocking=True) for k, v in data.items() if isinstance(v, Tensor)}
        self.set_batch({**data, **tensors})

    def set_batch(self, data: dict[str, Any]) -> None:
        """Set the current batch, which is on the device."""
        self.data = data
        self.lq, self.gt = data['lq'], data.get('gt')

    def update_generator(self, terms: dict[str, Tensor]) -> None:
        """Sum named losses, update net_g and its EMA."""
        self.optimizer_g.zero_grad()
        self.compute_gradients(sum(terms.values()), self.net_g)
        self.optimizer_g.step()
        if self.ema_decay > 0:
            self.model_ema(self.ema_decay)

    def compute_gradients(self, loss: Tensor, net: nn.Module) -> None:
        """Compute the gradients of a network; they are averaged over processes."""
        step_of(self).backward(loss)
        if self.opt['dist']:
            replica_gradients.average_gradients(net.parameters())

    @staticmethod
    def named(prefix: str, terms: dict[str, Tensor] | Tensor) -> dict[str, Tensor]:
        """Prefix the terms of a loss with ``l_<prefix>``, BasicSR's convention for logged losses."""
        if isinstance(terms, Tensor):
            return {f'l_{prefix}': terms}
        return {f'l_{prefix}_{name}': value for name, value in terms.items()}

    # ----------------------------------------------------------------- evaluation
    @property
    def net_eval(self) -> nn.Module:
        """Return the network to evaluate: the EMA if there is one."""
        return getattr(self, 'net_g_ema', None) or self.get_bare_model(self.net_g)

    def test_arm(self, arm: str) -> dict[str, Tensor]:
        """Run one arm on the batch of one; return at least ``result`` (1, c, H, W)."""
        raise NotImplementedError

    def metric_inputs(self, arm: str, out: dict[str, Tensor]) -> dict[str, Any]:
        """Return the arguments of metrics by name: img, img2 (uint8 HWC BGR), mask, refs, ..."""
        raise NotImplementedError

    def panels(self, outs: dict[str, dict[str, Tensor]]) -> list[tuple[str, Any]]:
        """Return captioned pictures of one sample, for the strip."""
        raise NotImplementedError

    def nondist_validation(self, dataloader, current_iter, tb_logger, save_img) -> None:
        """Run every arm on every sample; average, log and write figures and pictures."""
        dataset, val = dataloader.dataset.opt['name'], self.opt['val']
        arms = selected_arms(self, self.arms, dataloader.dataset[0])
        metrics, rows = val.get('metrics') or {}, []
        training = self.net_eval.training
        self.net_eval.eval()
        for data in dataloader:
            self.feed_data(data)
            with torch.no_grad():
                outs = {arm: self.test_arm(arm) for arm in arms}
            name = osp.splitext(osp.basename(data['lq_path'][0]))[0]
            if metrics and self.gt is None:
                raise RefStarError(f'{data["lq_path"][0]}: no ground truth, which the metrics need; remove val.metrics')
            for arm, out in outs.items():
                inputs = self.metric_inputs(arm, out) if metrics else {}
                rows.append({'image': name, 'arm': arm, **{k: measure(inputs, o) for k, o in metrics.items()}})
            if save_img:
                self.save_pictures(dataset, name, current_iter, outs)
        self.net_eval.train(training)
        self.log_figures(dataset, arms, list(metrics), rows, current_iter, tb_logger)

    def save_pictures(self, dataset: str, name: str, current_iter: Any, outs: dict[str, dict[str, Tensor]]) -> None:
        """Save to BasicSR's places: ``visualization/<image>/`` in training, ``visualization/<dataset>/`` in a test."""
        root, picture = self.opt['path']['visualization'], strip(self.panels(outs))
        if self.opt['is_train']:
            imwrite(picture, osp.join(root, name, f'{name}_{current_iter}.png'))
            return
        suffix = self.opt['val'].get('suffix') or self.opt['name']
        first = next(iter(outs.values()))['result']
        imwrite(tensor2img(first, min_max=(-1, 1)), osp.join(root, dataset, f'{name}_{suffix}.png'))
        imwrite(picture, osp.join(root, f'{dataset}_arms', f'{name}.png'))

    def log_figures(self, dataset, arms, metrics, rows, current_iter, tb_logger) -> None:
        """Log the means per arm; write them to ``metrics_<dataset>.json``, every image to ``metrics_<dataset>.csv``."""
        means = {arm: {m: mean([r[m] for r in rows if r['arm'] == arm]) for m in metrics} for arm in arms}
        self.metric_results = OrderedDict(
            (f'{arm}_{m}', v) for arm in arms for m, v in means[arm].items() if v is not None
        )
        if self.opt['is_train'] and metrics:
            self._initialize_best_metric_results(dataset)
            for name, value in self.metric_results.items():
                self._update_best_metric_result(dataset, name, value, current_iter)
        self._log_validation_metric_values(current_iter, dataset, tb_logger)
        stem = osp.join(self.opt['path']['log'], f'metrics_{dataset}')
        count = len({r['image'] for r in rows})
        with open(f'{stem}.json', 'w', encoding='utf-8') as f:
            json.dump({'dataset': dataset, 'iter': current_iter, 'images': count, 'arms': means}, f, indent=2)
        write_csv(f'{stem}.csv', rows, ['image', 'arm', *metrics])
        get_root_logger().info(f'Figures of {count} images: {stem}.json')

    def _initialize_best_metric_results(self, dataset_name: str) -> None:
        best = self.__dict__.setdefault('best_metric_results', {})
        if dataset_name in best:
            return
        best[dataset_name] = {}
        for name in self.metric_results:
            better = self.opt['val']['metrics'][name.split('_', 1)[1]].get('better', 'higher')
            worst = float('-inf' if better == 'higher' else 'inf')
            best[dataset_name][name] = {'better': better, 'val': worst, 'iter': -1}


def measure(inputs: dict[str, Any], opt: dict[str, Any]) -> float:
    """Call a registered metric with those of ``inputs`` that it names."""
    opt = {k: v for k, v in opt.items() if k != 'better'}
    metric = METRIC_REGISTRY.get(opt.pop('type'))
    wanted = inspect.signature(metric).parameters
    return float(metric(**{k: v for k, v in inputs.items() if k in wanted}, **opt))


def mean(values: list[float]) -> float | None:
    """Average what could be measured (not NaN); None if nothing could."""
    values = [v for v in values if not math.isnan(v)]
    return sum(values) / len(values) if values else None
