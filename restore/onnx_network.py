"""A RefSTAR as an ONNX file, for any batch and any number of references: run it, write it, compare it with torch.

Some backbones compute in a form that fixes the batch in the file. Equal forms replace it while the file is written.

Axis letters: b batch, n references, c channels, h w feature size, H W image size.
"""

import inspect
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from refstar.layers import from_range, to_range
from refstar.multi_reference import image_of
from refstar.utils.atomic_files import write_atomically
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import to_tensor
from refstar.utils.onnx_session import open_session

from .engine import shrunk_faces
from .faces import AlignedFace, RestoreSettings

INPUTS = ('lq', 'refs', 'ref_valid', 'strength', 'w')  # the last one where the backbone has it
OUTPUTS = ('image', 'mask', 'carried', 'weight', 'alpha', 'flow')  # the others as in `RefSTAR.select_and_match`
KEY = 'refstar'  # of the metadata: {"version", "size", "lq_size", "value_range"}
VERSION = 1
# Arguments of backbones: StyleGAN's noise is that of its weights file, not drawn; images of lower levels are not made.
FIXED = {'randomize_noise': False, 'return_rgb': False}
BATCHES, COUNTS, FIDELITY = (1, 2), (1, 3), 0.5  # at which file and network are compared


class OnnxNetwork:
    """An exported RefSTAR: call it as the network in torch, or hand it to a `Restorer`. Its masks cannot be edited.

    Args:
        path: the file.
        device, providers: what computes, as of :func:`~refstar.utils.onnx_session.open_session`.

    Attributes:
        size, lq_size (int): side H = W of references and restored image, and side of the degraded photo.
        value_range (tuple): values of a black and of a white pixel.
        has_w (bool): the backbone has CodeFormer's fidelity w.

    Raises:
        RefStarError: as :func:`~refstar.utils.onnx_session.open_session`, or the file is not one of `refstar export`.
    """

    def __init__(self, path: str | Path, device: str | torch.device = 'cpu', providers: str | None = None) -> None:
        self.session = open_session(path, 'the backend onnx', device, providers)
        self.net, self.device = None, torch.device(device)
        try:
            note = json.loads(self.session.get_modelmeta().custom_metadata_map[KEY])
            version, self.size, self.value_range = note['version'], note['size'], tuple(note['value_range'])
            self.lq_size = note.get('lq_size', self.size)  # files of before 0.2.0 have none
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
        """Restore faces (b, 3, h, w) with references (b, n, 3, H, W), RGB in ``value_range``; ``ref_valid``: (b, n).

        ``strength`` and CodeFormer's fidelity ``w`` are 0 to 1, for all or as (b,). Returns the images (b, 3, H, W), on
        the device of ``lq``; with ``return_aux`` also a dict of the other OUTPUTS.

        Raises:
            RefStarError: another image size than the file's, or a w that the file does not take.
        """
        if refs is None:
            refs, ref_valid = lq.new_zeros(len(lq), 1, 3, self.size, self.size), torch.zeros(len(lq), 1).bool()
        b, sides, small = len(lq), (3, self.size, self.size), (3, self.lq_size, self.lq_size)
        if lq.shape[1:] != small or refs.shape[0] != b or refs.shape[2:] != sides:
            what = f'lq is {tuple(lq.shape)} and refs is {tuple(refs.shape)}'
            wanted = f'(b, 3, {self.lq_size}, {self.lq_size}) and (b, n, 3, {self.size}, {self.size})'
            raise RefStarError(f'{what}; this network takes {wanted}')
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
        out, aux = self(lq, refs, valid, settings.strength, settings.fidelity, return_aux=True)
        used = bool(valid.any()) and settings.strength > 0
        return from_range(out, self.value_range), aux if used else None


def per_photo(value: float | Tensor, batch: int) -> Tensor:
    """Return a number, or one number for each photo, as (b,)."""
    return torch.as_tensor(value, dtype=torch.float32).expand(batch)


# ----------------------------------------------------------------- writing
class Exportable(nn.Module):
    """Wrap a RefSTAR so that it takes and returns tensors only."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        known = inspect.signature(net.backbone.forward).parameters
        self.fixed = {name: value for name, value in FIXED.items() if name in known}
        self.has_w = 'w' in known and hasattr(net.backbone, 'fuse_convs_dict')  # CodeFormer's

    def forward(self, lq: Tensor, refs: Tensor, ref_valid: Tensor, strength: Tensor, w: Tensor | None = None) -> tuple:
        """Map INPUTS to OUTPUTS; ``strength`` and ``w`` have shape (b,)."""
        with ExitStack() as hooks:
            if self.has_w:
                for block in self.net.backbone.fuse_convs_dict.values():
                    hooks.callback(block.register_forward_hook(partial(_weighted, w=w)).remove)
            fixed = {**self.fixed, 'w': 1.0} if self.has_w else self.fixed
            out, aux = self.net(lq, refs, ref_valid, strength=strength, return_aux=True, **fixed)
        return image_of(out), *(aux[name] for name in OUTPUTS[1:])


def _weighted(block: nn.Module, inputs: tuple, out: Tensor, w: Tensor) -> Tensor:
    """Fuse as CodeFormer does at w: linear between its input (w = 0) and its output at w = 1. It asks `if w > 0`."""
    return inputs[1] + w[:, None, None, None] * (out - inputs[1])


# ----------------------------------------------------------------- equal forms
def _modulated(self: nn.Module, x: Tensor, style: Tensor) -> Tensor:
    """Convolve as StyleGAN's modulated convolution: style on the input, norm on the output, one kernel for all photos.

    The original makes a kernel for each photo and a group convolution with as many groups.
    """
    weight = getattr(self, 'scale', 1) * self.weight[0]
    style = self.modulation(style)
    x = x * style[:, :, None, None]
    if self.sample_mode:
        factor = {'upsample': 2, 'downsample': 0.5}[self.sample_mode]
        x = F.interpolate(x, scale_factor=factor, mode=getattr(self, 'interpolation_mode', 'bilinear'))
    out = F.conv2d(x, weight, padding=self.padding)
    if self.demodulate:
        norm = torch.rsqrt(style.square() @ weight.square().sum((2, 3)).T + self.eps)
        out = out * norm[:, :, None, None]
    return out


def _window_reverse(windows: Tensor, window_size: int, h: int, w: int) -> Tensor:
    """Turn SwinIR's windows (b * number of windows, s, s, c) into maps (b, h, w, c). The original divides to find b."""
    rows, columns = h // window_size, w // window_size
    return rearrange(windows, '(b i j) y x c -> b (i y) (j x) c', i=rows, j=columns)


@contextmanager
def equal_forms(net: nn.Module) -> Iterator[None]:
    """While open, let the network compute the same by forms that keep the batch open."""
    from basicsr.archs import swinir_arch

    with ExitStack() as stack:
        stack.callback(setattr, swinir_arch, 'window_reverse', swinir_arch.window_reverse)
        swinir_arch.window_reverse = _window_reverse
        for module in net.modules():
            if type(module).__name__ == 'ModulatedConv2d' and type(module).__module__.startswith('gfpgan.'):
                module.forward = partial(_modulated, module)
                stack.callback(delattr, module, 'forward')
        yield


# ----------------------------------------------------------------- the file
def example(net: Exportable, batch: int, count: int, seed: int = 0) -> dict[str, Tensor]:
    """Draw inputs of one shape; of several references the last of the first photo is invalid."""
    random = torch.Generator().manual_seed(seed)
    low, high = net.net.value_range
    sides, small = (3, net.net.size, net.net.size), (3, net.net.lq_size, net.net.lq_size)
    inputs = {
        'lq': low + (high - low) * torch.rand(batch, *small, generator=random),
        'refs': low + (high - low) * torch.rand(batch, count, *sides, generator=random),
        'ref_valid': torch.ones(batch, count, dtype=torch.bool),
        'strength': torch.rand(batch, generator=random),
    }
    inputs['ref_valid'][0, 1:][-1:] = False
    return inputs | ({'w': torch.rand(batch, generator=random)} if net.has_w else {})


def export_onnx(net: nn.Module, path: str | Path, fp16: bool = False) -> None:
    """Write a RefSTAR as an ONNX file for :class:`OnnxNetwork`.

    Args:
        net: a RefSTAR in evaluation mode, on the CPU, float32.
        path: file to write.
        fp16: see :func:`half_precision`.

    Raises:
        RefStarError: it is no RefSTAR, a package is missing, or its backbone cannot be exported with an open batch.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise RefStarError(f"export needs the package {error.name}: pip install 'refstar[onnx]'") from error
    if not hasattr(net, 'refsel') or not hasattr(net, 'backbone'):
        raise RefStarError(f'export: {type(net).__name__} is no RefSTAR; only networks with references are exported')
    form = Exportable(net).eval()
    inputs = example(form, 2, 3)
    axes = {name: {0: 'batch'} for name in inputs}
    axes['refs'][1] = axes['ref_valid'][1] = 'references'
    try:
        with torch.no_grad(), equal_forms(net), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of torch about itself
            program = torch.onnx.export(
                form,
                tuple(inputs.values()),
                input_names=[name for name in INPUTS if name in inputs],
                output_names=list(OUTPUTS),
                dynamic_shapes=axes,
                dynamo=True,
                optimize=False,  # onnxruntime does that when it opens the file
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise RefStarError(f'export: {type(net.backbone).__name__} cannot be exported: {reason}') from error
    shapes = {x.name: x.shape for x in program.model.graph.inputs}
    fixed = [name for name, shape in shapes.items() if any(isinstance(shape[axis], int) for axis in axes[name])]
    if fixed:
        raise RefStarError(f'export: {type(net.backbone).__name__} does not keep these sizes open: {", ".join(fixed)}')
    note = {'version': VERSION, 'size': net.size, 'lq_size': net.lq_size, 'value_range': net.value_range}
    program.model.metadata_props[KEY] = json.dumps(note)
    for node in program.model.graph:
        node.metadata_props.clear()  # megabytes of torch's notes, with paths of this machine
    model = half_precision(program.model_proto) if fp16 else program.model_proto
    try:
        write_atomically(Path(path), model.SerializeToString())
    except OSError as error:
        raise RefStarError(f'cannot write {path}: {error}') from error


def half_precision(model: Any) -> Any:
    """Turn weights and arithmetic of an ONNX model into float16; its inputs and outputs stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(model, keep_io_types=True)


def differences(net: nn.Module, path: str | Path) -> Iterator[tuple[int, int, dict[str, float]]]:
    """Compare a file with its network in torch, which computes in its own forms.

    Yields:
        Batch, number of references, and of every output the largest absolute difference; infinite for no number.
    """
    form, file = Exportable(net).eval(), OnnxNetwork(path)
    for batch in BATCHES:
        for count in COUNTS:
            inputs = example(form, batch, count, seed=10 * batch + count)
            arguments = {**inputs, **form.fixed}
            if form.has_w:
                inputs['w'], arguments['w'] = per_photo(FIDELITY, batch), FIDELITY
            with torch.no_grad():
                out, aux = net(**arguments, return_aux=True)
            image, rest = file(**inputs, return_aux=True)
            pairs = {'image': (image, image_of(out))} | {name: (rest[name], aux[name]) for name in OUTPUTS[1:]}
            gaps = {name: (a - b).abs().nan_to_num(nan=torch.inf) for name, (a, b) in pairs.items()}
            yield batch, count, {name: gap.max().item() for name, gap in gaps.items()}
