"""Writing a RefSTAR as an ONNX file, and comparing it with torch.

Some backbones compute in a form that fixes the batch in the file. Equal forms replace it while the file is written.

Axis letters: b batch, n references, c channels, h w feature size, H W image size.
"""

import inspect
import json
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from refstar.backbones import fixed_arguments
from refstar.multi_reference import image_of
from refstar.utils.atomic_files import write_atomically
from refstar.utils.errors import RefStarError

from .onnx_network import INPUTS, KEY, OUTPUTS, VERSION, OnnxNetwork, per_photo

BATCHES, COUNTS, FIDELITY = (1, 2), (1, 3), 0.5  # at which file and network are compared


class Exportable(nn.Module):
    """Wrap a RefSTAR so that it takes and returns tensors only; FlowRestorer takes so many steps (None: its own)."""

    def __init__(self, net: nn.Module, steps: int | None = None) -> None:
        super().__init__()
        self.net = net
        known = inspect.signature(net.backbone.forward).parameters
        self.fixed = fixed_arguments(net.backbone)
        self.has_w = 'w' in known and hasattr(net.backbone, 'fuse_convs_dict')  # CodeFormer's
        self.has_noise = 'noise' in known  # FlowRestorer's
        if not self.has_noise and steps is not None:
            raise RefStarError(f'--steps: {type(net.backbone).__name__} takes no steps (FlowRestorer does)')
        self.steps = (net.backbone.steps if steps is None else steps) if self.has_noise else None
        self.fixed |= {'steps': self.steps} if self.has_noise else {}

    def forward(
        self,
        lq: Tensor,
        refs: Tensor,
        ref_valid: Tensor,
        strength: Tensor,
        w: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> tuple:
        """Map INPUTS to OUTPUTS; ``strength`` and ``w`` have shape (b,)."""
        with ExitStack() as hooks:
            if self.has_w:
                for block in self.net.backbone.fuse_convs_dict.values():
                    hooks.callback(block.register_forward_hook(partial(_weighted, w=w)).remove)
            more = {**self.fixed} | ({'w': 1.0} if self.has_w else {}) | ({'noise': noise} if self.has_noise else {})
            out, aux = self.net(lq, refs, ref_valid, strength=strength, return_aux=True, **more)
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
    inputs |= {'w': torch.rand(batch, generator=random)} if net.has_w else {}
    if net.has_noise:
        inputs['noise'] = torch.randn(batch, *net.net.backbone.noise_shape(*small[1:]), generator=random)
    return inputs


def export_onnx(net: nn.Module, path: str | Path, steps: int | None = None, fp16: bool = False) -> None:
    """Write a RefSTAR as an ONNX file for :class:`OnnxNetwork`.

    Args:
        net: a RefSTAR in evaluation mode, on the CPU, float32.
        path: file to write.
        steps: steps of a FlowRestorer in it. None: the network's own.
        fp16: see :func:`half_precision`.

    Raises:
        RefStarError: it is no RefSTAR, a package is missing, or its backbone cannot be exported with an open batch.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise RefStarError(f"export needs the package {error.name}: pip install 'refstar[onnx]'") from error
    if not hasattr(net, 'refsel') or not hasattr(net, 'backbone'):
        raise RefStarError(f'export: {type(net).__name__} is no RefSTAR; only networks with references are exported')
    form = Exportable(net, steps).eval()
    inputs = example(form, 2, 3)
    axes = {name: {0: 'batch'} for name in inputs}
    axes['refs'][1] = axes['ref_valid'][1] = 'references'
    try:
        with torch.no_grad(), equal_forms(net), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of torch about itself
            program = torch.onnx.export(
                form,
                tuple(inputs.get(name) for name in INPUTS),
                input_names=[name for name in INPUTS if name in inputs],
                output_names=list(OUTPUTS),
                dynamic_shapes={name: axes.get(name) for name in INPUTS},
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
    note |= {'steps': form.steps} if form.has_noise else {}
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
    file = OnnxNetwork(path)
    form = Exportable(net, file.steps).eval()
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
