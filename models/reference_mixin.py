"""Mixin that feeds references to the network of an existing BasicSR model; its training loop stays as it is.

The loop calls ``net_g(lq)``. A hook on the network adds the references of the batch to that call. Use it as
``class RefMine(ReferenceMixin, Mine)``.
"""

import functools
from typing import Any

from torch import nn

from refstar.input_checks import check_settings
from refstar.layers import to_range
from refstar.utils.errors import RefStarError

from . import arms, load_and_freeze

IMAGES = ('lq', 'gt', 'refs', 'wrong_refs')
ARMS = {'right': ('refs', 'ref_valid'), 'none': (), 'wrong': ('wrong_refs', 'wrong_valid')}


class BackboneOptions(dict):
    """Options of a RefSTAR in which a model also finds those of the backbone (``out_size``, ``window_size``)."""

    def __missing__(self, key: str) -> Any:
        if 'backbone' not in self:
            raise KeyError(key)
        return self['backbone'][key]


class ReferenceMixin:
    """Mixin before a BasicSR model in the list of bases: ``network_g`` is a :class:`RefSTAR`, data have references.

    Validation runs the arms right, none and wrong, one after the other. Figures and pictures of the right references
    are under the dataset's name, the others under ``<name>_none`` and ``<name>_wrong``.

    Attributes:
        value_range: black and white in the images that the model works with; BasicSR's (0, 1), GFPGAN's (-1, 1).
    """

    value_range: tuple[float, float] = (0, 1)

    class Options(load_and_freeze.PartOptions, arms.StrengthOptions):
        """Keys of option files, see :mod:`refstar.trainer.option_check`."""

        class Train(load_and_freeze.PartOptions.Train, arms.StrengthOptions.Train):
            """Frozen weights, warm-up."""

        class Val(load_and_freeze.PartOptions.Val, arms.StrengthOptions.Val):
            """Arms, and arguments of tests."""

    def __init__(self, opt: dict) -> None:
        self.arm = 'right'
        network = opt['network_g'] = BackboneOptions(opt['network_g'])
        found = tuple(network.get('value_range') or (-1, 1))
        if network['type'] != 'RefSTAR' or found != self.value_range:
            wanted = f'a network_g of type RefSTAR with value_range: {list(self.value_range)}'
            raise RefStarError(
                f'{type(self).__name__} needs {wanted}; found {network["type"]}, {list(found)} '
                '(a model for another range sets its class attribute value_range)'
            )
        super().__init__(opt)
        check_settings(**arms.test_settings(self), where='val:')
        arms.check_scale(opt, self.networks()[0])
        for net in self.networks():
            net.register_forward_pre_hook(self.add_references, with_kwargs=True)

    def networks(self) -> list[nn.Module]:
        """Return net_g without wrappers, and its EMA if there is one."""
        return [self.get_bare_model(self.net_g), *([self.net_g_ema] if hasattr(self, 'net_g_ema') else [])]

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Load and freeze parts before DDP wraps net_g: DDP must not wait for gradients of frozen parts."""
        if net is getattr(self, 'net_g', None):
            if self.opt['num_gpu'] > 1 and not self.opt['dist']:
                raise RefStarError(f'{type(self).__name__}: several GPUs need torchrun ... --launcher pytorch')
            load_and_freeze.load_parts(self, net)
            if self.is_train:
                load_and_freeze.freeze_parts(self, net)
        return super().model_to_device(net)

    def init_training_settings(self) -> None:
        super().init_training_settings()
        net, *ema = self.networks()
        if ema and not self.opt['path'].get('pretrain_network_g'):  # BasicSR copies parameters, no buffers
            ema[0].load_state_dict(net.state_dict())

    def feed_data(self, data: dict[str, Any]) -> None:
        """Feed a batch: map images from [-1, 1], the range of the datasets here, to the range of the model."""
        if 'refs' not in data:
            raise RefStarError(f'{type(self).__name__}: the dataset gives no refs; use e.g. ReferencePairDataset')
        used = {'lq', 'gt', *(key for keys in ARMS.values() for key in keys)} & set(data)
        found = {key: data[key].to(self.device, non_blocking=True) for key in used}  # the model's own loop would wait
        found |= {key: to_range(found[key], self.value_range) for key in used & set(IMAGES)}
        self.references = {key: x for key, x in found.items() if key not in ('lq', 'gt')}
        super().feed_data({**data, **found})

    def optimize_parameters(self, current_iter: int) -> None:
        self.call = {'strength': arms.training_strength(self, current_iter)}
        super().optimize_parameters(current_iter)

    def add_references(self, net: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """Add the references of this batch to a call that names none (pre-hook of the network)."""
        if not ARMS[self.arm] or len(args) > 1 or {'refs', 'bank'} & set(kwargs):
            return args, kwargs
        refs, valid = (self.references[key] for key in ARMS[self.arm])
        return args, {'refs': refs, 'ref_valid': valid, **self.call, **kwargs}

    def nondist_validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        """Run the model's own validation once for every arm."""
        dataset, paths = dataloader.dataset.opt, self.opt['path']
        name, folder = dataset['name'], paths['visualization']
        self.call = arms.test_settings(self)
        validate = functools.partial(super().nondist_validation, dataloader, current_iter, tb_logger, save_img)
        try:
            for arm in arms.selected_arms(self, ARMS, dataloader.dataset[0]):
                self.arm, suffix = arm, '' if arm == 'right' else f'_{arm}'
                dataset['name'] = name + suffix
                if self.opt['is_train']:  # BasicSR's folders in training do not name the dataset
                    paths['visualization'] = folder + suffix
                validate()
        finally:
            self.arm, dataset['name'], paths['visualization'] = 'right', name, folder
