"""Run a RefSTAR from an ONNX file, which `refstar export` writes.

Axis letters: b batch, n references, H W image size.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from refstar.layers import from_range, to_range
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor
from refstar.utils.onnx_session import open_session

from .engine import stack_faces
from .faces import PreparedFace, RestoreSettings

INPUTS = ('lq', 'refs', 'ref_valid', 'strength', 'w')  # the last one where the backbone has it
OUTPUTS = ('image', 'mask', 'carried', 'weight', 'alpha', 'flow')  # the others as in `RefSTAR.select_and_match`
KEY = 'refstar'  # of the metadata: {"version", "size", "value_range"}
VERSION = 1


class OnnxNetwork:
    """An exported RefSTAR: call it as the network in torch, or hand it to a `Restorer`. Its masks cannot be edited.

    Args:
        path: the file.
        device: 'cpu' or 'cuda'.

    Attributes:
        size (int): image size H = W.
        value_range (tuple): values of a black and of a white pixel.
        has_w (bool): the backbone has CodeFormer's fidelity w.

    Raises:
        RefStarError: as :func:`~refstar.utils.onnx_session.open_session`, or the file is not one of `refstar export`.
    """

    def __init__(self, path: str | Path, device: str | torch.device = 'cpu') -> None:
        self.session = open_session(path, 'the backend onnx', device)
        self.net, self.device = None, torch.device(device)
        try:
            note = json.loads(self.session.get_modelmeta().custom_metadata_map[KEY])
            version, self.size, self.value_range = note['version'], note['size'], tuple(note['value_range'])
        except (KeyError, TypeError, ValueError):
            raise RefStarError(f'{path}: was not written by `refstar export`') from None
        if version != VERSION:
            raise RefStarError(f'{path}: of version {version}, this program reads {VERSION}: export the network again')
        self.has_w = 'w' in (entry.name for entry in self.session.get_inputs())

    def __call__(
        self,
        lq: Tensor,
        refs: Tensor | None = None,
        ref_valid: Tensor | None = None,
        strength: float | Tensor = 1.0,
        w: float | Tensor | None = None,
        return_aux: bool = False,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Restore faces (b, 3, H, W) with references (b, n, 3, H, W), RGB in ``value_range``; ``ref_valid``: (b, n).

        ``strength`` and CodeFormer's fidelity ``w`` are 0 to 1, for all or as (b,). Returns the images (b, 3, H, W), on
        the device of ``lq``; with ``return_aux`` also a dict of the other OUTPUTS.

        Raises:
            RefStarError: another image size than the file's, or a w that the file does not take.
        """
        b = lq.shape[0]
        if refs is None:
            refs, ref_valid = torch.zeros_like(lq)[:, None], torch.zeros(b, 1, dtype=torch.bool)
        for x in (lq, refs):
            if tuple(x.shape[-2:]) != (self.size, self.size):
                raise RefStarError(f'{x.shape[-1]}x{x.shape[-2]} pixels; this network takes {self.size}x{self.size}')
        if refs.shape[0] != b:
            raise RefStarError(f'references of {refs.shape[0]} people for {b} photos')
        if w is not None and not self.has_w:
            raise RefStarError('w: the backbone in this ONNX file has none')
        valid = torch.ones(refs.shape[:2], dtype=torch.bool) if ref_valid is None else ref_valid.bool()
        feed = {'lq': lq.float(), 'refs': refs.float(), 'ref_valid': valid, 'strength': per_photo(strength, b)}
        if self.has_w:
            feed['w'] = per_photo(0.0 if w is None else w, b)
        found = self.session.run(list(OUTPUTS), {name: value.cpu().numpy() for name, value in feed.items()})
        image, *rest = (torch.from_numpy(value).to(lq.device) for value in found)
        return (image, dict(zip(OUTPUTS[1:], rest, strict=True))) if return_aux else image

    # ----------------------------------------------------------------- as an engine of a Restorer
    def check(self, settings: RestoreSettings) -> None:
        if settings.fidelity is not None and not self.has_w:
            raise RefStarError('fidelity: the backbone in this ONNX file has no such control (CodeFormer has)')
        if settings.edit_masks():
            raise RefStarError('use, keep, mask_threshold: not with an ONNX file; take the network in torch')

    def run(self, faces: Sequence[PreparedFace], settings: RestoreSettings) -> tuple[Tensor, dict[str, Tensor] | None]:
        self.check(settings)
        chosen = [[choice.reference for choice in face.chosen] for face in faces]
        if any(settings.edit_masks(refs) for refs in chosen):
            raise RefStarError('masks painted by the user: not with an ONNX file; take the network in torch')
        lq = stack_faces(faces, self.device)
        refs = torch.zeros(len(faces), max(1, *map(len, chosen)), *lq.shape[1:], device=self.device)
        valid = torch.zeros(refs.shape[:2], dtype=torch.bool)
        for i, own in enumerate(chosen):
            for j, ref in enumerate(own):
                refs[i, j], valid[i, j] = to_tensor(ref.crop), True
        lq, refs = (to_range(x, self.value_range) for x in (lq, refs))
        out, aux = self(lq, refs, valid, settings.strength, settings.fidelity, return_aux=True)
        used = bool(valid.any()) and settings.strength > 0
        return from_range(out, self.value_range), aux if used else None


def per_photo(value: float | Tensor, batch: int) -> Tensor:
    """Return a number, or one number for each photo, as (b,)."""
    return torch.as_tensor(value, dtype=torch.float32).expand(batch)
