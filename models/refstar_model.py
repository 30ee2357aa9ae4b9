"""Training and testing of RefSTAR: GFPGAN's recipe, selection, transfer, and reconstruction by cycle consistency."""

import inspect
from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from basicsr.archs import build_network
from basicsr.utils import tensor2img
from basicsr.utils.registry import MODEL_REGISTRY
from pydantic import Field
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from refstar.blind_restorer import BlindRestorer
from refstar.data.face_region import face_oval
from refstar.input_checks import check_settings
from refstar.layers import resize
from refstar.trainer.run_options import Built
from refstar.trainer.training_step import step_of
from refstar.utils.errors import RefStarError
from refstar.utils.option_block import Block, IterationsFrom0

from .adversarial import AdversarialModel, check_needs
from .arms import StrengthOptions, check_scale, test_settings, training_strength
from .auxiliary_losses import reference_losses, same_person
from .cycle import CycleOptions, degrade_reference
from .outputs import Output, read_output
from .pictures import overlay

IMAGE_LOSSES = ('pixel_opt', 'pyramid_opt', 'lpips_opt', 'perceptual_opt')


@MODEL_REGISTRY.register()
class RefSTARModel(AdversarialModel):
    """Train and test ``RefSTAR`` (``network_g``) on any backbone.

    Losses (option blocks of ``train``, each may be absent): ``pixel_opt``, ``pyramid_opt``, ``perceptual_opt``,
    ``lpips_opt``, ``identity_opt``, ``gan_opt`` with ``network_d``, ``code_opt`` with ``network_vqgan``, ``cycle_opt``,
    ``selection_opt``, ``correspondence_opt``, ``person_opt``. Arms of an evaluation: right, none, wrong.
    """

    arms = ('right', 'none', 'wrong')

    class Options(AdversarialModel.Options, StrengthOptions):
        """Keys of option files, see :mod:`refstar.trainer.option_check`."""

        network_vqgan: Built | None = Field(
            None, description='the VQGAN whose codes are to be predicted, never trained: `type` and its arguments'
        )

        class Path(AdversarialModel.Options.Path):
            """Weights of other networks."""

            pretrain_network_base: str | None = Field(
                None, description='weights of a released restorer, whose output the backbone gets as `base`'
            )

        class Train(AdversarialModel.Options.Train, StrengthOptions.Train, CycleOptions):
            """Losses and when they run."""

            pyramid_opt: Built | None = Field(None, description="the same on the backbone's pyramid (GFPGAN)")
            perceptual_opt: Built | None = Field(None, description="BasicSR's perceptual loss")
            identity_opt: Built | None = Field(None, description='identity loss')
            code_opt: Built | None = Field(
                None, description='loss of the predicted codes (CodeFormer); needs network_vqgan'
            )
            backbone_kwargs: Block | None = Field(
                None, description='keyword arguments of the backbone in training, e.g. {return_rgb: true}'
            )
            pyramid_until: IterationsFrom0 | None = Field(
                None, description='last iteration of the pyramid loss (default: all)'
            )

        class Val(AdversarialModel.Options.Val, StrengthOptions.Val):
            """Arguments of tests."""

            backbone_kwargs: Block | None = Field(
                None, description='keyword arguments of the backbone in tests, e.g. {randomize_noise: false}'
            )

    # ----------------------------------------------------------------- set-up
    def __init__(self, opt: dict) -> None:
        if opt['is_train']:
            check_recipe(opt)
        super().__init__(opt)
        self.base_restorer, weights = None, opt['path'].get('pretrain_network_base')
        if weights:
            if 'base' not in inspect.signature(self.get_bare_model(self.net_g).backbone.forward).parameters:
                raise RefStarError('path:pretrain_network_base: this backbone takes no base (LightRestorer does)')
            self.base_restorer = BlindRestorer(weights).to(self.device)
        check_settings(**test_settings(self), where='val:')
        if tuple(getattr(self.net_g, 'value_range', ())) != (-1, 1):
            raise RefStarError('RefSTARModel: network_g must be a RefSTAR with value_range: [-1, 1] (the default)')
        check_scale(opt, self.net_g)

    def init_training_settings(self) -> None:
        path = self.opt['path']
        if self.opt.get('network_vqgan'):
            self.net_vqgan = build_network(self.opt['network_vqgan']).to(self.device).eval().requires_grad_(False)
            if file := path.get('pretrain_network_vqgan'):
                self.load_network(self.net_vqgan, file, True, path.get('param_key_vqgan', 'params_ema'))
        super().init_training_settings()

    # ----------------------------------------------------------------- a step
    def optimize_parameters(self, current_iter: int) -> None:
        with step_of(self).autocast():
            terms = self.generator_terms(current_iter)
        self.update_generator(terms)
        terms |= self.discriminator_step(current_iter)
        self.log_dict = self.reduce_loss_dict(OrderedDict(terms))

    def base(self) -> dict[str, Tensor]:
        """Return the backbone's argument `base`: what another restorer makes of the photos, if there is one."""
        return {} if self.base_restorer is None else {'base': self.base_restorer(self.lq)}

    def generator_terms(self, current_iter: int) -> dict[str, Tensor]:
        """Run the forward pass (and the cycle pass) and return all losses of net_g by name."""
        data, opt, cri = self.data, self.opt['train'], self.criteria
        strength = training_strength(self, current_iter)
        kwargs = {'strength': strength, **self.base(), **(opt.get('backbone_kwargs') or {})}
        out, aux = self.net_g(self.lq, data['refs'], data['ref_valid'], return_aux=True, **kwargs)
        out = read_output(out)
        self.output = out.image
        terms = {} if out.image is None else self.image_terms(out, current_iter)
        image_loss = sum(terms.values())
        if 'code' in cri:
            if out.logits is None:
                raise RefStarError('train:code_opt: the backbone predicts no codes (CodeFormer does)')
            codes = self.true_codes()
            terms |= self.named('code', cri['code'](out.logits, out.feature, *codes))
            if 'lq_hard' in data:
                kwargs = {'strength': strength, 'code_only': True}
                hard = read_output(self.net_g(data['lq_hard'], data['refs'], data['ref_valid'], **kwargs))
                terms |= self.named('code_hard', cri['code'](hard.logits, hard.feature, *codes))
        if 'identity' in cri:
            terms |= self.named('identity', cri['identity'](out.image, self.gt, data['refs'], same_person(data)))
        terms |= reference_losses(self.net_g.refsel, cri, aux, data)
        due = current_iter >= opt.get('cycle_start', 0) and current_iter % opt.get('cycle_every', 1) == 0
        if 'cycle' in cri and due:
            terms |= self.named('cycle', self.cycle(out.image, aux, strength))
        return terms | self.adversarial_terms(out.image, image_loss, current_iter)

    def image_terms(self, out: Output, current_iter: int) -> dict[str, Tensor]:
        """Compute the losses between the restored image and the ground truth."""
        cri, opt, terms = self.criteria, self.opt['train'], self.truth_terms(out.image)
        if 'pyramid' in cri and current_iter <= opt.get('pyramid_until', current_iter):
            if not out.pyramid:
                raise RefStarError('train:pyramid_opt: the backbone gives no pyramid (GFPGAN: return_rgb)')
            levels = [cri['pyramid'](x, F.interpolate(self.gt, x.shape[-2:], mode='area')) for x in out.pyramid]
            terms['l_pyramid'] = sum(levels)
        if 'perceptual' in cri:
            percep, style = cri['perceptual'](out.image, self.gt)
            terms |= {k: v for k, v in {'l_percep': percep, 'l_style': style}.items() if v is not None}
        return terms

    @torch.no_grad()
    def true_codes(self) -> tuple[Tensor, Tensor]:
        """Encode the ground truth: codes (b, h*w) and their vectors (b, c, h, w)."""
        quantised, _, found = self.net_vqgan.quantize(self.net_vqgan.encoder(self.gt))
        return found['min_encoding_indices'].view(len(self.gt), -1), quantised

    def cycle(self, image: Tensor, aux: dict[str, Any], strength: float) -> dict[str, Tensor]:
        """Restore the degraded reference with our output as its reference; compare the selected regions."""
        opt = self.opt['train']
        ref, valid = self.data['refs'][:, 0], self.data['ref_valid'][:, :1]
        degraded = degrade_reference(ref, opt.get('cycle_down', [4, 8]), self.lq.shape[-1])
        kwargs = opt.get('backbone_kwargs') or {}

        def restore(output: Tensor) -> Tensor:
            return read_output(self.net_g(degraded, output[:, None], valid, strength=strength, **kwargs)).image

        use = opt.get('cycle_checkpoint', False)
        back = checkpoint(restore, image, use_reentrant=False) if use else restore(image)
        mask = aux['mask'][:, 0].detach() * valid[:, :, None, None]
        return self.criteria['cycle'](back, ref, mask)

    # ----------------------------------------------------------------- evaluation
    def test_arm(self, arm: str) -> dict[str, Tensor]:
        """Run one arm. right: the person's references; none: the bare backbone; wrong: references of another person."""
        refs, valid = {'right': ('refs', 'ref_valid'), 'wrong': ('wrong_refs', 'wrong_valid')}.get(arm, (None, None))
        out, aux = self.net_eval(
            self.lq,
            refs and self.data[refs],
            valid and self.data[valid],
            return_aux=True,
            **test_settings(self),
            **self.base(),
            **self.backbone_settings(),
        )
        image = read_output(out).image
        if aux is None:
            return {'result': image}
        flow = resize(aux['flow'][:, 0], image.shape[-2:])
        return {'result': image, 'mask': aux['mask'], 'alpha': aux['alpha'], 'flow': flow}

    def backbone_settings(self) -> dict[str, Any]:
        """Return the arguments of the backbone in tests."""
        return (self.opt.get('val') or {}).get('backbone_kwargs') or {}

    def region(self) -> Any:
        """Return the region of metrics, (H, W) in {0, 1}: the union of the true selections, or the face oval."""
        if 'gt_mask' in self.data:
            return self.data['gt_mask'][0].amax(0)[0].cpu().numpy()
        return face_oval(self.gt.shape[-1])

    def metric_inputs(self, arm: str, out: dict[str, Tensor]) -> dict[str, Any]:
        image = tensor2img(out['result'], min_max=(-1, 1))
        inputs = {'img': image, 'img2': tensor2img(self.gt, min_max=(-1, 1)), 'mask': self.region()}
        for refs, valid in (('refs', 'ref_valid'), ('wrong_refs', 'wrong_valid')):
            shown = self.data[refs][0][self.data[valid][0]] if refs in self.data else ()
            inputs[refs] = [tensor2img(r, min_max=(-1, 1)) for r in shown]
        return inputs

    def panels(self, outs: dict[str, dict[str, Tensor]]) -> list[tuple[str, Any]]:
        row = [('LQ', tensor2img(self.lq, min_max=(-1, 1)))]
        for arm, key in (('right', 'refs'), ('wrong', 'wrong_refs')):
            if arm in outs:
                ref = tensor2img(self.data[key][:, 0], min_max=(-1, 1))
                row.append((f'{arm} reference', overlay(ref, outs[arm]['mask'][0, 0, 0].cpu().numpy())))
        row += [(arm, tensor2img(out['result'], min_max=(-1, 1))) for arm, out in outs.items()]
        return [*row, ('GT', tensor2img(self.gt, min_max=(-1, 1)))] if self.gt is not None else row


def check_recipe(opt: dict[str, Any]) -> None:
    """Check that every loss has what it needs.

    Raises:
        RefStarError: names the key and what it needs.
    """
    train = opt['train']

    def has(key: str) -> bool:
        return bool(train.get(key))

    needs = [
        (has('code_opt'), bool(opt.get('network_vqgan')), 'train:code_opt', 'network_vqgan'),
        (has('gan_adaptive'), any(map(has, IMAGE_LOSSES)), 'train:gan_adaptive', 'one of ' + ', '.join(IMAGE_LOSSES)),
    ]
    check_needs(opt, needs)
    if (train.get('backbone_kwargs') or {}).get('code_only'):
        for key in (*IMAGE_LOSSES, 'gan_opt', 'identity_opt', 'cycle_opt'):
            if has(key):
                raise RefStarError(f'train:{key} needs an image; backbone_kwargs has code_only: true')
