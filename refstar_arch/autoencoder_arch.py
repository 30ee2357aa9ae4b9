"""Latent spaces of generative backbones: autoencoders of diffusers (Apache-2.0), which is imported when one is built.

Axis letters: b batch, c channels of the latents, h w their size, H W image size.
"""

from typing import Any

from torch import Tensor, nn

from refstar.utils.archs import register_arch
from refstar.utils.errors import RefStarError

KNOWN = ('VQModel', 'AutoencoderKL', 'AutoencoderTiny')


class Pixels(nn.Module):
    """No latent space: the latents of an image are the image."""

    channels, factor = 3, 1

    def encode(self, images: Tensor) -> Tensor:
        return images

    def decode(self, latents: Tensor) -> Tensor:
        return latents


@register_arch
class DiffusersAutoencoder(nn.Module):
    """Encode images to latents and decode them, as the diffusers library does.

    Args:
        name (str): class of diffusers: 'VQModel', 'AutoencoderKL' or 'AutoencoderTiny'.
        config (dict): its arguments, as in the `config.json` beside its weights.

    Attributes:
        channels (int): of the latents.
        factor (int): images are so many times larger than their latents.

    Raises:
        RefStarError: diffusers is not installed, or a value has no meaning.
    """

    def __init__(self, name: str, config: dict[str, Any]) -> None:
        super().__init__()
        if name not in KNOWN:
            raise RefStarError(f'DiffusersAutoencoder: name is {name!r}; known are {", ".join(KNOWN)}')
        try:
            import diffusers
        except ImportError:
            raise RefStarError("DiffusersAutoencoder needs diffusers: pip install 'refstar[latent]'") from None
        arguments = {key: value for key, value in config.items() if key[0] != '_'}  # without _class_name
        try:
            self.net = getattr(diffusers, name)(**arguments)
        except (TypeError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
            raise RefStarError(f'DiffusersAutoencoder: config of {name}: {error}') from error
        config = self.net.config
        self.channels = config.get('vq_embed_dim') or config.latent_channels
        self.scale, self.shift = config.scaling_factor, config.get('shift_factor') or 0
        self.factor = 2 ** (len(config.block_out_channels) - 1)

    def encode(self, images: Tensor) -> Tensor:
        """Encode images (b, 3, H, W), RGB in [-1, 1], to latents (b, c, h, w) of about unit size."""
        found = self.net.encode(images)
        latents = found.latents if 'latents' in found else found.latent_dist.mode()
        return (latents - self.shift) * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (b, c, h, w) to images (b, 3, H, W), RGB in [-1, 1]."""
        return self.net.decode(latents / self.scale + self.shift).sample

    def forward(self, images: Tensor) -> Tensor:
        """Return images (b, 3, H, W) as they come back from their latents."""
        return self.decode(self.encode(images))
