"""Open ONNX files in onnxruntime."""

from pathlib import Path
from typing import Any

import torch

from .checkpoint import what_instead
from .errors import RefStarError


def open_session(path: str | Path, what: str, device: str | torch.device = 'cpu') -> Any:
    """Open an ONNX file in onnxruntime.

    Args:
        path: the file.
        what: what needs it, for messages.
        device: 'cpu', or 'cuda', which needs the package onnxruntime-gpu.

    Raises:
        RefStarError: onnxruntime is not there, has no such device, or cannot read the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise RefStarError(f"{what} needs onnxruntime: pip install 'refstar[onnx]'") from error
    kind = torch.device(device).type
    provider = {'cpu': 'CPUExecutionProvider', 'cuda': 'CUDAExecutionProvider'}.get(kind)
    if provider not in onnxruntime.get_available_providers():
        raise RefStarError(f'{what}: this onnxruntime does not run on {kind} (for cuda: pip install onnxruntime-gpu)')
    if not Path(path).is_file():
        raise RefStarError(f'{what}: {path}: no such file')
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors: its warnings are about its own work
        return onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:
        reason = what_instead(path) or f'cannot be read: {str(error).splitlines()[0]}'
        raise RefStarError(f'{what}: {path} {reason}') from error
