"""Training of RefSel: selection masks, and the correspondence where its truth is known."""

from typing import Any

from basicsr.utils import tensor2img
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from refstar.layers import resize
from refstar.trainer.training_step import step_of
from refstar.utils.errors import RefStarError

from .auxiliary_losses import reference_losses
from .pictures import overlay
from .reference_model import ReferenceModel


@MODEL_REGISTRY.register()
class RefSelModel(ReferenceModel):
    """Train and test ``RefSel`` (``network_g``) on samples with known masks.

    Losses (option blocks of ``train``): ``selection_opt`` (needed), ``correspondence_opt``, ``person_opt``.
    Arms: right (references of the person) and wrong (references of another person, whose true mask is empty).
    """

    arms = ('right', 'wrong')

    def optimize_parameters(self, current_iter: int) -> None:
        data = self.data
        with step_of(self).autocast():
            _, aux = self.net_g(self.lq, data['refs'], data['ref_valid'], return_aux=True)
            terms = reference_losses(self.net_g, self.criteria, aux, data)
        self.update_generator(terms)
        self.log_dict = self.reduce_loss_dict(terms)

    def test_arm(self, arm: str) -> dict[str, Tensor]:
        refs, valid = ('refs', 'ref_valid') if arm == 'right' else ('wrong_refs', 'wrong_valid')
        mask, aux = self.net_eval(self.lq, self.data[refs], self.data[valid], return_aux=True)
        flow = resize(aux['match'].flow[:, 0], mask.shape[-2:])
        return {'result': mask[:, 0] * 2 - 1, 'flow': flow, 'alpha': aux['carried'][:, 0]}

    def truth(self, arm: str) -> Tensor | None:
        """Return the true selection of the first reference, (H, W); None where it is not known."""
        if 'ref_mask' not in self.data:
            return None
        mask = self.data['ref_mask'][0, 0, 0]
        return mask if arm == 'right' else mask * 0

    def metric_inputs(self, arm: str, out: dict[str, Tensor]) -> dict[str, Any]:
        truth = self.truth(arm)
        if truth is None:
            name = self.data['lq_path'][0]
            raise RefStarError(f'{name}: no true selection, which the metrics need; remove val.metrics')
        flow, true_flow, known = (
            x.cpu().numpy() for x in (out['flow'][0], self.data['flow'][0, 0], self.data['flow_valid'][0, 0, 0])
        )
        return {
            'img': tensor2img(out['result'], min_max=(-1, 1)).squeeze(),
            'img2': (truth * 255).byte().cpu().numpy(),
            'flow': flow,
            'true_flow': true_flow,
            'known': known if arm == 'right' else known * 0,
        }

    def panels(self, outs: dict[str, dict[str, Tensor]]) -> list[tuple[str, Any]]:
        ref = tensor2img(self.data['refs'][:, 0], min_max=(-1, 1))
        wrong = tensor2img(self.data['wrong_refs'][:, 0], min_max=(-1, 1)) if 'wrong' in outs else None
        masks = {arm: (out['result'][0, 0].cpu().numpy() + 1) / 2 for arm, out in outs.items()}
        photos = {'LQ': self.lq, 'GT': self.gt}
        row = [(name, tensor2img(x, min_max=(-1, 1))) for name, x in photos.items() if x is not None]
        row.append(('reference', ref))
        truth = self.truth('right')
        if truth is not None:
            row.append(('truth', overlay(ref, truth.cpu().numpy())))
        row += [(f'RefSel, {arm}', overlay(ref if arm == 'right' else wrong, mask)) for arm, mask in masks.items()]
        return row
