"""Training and testing of a generative backbone with references."""

from typing import Any

from basicsr.utils.registry import MODEL_REGISTRY
from pydantic import Field
from torch import Tensor

from refstar.flow_arch import FlowRestorer
from refstar.trainer.run_options import Built
from refstar.utils.errors import RefStarError
from refstar.utils.option_block import Natural

from .adversarial import refuse_unused
from .arms import training_strength
from .auxiliary_losses import reference_losses, same_person
from .refstar_model import RefSTARModel

LOSSES = ('flow_opt', 'identity_opt', 'selection_opt', 'correspondence_opt', 'person_opt')
UNUSED = ('network_d', 'network_vqgan', 'train:backbone_kwargs', 'path:pretrain_network_base')


@MODEL_REGISTRY.register()
class FlowModel(RefSTARModel):
    """Train and test ``RefSTAR`` (``network_g``) on a :class:`FlowRestorer`.

    Losses (option blocks of ``train``): ``flow_opt`` between predicted and true velocities; ``identity_opt`` on the
    photo that a velocity leads to; ``selection_opt``, ``correspondence_opt``, ``person_opt``. All arms of an evaluation
    start from the same noise.
    """

    class Options(RefSTARModel.Options):
        """Keys of option files, see :mod:`refstar.trainer.option_check`."""

        class Train(RefSTARModel.Options.Train):
            """Losses."""

            flow_opt: Built | None = Field(None, description='loss of the velocity, e.g. MSELoss; needed')
            identity_by_time: bool = Field(
                True, description='the identity loss counts by how much of the state is photo already'
            )

        class Val(RefSTARModel.Options.Val):
            """How tests sample."""

            steps: Natural | None = Field(None, description="steps; 0: the mean (default: the network's own)")
            seed: Natural = Field(0, description='of the noise, the same for all photos and arms')

    def __init__(self, opt: dict) -> None:
        if opt['is_train']:
            refuse_unused(opt, 'FlowModel', LOSSES, UNUSED)
            if not opt['train'].get('flow_opt'):
                raise RefStarError('train:flow_opt is missing: FlowModel needs it, e.g. {type: MSELoss}')
        super().__init__(opt)
        backbone = self.get_bare_model(self.net_g).backbone
        if not isinstance(backbone, FlowRestorer):
            raise RefStarError(f'FlowModel: network_g.backbone must be a FlowRestorer, not {type(backbone).__name__}')

    def generator_terms(self, current_iter: int) -> dict[str, Tensor]:
        """Draw a time and a noise for every photo and return all losses of net_g by name."""
        data, opt, cri = self.data, self.opt['train'], self.criteria
        settings = {'strength': training_strength(self, current_iter), 'photo': self.gt, 'return_aux': True}
        sample, aux = self.net_g(self.lq, data['refs'], data['ref_valid'], **settings)
        terms = self.named('flow', cri['flow'](sample.prediction, sample.target))
        if 'identity' in cri:
            share = sample.share if opt.get('identity_by_time', True) else None
            end = self.get_bare_model(self.net_g).backbone.latent.decode(sample.end)
            found = cri['identity'](end, self.gt, data['refs'], same_person(data), share)
            terms |= self.named('identity', found)
        return terms | reference_losses(self.net_g.refsel, cri, aux, data)

    def backbone_settings(self) -> dict[str, Any]:
        val = self.opt.get('val') or {}
        return {'steps': val.get('steps'), 'seed': val.get('seed', 0), **super().backbone_settings()}
