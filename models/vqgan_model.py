"""Training of CodeFormer's stage I: a VQGAN, an autoencoder whose bottleneck is a grid of codes."""

from typing import Any

import torch
from basicsr.utils import tensor2img
from basicsr.utils.registry import MODEL_REGISTRY
from pydantic import Field
from torch import Tensor

from refstar.data.face_region import face_oval
from refstar.trainer.training_step import step_of
from refstar.utils.option_block import IterationsFrom0, Number

from . import replica_gradients
from .adversarial import AdversarialModel, check_needs, refuse_unused

LOSSES = ('pixel_opt', 'lpips_opt', 'gan_opt')
REVIVE_EVERY = 10  # iterations


@MODEL_REGISTRY.register()
class VQGANModel(AdversarialModel):
    """Train and test ``VQAutoEncoder`` (``network_g``) on ground truth alone: photo -> codes -> photo.

    Losses (option blocks of ``train``): ``pixel_opt``, ``lpips_opt``, ``gan_opt`` with ``network_d``, and the code
    book's own, which moves codes and features together. References are not used; the only arm is ``none``.
    """

    arms = ('none',)

    class Options(AdversarialModel.Options):
        """Keys of option files, see :mod:`refstar.trainer.option_check`."""

        class Train(AdversarialModel.Options.Train):
            """Losses."""

            codebook_weight: Number = Field(1, description="weight of the code book's own loss")
            revive_until: IterationsFrom0 = Field(
                0, description='up to this iteration, every tenth, codes that no photo of the batch uses are set anew'
            )

    def __init__(self, opt: dict) -> None:
        if opt['is_train']:
            refuse_unused(opt, 'VQGANModel', LOSSES)
            losses = any(opt['train'].get(key) for key in ('pixel_opt', 'lpips_opt'))
            wants = bool(opt['train'].get('gan_adaptive'))
            check_needs(opt, [(wants, losses, 'train:gan_adaptive', 'pixel_opt or lpips_opt')])
        super().__init__(opt)

    @torch.no_grad()
    def revive_codes(self, chosen: Tensor) -> None:
        """Move codes that nothing chose, (m, 1) whole numbers, to features of this batch: far off they stay unused."""
        book = self.net_g.quantize.embedding.weight
        features = self.net_g.encoder(self.gt).movedim(1, -1).flatten(0, -2)
        drawn = features[torch.randint(len(features), (len(book),), device=book.device)]
        unused = torch.ones_like(book[:, :1], dtype=torch.bool).index_fill_(0, chosen.flatten(), False)
        book.copy_(torch.where(unused, drawn, book))
        if self.opt['dist']:
            replica_gradients.share_weights(self.net_g.quantize)

    def optimize_parameters(self, current_iter: int) -> None:
        with step_of(self).autocast():
            self.output, codebook, found = self.net_g(self.gt)
            terms = self.truth_terms(self.output)
            image_loss = sum(terms.values())
            terms['l_codebook'] = self.opt['train'].get('codebook_weight', 1) * codebook
            terms |= self.adversarial_terms(self.output, image_loss, current_iter)
        self.update_generator(terms)
        terms |= self.discriminator_step(current_iter)
        if current_iter <= self.opt['train'].get('revive_until', 0) and current_iter % REVIVE_EVERY == 0:
            self.revive_codes(found['min_encoding_indices'])
        terms['codes_in_use'] = found['perplexity'].detach()
        self.log_dict = self.reduce_loss_dict(terms)

    def test_arm(self, arm: str) -> dict[str, Tensor]:
        return {'result': self.net_eval(self.gt)[0]}

    def metric_inputs(self, arm: str, out: dict[str, Tensor]) -> dict[str, Any]:
        image, gt = (tensor2img(x, min_max=(-1, 1)) for x in (out['result'], self.gt))
        return {'img': image, 'img2': gt, 'mask': face_oval(self.gt.shape[-1])}

    def panels(self, outs: dict[str, dict[str, Tensor]]) -> list[tuple[str, Any]]:
        row = [('GT', self.gt), *((arm, out['result']) for arm, out in outs.items())]
        return [(name, tensor2img(x, min_max=(-1, 1))) for name, x in row]
