"""Models of BasicSR and GFPGAN with references; their training loops stay as they are."""

from typing import Any

from basicsr.models.esrgan_model import ESRGANModel
from basicsr.models.sr_model import SRModel
from basicsr.models.srgan_model import SRGANModel
from basicsr.models.swinir_model import SwinIRModel
from basicsr.utils.registry import MODEL_REGISTRY
from gfpgan.models.gfpgan_model import GFPGANModel

from refstar.utils.errors import RefStarError

from .reference_mixin import ReferenceMixin


@MODEL_REGISTRY.register()
class RefSRModel(ReferenceMixin, SRModel):
    """``SRModel`` with references."""


@MODEL_REGISTRY.register()
class RefSRGANModel(ReferenceMixin, SRGANModel):
    """``SRGANModel`` with references."""


@MODEL_REGISTRY.register()
class RefESRGANModel(ReferenceMixin, ESRGANModel):
    """``ESRGANModel`` with references."""


@MODEL_REGISTRY.register()
class RefSwinIRModel(ReferenceMixin, SwinIRModel):
    """``SwinIRModel`` with references."""


@MODEL_REGISTRY.register()
class RefGFPGANModel(ReferenceMixin, GFPGANModel):
    """``GFPGANModel`` with references."""

    value_range = (-1, 1)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Feed a batch; component discriminators need the places of eyes and mouth in it."""
        trains = self.is_train and not getattr(self, 'is_validating', False)
        if trains and self.use_facial_disc and 'loc_left_eye' not in data:
            raise RefStarError(
                'RefGFPGANModel: network_d_left_eye, network_d_right_eye and network_d_mouth need loc_left_eye, '
                f'loc_right_eye and loc_mouth, which {self.opt["datasets"]["train"]["type"]} does not give; '
                'leave these networks out'
            )
        super().feed_data(data)
