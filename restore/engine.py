"""What computes restored faces from planned ones: the network in torch, or its ONNX file."""

import inspect
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from refstar.layers import from_range, to_range
from refstar.multi_reference import image_of
from refstar.reference_bank import ReferenceBank
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor

from .face_plan import Plan
from .onnx_network import OnnxNetwork
from .reference_batch import edit_masks, encode, join, own_masks, pad
from .references import Reference
from .restore_settings import Settings

KEPT = 64  # encoded references in memory: some megabytes each
PRECISIONS = {'fp32': None, 'fp16': torch.float16, 'bf16': torch.bfloat16}


class Engine(Protocol):
    """What a :class:`~refstar.restore.restorer.Restorer` computes with.

    Attributes:
        net: the network in torch, None where there is only its ONNX file.
        size: side of its images in pixels.
        device: where it runs.
    """

    net: nn.Module | None
    size: int
    device: torch.device

    def check(self, settings: Settings) -> None:
        """Raises RefStarError if it cannot do what the settings ask for."""

    def forget(self, references: Iterable[Reference]) -> None:
        """Keeps nothing of these references. To be called by the thread that runs."""

    def run(self, plans: Sequence[Plan], settings: Settings) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Restores planned faces as one batch.

        Returns:
            Images, float32 (b, 3, S, S), RGB in [-1, 1], and where references were used what
            :class:`~refstar.RefSTAR` returns beside them.
        """


class TorchEngine:
    """The network in torch; references are encoded once.

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
        self._encoded: deque[Reference] = deque()
        self.arguments = inspect.signature(net.backbone.forward).parameters

    def check(self, settings: Settings) -> None:
        if settings.fidelity is not None and 'w' not in self.arguments:
            name = type(self.net.backbone).__name__
            raise RefStarError(f'fidelity: {name} has no such control (CodeFormer has)')

    def forget(self, references: Iterable[Reference]) -> None:
        gone = {id(ref) for ref in references}
        for ref in self._encoded:
            if id(ref) in gone:
                ref.encoded = None
        self._encoded = deque(ref for ref in self._encoded if id(ref) not in gone)

    def kwargs(self, settings: Settings) -> dict[str, object]:
        """Arguments of the backbone: the fidelity if one is asked for, and no random noise."""
        kwargs: dict[str, object] = {'randomize_noise': False} if 'randomize_noise' in self.arguments else {}
        return kwargs if settings.fidelity is None else {**kwargs, 'w': settings.fidelity}

    def run(self, plans: Sequence[Plan], settings: Settings) -> tuple[Tensor, dict[str, Tensor] | None]:
        self.check(settings)
        kwargs = self.kwargs(settings)
        half = nullcontext() if self.precision is None else torch.autocast(self.device.type, self.precision)
        with torch.inference_mode(), half:
            lq = to_range(faces(plans, self.device), self.net.value_range)
            slots = max(len(plan.chosen) for plan in plans)
            if slots and settings.strength > 0:
                bank = self._bank(plans, lq, slots, settings)
                out, aux = self.net(lq, bank=bank, strength=settings.strength, return_aux=True, **kwargs)
            else:
                out, aux = self.net(lq, **kwargs), None
            return self.net.normalise(image_of(out)).float(), aux

    def _encode(self, ref: Reference) -> ReferenceBank:
        """One reference, encoded; the last `KEPT` are remembered, those of banks always are."""
        if ref.encoded is None:
            self._encoded.append(ref)
            if len(self._encoded) > KEPT:
                self._encoded.popleft().encoded = None
        return encode(self.net, ref, self.device)

    def _bank(self, plans: Sequence[Plan], lq: Tensor, slots: int, settings: Settings) -> ReferenceBank:
        """One bank for a batch of faces, each with its own references."""
        banks = []
        donor = next(plan.chosen[0].reference for plan in plans if plan.chosen)
        for i, plan in enumerate(plans):
            refs = [choice.reference for choice in plan.chosen]
            if refs:
                bank = join([self._encode(ref) for ref in refs], 1)
                if settings.edits(refs):
                    bank = edit_masks(self.net, lq[i : i + 1], bank, refs, settings)
            else:  # nothing of it is valid
                bank = replace(self._encode(donor).apply(torch.zeros_like), mask=None)
            banks.append(pad(bank, slots))
        return join(own_masks(self.net, lq, banks), 0)


class OnnxEngine:
    """A file of `refstar export`. Masks are the network's own: what edits them needs the network in torch.

    Args:
        path: the file.
        device: `cpu` or `cuda`.

    Raises:
        RefStarError: as of :class:`~refstar.restore.onnx_network.OnnxNetwork`.
    """

    def __init__(self, path: str | Path, device: str = 'cpu') -> None:
        self.file, self.device, self.net = OnnxNetwork(path, device), torch.device(device), None
        self.size = self.file.size

    def check(self, settings: Settings) -> None:
        if settings.fidelity is not None and not self.file.has_w:
            raise RefStarError('fidelity: the backbone in this ONNX file has no such control (CodeFormer has)')
        if settings.edits([]):
            raise RefStarError('use, keep, mask_threshold: not with an ONNX file; take the network in torch')

    def forget(self, references: Iterable[Reference]) -> None:
        pass  # it keeps none

    def run(self, plans: Sequence[Plan], settings: Settings) -> tuple[Tensor, dict[str, Tensor] | None]:
        self.check(settings)
        chosen = [[choice.reference for choice in plan.chosen] for plan in plans]
        if any(settings.edits(refs) for refs in chosen):
            raise RefStarError('masks by hand: not with an ONNX file; take the network in torch')
        lq = faces(plans, self.device)
        refs = torch.zeros(len(plans), max(1, *map(len, chosen)), *lq.shape[1:], device=self.device)
        valid = torch.zeros(refs.shape[:2], dtype=torch.bool)
        for i, own in enumerate(chosen):
            for slot, ref in enumerate(own):
                refs[i, slot], valid[i, slot] = to_tensor(ref.crop), True
        lq, refs = (to_range(x, self.file.value_range) for x in (lq, refs))
        out, aux = self.file(lq, refs, valid, settings.strength, settings.fidelity, return_aux=True)
        used = bool(valid.any()) and settings.strength > 0
        return from_range(out, self.file.value_range), aux if used else None


def faces(plans: Sequence[Plan], device: torch.device) -> Tensor:
    """Degraded faces, float32 (b, 3, S, S), RGB in [-1, 1]."""
    return torch.stack([to_tensor(plan.face.crop) for plan in plans]).to(device)


def engine_of(
    path: str | Path,
    options: str | Path | None = None,
    device: str = 'cpu',
    precision: str = 'fp32',
    backend: str | None = None,
) -> Engine:
    """The engine of a network's file.

    Args:
        path: .safetensors or .pth, see :func:`refstar.utils.network_file.load_network`; or .onnx, of `refstar export`.
        options: option file that describes it, where the file itself does not.
        device, precision: as of :class:`TorchEngine`.
        backend: `torch` or `onnx`; None: what the file's name says.

    Raises:
        RefStarError: the file is missing or of another kind.
    """
    from refstar.utils.network_file import load_network

    by_name = 'onnx' if Path(path).suffix == '.onnx' else 'torch'
    if backend not in (None, by_name):
        hint = 'write one by `refstar export`' if backend == 'onnx' else 'it runs by the backend onnx'
        raise RefStarError(f'backend {backend}: {path} is no file for it; {hint}')
    if by_name == 'torch':
        return TorchEngine(load_network(path, device, options), device, precision)
    if precision != 'fp32':
        raise RefStarError(f'{precision}: the backend onnx computes in fp32')
    return OnnxEngine(path, device)
