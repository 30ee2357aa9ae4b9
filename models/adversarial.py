"""Adversarial training: options, loss of the discriminator, weight of the adversarial loss."""

from typing import Any

import torch
from basicsr.losses.gan_loss import r1_penalty
from pydantic import Field
from torch import Tensor, nn

from refstar.trainer.run_options import Built
from refstar.utils.option_block import Iterations, IterationsFrom0, Number, OptionBlock


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
