"""Run the network in torch on prepared faces: encode references, batch them, edit their selection masks.

Axis letters: b batch, n references, S side of the network's images.
"""

import inspect
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refstar.backbones import fixed_arguments
from refstar.blind_restorer import BlindRestorer
from refstar.layers import resize, to_range
from refstar.multi_reference import image_of
from refstar.reference_bank import ReferenceBank
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor
from refstar.utils.stopwatch import timed

from .face_masks import allowed_area, fit_mask
from .faces import CONTROLS, AlignedFace, Reference, RestoreSettings, check_controls

MAX_ENCODED = 64  # encoded references in memory: some megabytes each
COLOUR_BLUR = 1 / 16  # standard deviation, as a share of the side: what is coarser survives any degradation
PRECISIONS = {'fp32': None, 'fp16': torch.float16, 'bf16': torch.bfloat16}


class TorchEngine:
    """Compute restored faces by the network in torch; each reference is encoded once.

    :class:`~refstar.restore.onnx_network.OnnxNetwork` has the same methods.

    Args:
        net: RefSTAR.
        device: where it runs.
        precision: `fp32`, `fp16` (on a GPU) or `bf16`.

    Raises:
        RefStarError: the network takes no references, or the precision does not fit the device.
    """

    def __init__(self, net: nn.Module, device: str = 'cpu', precision: str = 'fp32') -> None:
        if not hasattr(net, 'refsel') or not hasattr(net, 'encode'):
            raise RefStarError(f'{type(net).__name__} takes no references; give a network of type RefSTAR')
        if precision not in PRECISIONS:
            raise RefStarError(f'precision is {precision!r}; known are {", ".join(PRECISIONS)}')
        self.device = torch.device(device)
        if precision == 'fp16' and self.device.type == 'cpu':
            raise RefStarError('fp16 needs a GPU; on the CPU take bf16 or fp32')
        self.net = net.to(self.device).eval().requires_grad_(False)
        self.size, self.precision = net.size, PRECISIONS[precision]
        self._encoded: deque[weakref.ref[Reference]] = deque()
        self.arguments = inspect.signature(net.backbone.forward).parameters
        self.base: BlindRestorer | None = None

    def check(self, settings: RestoreSettings) -> None:
        """Raise RefStarError if the network cannot do what the settings ask for."""
        check_controls(settings, self.arguments, type(self.net.backbone).__name__)

    def backbone_arguments(self, settings: RestoreSettings) -> dict[str, object]:
        """Return the backbone's arguments: the controls that are asked for, and no random noise."""
        asked = {argument: getattr(settings, name) for name, (argument, _) in CONTROLS.items()}
        return fixed_arguments(self.net.backbone) | {
            argument: value for argument, value in asked.items() if value is not None
        }

    def check_base(self) -> None:
        """Raise RefStarError if the network takes no output of another restorer."""
        if getattr(self.net.backbone, 'fuse', None) is None:
            raise RefStarError('--base: this network takes no output of another restorer (the one that ships does)')

    def add_base(self, weights: str | Path) -> None:
        """Give the network the output of a released restorer too: of its file, or of its name in the table.

        Raises:
            RefStarError: the network takes none, or as of `BlindRestorer`.
        """
        self.check_base()
        self.base = BlindRestorer(weights).to(self.device)

    def base_argument(self, faces: Sequence[AlignedFace]) -> dict[str, Tensor]:
        """Return the backbone's argument `base`, if there is one: what another restorer made of the faces."""
        if faces[0].base is not None:
            base = torch.stack([to_tensor(face.base) for face in faces]).to(self.device)
        elif self.base is not None:
            base = self.base(stack_faces(faces, self.device))
        else:
            return {}
        return {'base': to_range(base, self.net.value_range)}

    def run(self, faces: Sequence[AlignedFace], settings: RestoreSettings) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Restore faces as one batch.

        Returns:
            Images, float32 (b, 3, S, S), RGB in [-1, 1], and where references were used the dict that
            :class:`~refstar.RefSTAR` returns with `return_aux`.
        """
        self.check(settings)
        kwargs = self.backbone_arguments(settings)
        half = nullcontext() if self.precision is None else torch.autocast(self.device.type, self.precision)
        with torch.inference_mode(), half:
            lq = to_range(shrunk_faces(faces, self.device, self.net.lq_size), self.net.value_range)
            kwargs |= self.base_argument(faces)
            if settings.strength > 0 and any(face.chosen for face in faces):
                bank = self._bank(faces, lq, settings)
                out, aux = self.net(lq, bank=bank, strength=settings.strength, return_aux=True, **kwargs)
            else:
                out, aux = self.net(lq, **kwargs), None
            return self.net.normalise(image_of(out)).float(), aux

    @timed('encode')
    def _encode(self, ref: Reference) -> ReferenceBank:
        """Encode one reference; the last `MAX_ENCODED` are kept, those of bank files always are."""
        if ref.encoded is None:
            self._encoded.append(weakref.ref(ref))
            if len(self._encoded) > MAX_ENCODED and (oldest := self._encoded.popleft()()) is not None:
                oldest.encoded = None
        return encode(self.net, ref, self.device)

    def _bank(self, faces: Sequence[AlignedFace], lq: Tensor, settings: RestoreSettings) -> ReferenceBank:
        """Make one bank for a batch of faces, each with its own references, padded to the same number."""
        chosen = [face.references for face in faces]
        count, edit = max(map(len, chosen)), any(settings.edit_masks(refs) for refs in chosen)
        placeholder = next(refs[0] for refs in chosen if refs)
        banks = []
        for i, refs in enumerate(chosen):
            if refs:
                bank = join([self._encode(ref) for ref in refs], 1)
            else:  # nothing of it is valid
                bank = replace(self._encode(placeholder).apply(torch.zeros_like), mask=None)
            if edit:
                bank = edit_masks(self.net, lq[i : i + 1], bank, refs, settings)
            banks.append(pad(bank, count))
        return join(banks, 0)


def stack_faces(faces: Sequence[AlignedFace], device: torch.device) -> Tensor:
    """Return the degraded faces as one batch, float32 (b, 3, S, S), RGB in [-1, 1]."""
    return torch.stack([to_tensor(face.crop) for face in faces]).to(device)


def shrunk_faces(faces: Sequence[AlignedFace], device: torch.device, size: int) -> Tensor:
    """Return the degraded faces as :func:`stack_faces`, at the side that the network takes: (b, 3, size, size)."""
    return resize(stack_faces(faces, device), (size, size))


def keep_colour(out: Tensor, lq: Tensor, alpha: Tensor) -> Tensor:
    """Take the low frequencies of the degraded photo where references were used: other light must not tint the face.

    Restored and degraded faces are (b, 3, H, W); `alpha`, the share of the references, is (b, 1, H, W) in [0, 1].
    """
    return out + alpha * blur(lq - out, COLOUR_BLUR * out.shape[-1])


def blur(x: Tensor, sigma: float) -> Tensor:
    """Blur (b, c, H, W) by a Gaussian, mirrored at the border; on a coarser grid where sigma (pixels) is large."""
    step = max(1, int(sigma // 3))
    small = F.avg_pool2d(x, step, ceil_mode=True, count_include_pad=False)
    sigma = max(sigma / step, 1e-3)
    radius = min(int(3 * sigma + 0.5), min(small.shape[-2:]) - 1)
    weights = torch.exp(-((torch.arange(-radius, radius + 1, device=x.device) / sigma) ** 2) / 2)
    weights = (weights / weights.sum()).expand(x.shape[1], 1, 1, -1)
    small = F.conv2d(F.pad(small, [radius] * 4, 'reflect'), weights, groups=x.shape[1])
    small = F.conv2d(small, weights.mT, groups=x.shape[1])
    return F.interpolate(small, x.shape[-2:], mode='bilinear', align_corners=False)


# ----------------------------------------------------------------- references of a batch
def encode(net: nn.Module, ref: Reference, device: torch.device) -> ReferenceBank:
    """Encode one reference and keep the result in it. Where a mask painted by the user is 0, nothing is seen."""
    if ref.encoded is None:
        x = to_range(to_tensor(ref.crop)[None, None].to(device), net.value_range)
        mask = None
        if ref.mask is not None:
            mask = torch.from_numpy(fit_mask(ref.mask, ref.crop.shape[0]))[None, None, None].to(device)
        ref.encoded = net.encode(x, mask=mask)
    return ref.encoded


def tensors_of(bank: ReferenceBank) -> dict[str, Tensor]:
    """Return the tensors of a bank by names that bank files have, those that are None left out."""
    tensors = {f'match.{i}': x for i, x in enumerate(bank.match)} | {f'taps.{r}': x for r, x in bank.taps.items()}
    others = {name: getattr(bank, name) for name in ('valid', 'mask', 'context')}
    return tensors | {name: x for name, x in others.items() if x is not None}


def bank_of(tensors: dict[str, Tensor], network: str) -> ReferenceBank:
    """Return the bank whose :func:`tensors_of` these are."""
    match = [x for name, x in tensors.items() if name.startswith('match.')]
    taps = {int(name.removeprefix('taps.')): x for name, x in tensors.items() if name.startswith('taps.')}
    return ReferenceBank(match, taps, tensors['valid'], tensors.get('mask'), tensors.get('context'), network)


def join(banks: Sequence[ReferenceBank], dim: int) -> ReferenceBank:
    """Concatenate banks: of one person's references (dim 1), or of several faces with as many each (dim 0)."""
    if len(banks) == 1:
        return banks[0]
    parts = [tensors_of(bank) for bank in banks]
    shared = [name for name in parts[0] if all(name in part for part in parts)]
    return bank_of({name: torch.cat([part[name] for part in parts], dim) for name in shared}, banks[0].network)


def pad(bank: ReferenceBank, count: int) -> ReferenceBank:
    """Append invalid references up to this number."""
    missing = count - bank.valid.shape[1]
    return bank.apply(lambda x: F.pad(x, (0, 0) * (x.ndim - 2) + (0, missing))) if missing else bank


def edit_masks(
    net: nn.Module, lq: Tensor, bank: ReferenceBank, refs: Sequence[Reference], settings: RestoreSettings
) -> ReferenceBank:
    """Apply the user's masks, threshold and regions to the network's own selection of one face, `lq` (1, 3, s, s)."""
    size = net.size
    mask = net.select_and_match(net.normalise(lq), [bank.match], bank.valid, None)['mask'].float()
    for i, ref in enumerate(refs):
        if ref.mask is not None:
            mask[:, i] = torch.from_numpy(fit_mask(ref.mask, size)).to(mask)
        if settings.mask_threshold is not None:
            mask[:, i] = (mask[:, i] >= settings.mask_threshold).float()
        if settings.use or settings.keep:
            allowed = allowed_area(settings.use, settings.keep, ref.points, size)
            mask[:, i] *= torch.from_numpy(allowed).to(mask)
    return replace(bank, mask=mask)
