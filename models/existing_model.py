"""BasicSR's and GFPGAN's models with references. Their training loops are theirs."""

from basicsr.models.esrgan_model import ESRGANModel
from basicsr.models.sr_model import SRModel
from basicsr.models.srgan_model import SRGANModel
from basicsr.models.swinir_model import SwinIRModel
from basicsr.utils.registry import MODEL_REGISTRY
from gfpgan.models.gfpgan_model import GFPGANModel

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
