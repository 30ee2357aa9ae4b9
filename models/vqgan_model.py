"""Training of CodeFormer's stage I: a VQGAN, an autoencoder whose bottleneck is a grid of codes."""

from typing import Any

from basicsr.utils import tensor2img
from basicsr.utils.registry import MODEL_REGISTRY
from pydantic import Field
from torch import Tensor

from refstar.data.face_region import face_oval
from refstar.trainer.training_step import step_of
from refstar.utils.option_block import Number

from .adversarial import AdversarialModel, check_needs


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

    def __init__(self, opt: dict) -> None:
        if opt['is_train']:
            losses = any(opt['train'].get(key) for key in ('pixel_opt', 'lpips_opt'))
            wants = bool(opt['train'].get('gan_adaptive'))
            check_needs(opt, [(wants, losses, 'train:gan_adaptive', 'pixel_opt or lpips_opt')])
        super().__init__(opt)

    def optimize_parameters(self, current_iter: int) -> None:
        with step_of(self).autocast():
            self.output, codebook, found = self.net_g(self.gt)
            terms: dict[str, Tensor] = {}
            for name in ('pixel', 'lpips'):
                if name in self.criteria:
                    terms |= self.named(name, self.criteria[name](self.output, self.gt))
            image_loss = sum(terms.values())
            terms['l_codebook'] = self.opt['train'].get('codebook_weight', 1) * codebook
            terms |= self.adversarial_terms(self.output, image_loss, current_iter)
        self.update_generator(terms)
        terms |= self.discriminator_step(current_iter)
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
