"""What a RefSTAR step does to cost less: the cycle pass without kept activations, R1 now and then."""

from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.losses import build_loss
from basicsr.losses.gan_loss import r1_penalty
from helpers.recipes import shipped
from roofline import Saved
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.data import default_collate

from refstar.models.adversarial import discriminator_terms


def test_a_checkpointed_cycle_pass_keeps_less(tmp_path: Path, monkeypatch: Any) -> None:
    gradients, kept, losses = [], [], []
    for checkpointed in (False, True):
        train = {'cycle_checkpoint': checkpointed, 'amp': 'bf16', 'identity_opt': None}
        model, data = shipped('refstar_gfpgan_512.yml', tmp_path, monkeypatch, **train)
        saved = Saved(model.net_g.parameters())
        batch = default_collate([data[i] for i in range(2)])
        batch['ref_valid'][:] = True
        torch.manual_seed(1)  # GFPGAN draws noise, in the cycle pass too
        with saved_tensors_hooks(saved.pack, lambda holder: holder.x):
            model.feed_data(batch)
            model.optimize_parameters(1)
        gradients.append({name: p.grad for name, p in model.net_g.named_parameters() if p.grad is not None})
        kept.append(saved.peak)
        losses.append(model.get_current_log())
    assert losses[0]['l_cycle_pixel'] > 0 and losses[0] == pytest.approx(losses[1], rel=1e-5)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert kept[1] < 0.8 * kept[0]


class Discriminator(nn.Sequential):
    """Its gradient with respect to the image has one of its own with respect to the weights."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Conv2d(4, 1, 3))


def test_r1_is_lazy_and_weighs_as_much() -> None:
    torch.manual_seed(0)
    net_d, gan = Discriminator(), build_loss({'type': 'GANLoss', 'gan_type': 'wgan_softplus'})
    fake, gt = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    image = gt.clone().requires_grad_(True)
    penalty = r1_penalty(net_d(image), image)

    def terms(iteration: int, **opt: float) -> tuple[float, dict]:
        loss, found = discriminator_terms(net_d, gan, fake, gt, opt, iteration)
        return loss.item(), found

    plain = gan(net_d(fake), False, is_disc=True) + gan(net_d(gt), True, is_disc=True)
    for iteration in range(1, 16):
        loss, found = terms(iteration, net_d_reg_every=4, r1_reg_weight=10)
        assert ('l_d_r1' in found) == (iteration % 4 == 0)
        wanted = plain + (10 / 2 * 4 * penalty if iteration % 4 == 0 else 0)
        assert loss == pytest.approx(wanted.item(), rel=1e-5)
    assert 'l_d_r1' in terms(16)[1] and 'l_d_r1' not in terms(15)[1]  # by default every 16th
    assert 'l_d_r1' not in terms(16, r1_reg_weight=0)[1]
