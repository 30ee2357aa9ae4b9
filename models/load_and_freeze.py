"""Loading and freezing of parts of a RefSTAR network, for the models here and for existing ones."""

from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger
from pydantic import Field
from torch import nn

from refstar.utils.errors import RefStarError, nearest
from refstar.utils.option_block import Names, OptionBlock

# Of net_g: name in options -> module.
PARTS = {'backbone': 'backbone', 'mean': 'backbone.mean', 'latent': 'backbone.latent.net', 'refsel': 'refsel'}


class PartOptions(OptionBlock):
    """Keys of every model with references."""

    class Path(OptionBlock):
        """Weights of parts of net_g."""

        pretrain_network_backbone: str | None = Field(
            None, description='weights of the bare backbone, loaded into net_g.backbone'
        )
        param_key_backbone: str | None = Field('params_ema', description='key in that file; ~ for a bare state dict')
        strict_load_backbone: bool = Field(
            True, description='false: that file may lack weights (a VQGAN, for CodeFormer) or have others'
        )
        pretrain_network_mean: str | None = Field(None, description="weights of FlowRestorer's mean")
        param_key_mean: str | None = Field('params_ema', description='key in that file; ~ for a bare state dict')
        pretrain_network_latent: str | None = Field(None, description="weights of FlowRestorer's autoencoder")
        param_key_latent: str | None = Field('params_ema', description='key in that file; ~ for a bare state dict')
        pretrain_network_refsel: str | None = Field(
            None, description='weights of a trained RefSel, loaded into net_g.refsel'
        )
        param_key_refsel: str | None = Field('params_ema', description='key in that file')

    class Train(OptionBlock):
        """Frozen weights."""

        freeze: Names | None = Field(
            None, description='modules of net_g whose weights are frozen, e.g. [backbone, refsel]'
        )

    class Val(OptionBlock):
        """Arms of an evaluation."""

        arms: Names | None = Field(None, description='arms to run, out of right, none, wrong (default: all)')


def load_parts(model: BaseModel, net: nn.Module) -> None:
    """Load the weights of parts of net_g from their own files; a full ``pretrain_network_g`` (resume) wins.

    Raises:
        RefStarError: the network has no such part, or the file does not fit.
    """
    path, modules = model.opt['path'], dict(net.named_modules())
    for part, module in PARTS.items():
        file = path.get(f'pretrain_network_{part}')
        if not file:
            continue
        if path.get('pretrain_network_g'):
            get_root_logger().info(f'path:pretrain_network_{part} is not read: pretrain_network_g holds all of net_g.')
            continue
        if module not in modules:
            raise RefStarError(f'path:pretrain_network_{part}: {type(net).__name__} has no {part}')
        strict = path.get(f'strict_load_{part}', True)
        model.load_network(modules[module], file, strict, path.get(f'param_key_{part}', 'params_ema'))


def freeze_parts(model: BaseModel, net: nn.Module) -> None:
    """Freeze the modules in ``train.freeze``.

    Raises:
        RefStarError: there is no such module.
    """
    modules = dict(net.named_modules())
    for name in model.opt['train'].get('freeze') or []:
        if name not in modules:
            raise RefStarError(f'train:freeze: {type(net).__name__} has no module {name!r}{nearest(name, modules)}')
        modules[name].requires_grad_(False)
