"""A RefSTAR as an ONNX file, for any batch and any number of references; :mod:`onnx_export` writes it.

Axis letters: b batch, n references, c channels, h w feature size, H W image size.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from refstar.flow_arch import draw_noise
from refstar.layers import from_range, to_range
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor
from refstar.utils.onnx_session import open_session

from .engine import shrunk_faces
from .faces import AlignedFace, RestoreSettings, check_controls

INPUTS = ('lq', 'refs', 'ref_valid', 'strength', 'w', 'noise')  # the last two where the backbone has them
OUTPUTS = ('image', 'mask', 'carried', 'weight', 'alpha', 'flow')  # the others as in `RefSTAR.select_and_match`
KEY = 'refstar'  # of the metadata: {"version", "size", "lq_size", "value_range", "steps"}
VERSION = 1


class OnnxNetwork:
    """An exported RefSTAR: call it as the network in torch, or hand it to a `Restorer`. Its masks cannot be edited.

    Args:
        path: the file.
        device, providers: what computes, as of :func:`~refstar.utils.onnx_session.open_session`.

    Attributes:
        size, lq_size (int): side H = W of references and restored image, and side of the degraded photo.
        value_range (tuple): values of a black and of a white pixel.
        has_w (bool): the backbone has CodeFormer's fidelity w.
        noise_shape (tuple | None): (c, h, w) of the noise of FlowRestorer.
        steps (int | None): steps that the file was written for, of FlowRestorer.

    Raises:
        RefStarError: as :func:`~refstar.utils.onnx_session.open_session`, or the file is not one of `refstar export`.
    """

    def __init__(self, path: str | Path, device: str | torch.device = 'cpu', providers: str | None = None) -> None:
        self.session = open_session(path, 'the backend onnx', device, providers)
        self.net, self.device = None, torch.device(device)
        try:
            note = json.loads(self.session.get_modelmeta().custom_metadata_map[KEY])
            version, self.size, self.value_range = note['version'], note['size'], tuple(note['value_range'])
            self.lq_size, self.steps = note.get('lq_size', self.size), note.get('steps')  # not in files before 0.2.0
        except (KeyError, TypeError, ValueError):
            raise RefStarError(f'{path}: was not written by `refstar export`') from None
        if version != VERSION:
            raise RefStarError(f'{path}: of version {version}, this program reads {VERSION}: export the network again')
        shapes = {x.name: tuple(x.shape[1:]) for x in self.session.get_inputs()}
        self.has_w, self.noise_shape = 'w' in shapes, shapes.get('noise')

    def __call__(
        self,
        lq: Tensor,
        refs: Tensor | None = None,
        ref_valid: Tensor | None = None,
        strength: float | Tensor = 1.0,
        w: float | Tensor | None = None,
        noise: Tensor | None = None,
        return_aux: bool = False,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Restore faces (b, 3, h, w) with references (b, n, 3, H, W), RGB in ``value_range``; ``ref_valid``: (b, n).

        ``strength`` and CodeFormer's fidelity ``w`` are 0 to 1, for all or as (b,). FlowRestorer's ``noise`` (b,
        *noise_shape) is that of seed 0 by default. Returns the images (b, 3, H, W), on the device of ``lq``; with
        ``return_aux`` also a dict of the other OUTPUTS.

        Raises:
            RefStarError: another image size than the file's, or a w or noise that the file does not take.
        """
        if refs is None:
            refs, ref_valid = lq.new_zeros(len(lq), 1, 3, self.size, self.size), torch.zeros(len(lq), 1).bool()
        b, sides, small = len(lq), (3, self.size, self.size), (3, self.lq_size, self.lq_size)
        if lq.shape[1:] != small or refs.shape[0] != b or refs.shape[2:] != sides:
            what = f'lq is {tuple(lq.shape)} and refs is {tuple(refs.shape)}'
            wanted = f'(b, 3, {self.lq_size}, {self.lq_size}) and (b, n, 3, {self.size}, {self.size})'
            raise RefStarError(f'{what}; this network takes {wanted}')
        for name, value, has in (('w', w, self.has_w), ('noise', noise, self.noise_shape)):
            if value is not None and not has:
                raise RefStarError(f'{name}: the backbone in this ONNX file has none')
        valid = torch.ones(refs.shape[:2], dtype=torch.bool) if ref_valid is None else ref_valid.bool()
        feed = {'lq': lq.float(), 'refs': refs.float(), 'ref_valid': valid, 'strength': per_photo(strength, b)}
        if self.has_w:
            feed['w'] = per_photo(0.0 if w is None else w, b)
        if self.noise_shape:
            noise = draw_noise(0, self.noise_shape).expand(b, -1, -1, -1) if noise is None else noise
            feed['noise'] = noise.float()
        found = self.session.run(list(OUTPUTS), {name: value.cpu().numpy() for name, value in feed.items()})
        image, *rest = (torch.from_numpy(value).to(lq.device) for value in found)
        return (image, dict(zip(OUTPUTS[1:], rest, strict=True))) if return_aux else image

    # ----------------------------------------------------------------- as an engine of a Restorer
    def check(self, settings: RestoreSettings) -> None:
        taken = [*(['w'] if self.has_w else []), *(['steps', 'seed'] if self.noise_shape else [])]
        check_controls(settings, taken, 'the backbone in this ONNX file')
        if settings.steps not in (None, self.steps):
            raise RefStarError(f'steps: this ONNX file was written for {self.steps} steps (`refstar export --steps`)')
        if settings.edit_masks():
            raise RefStarError('use, keep, mask_threshold: not with an ONNX file; take the network in torch')

    def check_base(self) -> None:
        raise RefStarError('--base: not with an ONNX file; take the network in torch')

    def add_base(self, weights: str | Path) -> None:
        self.check_base()

    def run(self, faces: Sequence[AlignedFace], settings: RestoreSettings) -> tuple[Tensor, dict[str, Tensor] | None]:
        self.check(settings)
        if any(settings.edit_masks(face.references) for face in faces):
            raise RefStarError('masks painted by the user: not with an ONNX file; take the network in torch')
        lq = shrunk_faces(faces, self.device, self.lq_size)
        count = max(1, *(len(face.chosen) for face in faces))
        refs = torch.zeros(len(faces), count, 3, self.size, self.size)
        valid = torch.zeros(refs.shape[:2], dtype=torch.bool)
        for i, face in enumerate(faces):
            for j, ref in enumerate(face.references):
                refs[i, j], valid[i, j] = to_tensor(ref.crop), True
        lq, refs = (to_range(x, self.value_range) for x in (lq, refs))
        noise = None
        if settings.seed is not None:
            noise = draw_noise(settings.seed, self.noise_shape).expand(len(faces), -1, -1, -1)
        out, aux = self(lq, refs, valid, settings.strength, settings.fidelity, noise, return_aux=True)
        used = bool(valid.any()) and settings.strength > 0
        return from_range(out, self.value_range), aux if used else None


def per_photo(value: float | Tensor, batch: int) -> Tensor:
    """Return a number, or one number for each photo, as (b,)."""
    return torch.as_tensor(value, dtype=torch.float32).expand(batch)
