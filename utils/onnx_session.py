"""Open ONNX files in onnxruntime."""

from pathlib import Path
from typing import Any

import torch

from .checkpoint import what_instead
from .errors import RefStarError

SUFFIX = 'ExecutionProvider'  # of onnxruntime's names: CUDAExecutionProvider is `cuda` here


def open_session(path: str | Path, what: str, device: str | torch.device = 'cpu', providers: str | None = None) -> Any:
    """Open an ONNX file in onnxruntime.

    Args:
        path: the file.
        what: what needs it, for messages.
        device: 'cpu', 'cuda' or 'mps': onnxruntime's provider for it.
        providers: onnxruntime's providers instead of that one, in order of preference, e.g. 'tensorrt,cuda', 'coreml',
            'dml', 'openvino'. What they cannot do is done by the CPU.

    Raises:
        RefStarError: onnxruntime is not there, has no such provider, cannot start it, or cannot read the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise RefStarError(f"{what} needs onnxruntime: pip install 'refstar[onnx]'") from error
    kind = torch.device(device).type
    known = {name.removesuffix(SUFFIX).lower(): name for name in onnxruntime.get_available_providers()}
    wanted = []
    for name in (providers or {'mps': 'coreml'}.get(kind, kind)).split(','):
        short = name.strip().lower().removesuffix(SUFFIX.lower())
        if short not in known:
            hint = ' (for cuda and tensorrt: pip install onnxruntime-gpu)' if short in ('cuda', 'tensorrt') else ''
            raise RefStarError(f'{what}: this onnxruntime has no provider {short!r}, but {", ".join(known)}{hint}')
        wanted.append(known[short])
    if not Path(path).is_file():
        raise RefStarError(f'{what}: {path}: no such file')
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors: its warnings are about its own work
        session = onnxruntime.InferenceSession(str(path), options, providers=wanted)
    except Exception as error:
        reason = what_instead(path) or f'cannot be read: {str(error).splitlines()[0]}'
        raise RefStarError(f'{what}: {path} {reason}') from error
    for name in wanted:
        if name not in session.get_providers():  # onnxruntime goes on without it
            raise RefStarError(f'{what}: {name} does not start here: are its libraries installed?')
    return session
