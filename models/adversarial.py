"""Adversarial training: options, loss of the discriminator, weight of the adversarial loss, base of the models."""

from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.losses.gan_loss import r1_penalty
from pydantic import Field
from torch import Tensor, nn

from refstar.trainer.run_options import Built
from refstar.trainer.training_step import step_of
from refstar.utils.errors import RefStarError
from refstar.utils.option_block import Iterations, IterationsFrom0, Number, OptionBlock

from .reference_model import ReferenceModel


class AdversarialOptions(OptionBlock):
    """Keys of the block `train`."""

    gan_opt: Built | None = Field(None, description='adversarial loss; needs network_d and train.optim_d')
    optim_d: Built | None = Field(None, description='optimizer of network_d')
    gan_adaptive: Number = Field(
        0,
        description='factor on the adversarial loss, times the ratio of gradients at the output, image losses over '
        'adversarial loss, at most 1; 0: no scaling (CodeFormer: 0.1)',
    )
    r1_reg_weight: Number = Field(10, description='weight of the R1 penalty of net_d; 0: none')
    net_d_reg_every: Iterations = Field(16, description='R1 every so many iterations')
    net_d_start: IterationsFrom0 = Field(0, description='first iteration of the adversarial loss')


def gradient_ratio(image_loss: Tensor, gan_loss: Tensor, image: Tensor) -> Tensor:
    """Divide the gradients' norms at the output, image loss over adversarial loss; at most 1.

    After VQGAN, which takes them at a late layer's weights.
    """
    with torch.autocast(image.device.type, enabled=False):
        norms = [torch.autograd.grad(loss, image, retain_graph=True)[0].norm() for loss in (image_loss, gan_loss)]
    return (norms[0] / norms[1].clamp_min(1e-12)).clamp_max(1).detach()


def discriminator_terms(
    net_d: nn.Module, criterion: nn.Module, fake: Tensor, gt: Tensor, opt: dict[str, Any], current_iter: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the loss of net_d on images (b, 3, H, W), with R1 every so many iterations; also what to log by name."""
    fake, real = net_d(fake.detach()), net_d(gt)
    loss = criterion(fake, False, is_disc=True) + criterion(real, True, is_disc=True)
    terms = {'l_d': loss.detach(), 'real_score': real.detach().mean(), 'fake_score': fake.detach().mean()}
    every, weight = opt.get('net_d_reg_every', 16), opt.get('r1_reg_weight', 10)
    if weight and current_iter % every == 0:
        gt = gt.detach().requires_grad_(True)
        with torch.autocast(gt.device.type, enabled=False):  # second derivatives want float32
            penalty = weight / 2 * every * r1_penalty(net_d(gt), gt)
        loss, terms['l_d_r1'] = loss + penalty, penalty.detach()
    return loss, terms


def check_needs(opt: dict[str, Any], needs: list[tuple[bool, bool, str, str]]) -> None:
    """Check rows (key is there, what it needs is there, key, what it needs), those of a discriminator included.

    Raises:
        RefStarError: names the key and what it needs.
    """
    train, network_d = opt['train'], bool(opt.get('network_d'))
    gan, optim = bool(train.get('gan_opt')), bool(train.get('optim_d'))
    own = [(gan, network_d and optim, 'train:gan_opt', 'network_d and train:optim_d')]
    own += [(network_d, gan, 'network_d', 'train:gan_opt')]
    for there, fine, key, wanted in own + needs:
        if there and not fine:
            raise RefStarError(f'{key} needs {wanted}')


def refuse_unused(opt: dict[str, Any], model: str, losses: tuple[str, ...], unused: tuple[str, ...] = ()) -> None:
    """Refuse options that a model shares with others and does not read.

    Args:
        opt: the options.
        model: name of the model.
        losses: keys of `train` that are its losses.
        unused: other keys, with their block: 'network_d', 'train:backbone_kwargs'.

    Raises:
        RefStarError: names the key, and the losses there are.
    """
    for key, block in opt['train'].items():
        if key.endswith('_opt') and block and key not in losses:
            raise RefStarError(f'train:{key}: {model} has no such loss; it has {", ".join(losses)}')
    for key in unused:
        *block, name = key.split(':')
        if (opt[block[0]] if block else opt).get(name):
            raise RefStarError(f'{key}: {model} does not use it; leave it out')


class AdversarialModel(ReferenceModel):
    """Base of models that may have a discriminator, ``network_d``.

    Attributes:
        output (Tensor): images of this iteration, (b, 3, H, W), set by the subclass.
    """

    class Options(ReferenceModel.Options):
        """Keys of option files, see :mod:`refstar.trainer.option_check`."""

        network_d: Built | None = Field(None, description='its discriminator: `type` and its arguments')

        class Train(ReferenceModel.Options.Train, AdversarialOptions):
            """Losses and when they run."""

            pixel_opt: Built | None = Field(None, description='loss between output and GT')
            lpips_opt: Built | None = Field(None, description='LPIPS between output and GT')

    def init_training_settings(self) -> None:
        self.net_d, path = None, self.opt['path']
        if self.opt.get('network_d'):
            self.net_d = self.model_to_device(build_network(self.opt['network_d'])).train()
            self.print_network(self.net_d)
            if file := path.get('pretrain_network_d'):
                strict = path.get('strict_load_d', True)
                self.load_network(self.net_d, file, strict, path.get('param_key_d', 'params'))
        super().init_training_settings()

    def setup_optimizers(self) -> None:
        super().setup_optimizers()
        if self.net_d is not None:
            opt = dict(self.opt['train']['optim_d'])
            self.optimizer_d = self.get_optimizer(opt.pop('type'), self.net_d.parameters(), **opt)
            self.optimizers.append(self.optimizer_d)

    def truth_terms(self, image: Tensor) -> dict[str, Tensor]:
        """Compute the losses `pixel_opt` and `lpips_opt` of images, (b, 3, H, W), by name."""
        terms: dict[str, Tensor] = {}
        for name in ('pixel', 'lpips'):
            if name in self.criteria:
                terms |= self.named(name, self.criteria[name](image, self.gt))
        return terms

    def is_adversarial(self, current_iter: int) -> bool:
        """Return whether the discriminator takes part in this iteration."""
        return self.net_d is not None and current_iter > self.opt['train'].get('net_d_start', 0)

    def adversarial_terms(self, image: Tensor, image_loss: Tensor | int, current_iter: int) -> dict[str, Tensor]:
        """Compute the adversarial loss of images, by name; `image_loss` is the sum of the losses to the truth."""
        if not self.is_adversarial(current_iter):
            return {}
        self.net_d.requires_grad_(False)
        loss = self.criteria['gan'](self.net_d(image), True, is_disc=False)
        share = self.opt['train'].get('gan_adaptive', 0)
        return {'l_g_gan': share * gradient_ratio(image_loss, loss, image) * loss if share else loss}

    def discriminator_step(self, current_iter: int) -> dict[str, Tensor]:
        """Update net_d where it takes part; R1 is lazy. Return what to log, by name."""
        if not self.is_adversarial(current_iter):
            return {}
        self.net_d.requires_grad_(True)
        self.optimizer_d.zero_grad()
        with step_of(self).autocast():
            loss, terms = discriminator_terms(
                self.net_d, self.criteria['gan'], self.output, self.gt, self.opt['train'], current_iter
            )
        self.compute_gradients(loss, self.net_d)
        self.optimizer_d.step()
        return terms

    def save(self, epoch: int, current_iter: int) -> None:
        if getattr(self, 'net_d', None) is not None:
            self.save_network(self.net_d, 'net_d', current_iter)
        super().save(epoch, current_iter)
