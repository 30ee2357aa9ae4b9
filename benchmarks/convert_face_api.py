"""Turn the networks of the npm package @vladmandic/face-api into the files that ship in refstar_arch/pretrained.

    python benchmarks/convert_face_api.py FOLDER PORTRAITS

FOLDER holds `face_recognition_model*` and `face_landmark_68_model*`: a `.bin` and its manifest, whose tensors are 8-bit
with a scale and a minimum, or float32. The mean descriptor is that of `splits/portraits_train.txt` of PORTRAITS.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from refstar.dlib_face_arch import DlibFaceNet, LandmarkNet68
from refstar.identity_arch import dlib_150
from refstar.utils.image_files import decode_image, to_tensor
from refstar.utils.photo_files import images_in
from refstar.utils.text_files import read_lines

OUT = Path(__file__).parents[1] / 'refstar_arch' / 'pretrained'


def read(folder: Path, name: str) -> dict[str, np.ndarray]:
    """Read all tensors of a network, as float32 in TensorFlow's order of axes."""
    manifest = json.loads((folder / f'{name}-weights_manifest.json').read_text())
    data, start, tensors = (folder / f'{name}.bin').read_bytes(), 0, {}
    for entry in manifest[0]['weights']:
        coding, count = entry.get('quantization'), int(np.prod(entry['shape']))
        kind = np.dtype(coding['dtype'] if coding else entry['dtype'])
        values = np.frombuffer(data, kind, count, start).astype(np.float32)
        start += count * kind.itemsize
        tensors[entry['name']] = (values * coding['scale'] + coding['min'] if coding else values).reshape(
            entry['shape']
        )
    assert start == len(data), f'{name}: {len(data) - start} bytes are left'
    return tensors


def kernel(x: np.ndarray) -> torch.Tensor:
    """(h, w, in, out) -> (out, in, h, w)."""
    return torch.from_numpy(x).permute(3, 2, 0, 1)


def recognition(tensors: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """State dict of DlibFaceNet."""
    names = ['conv32_1', 'conv32_2', 'conv32_3', 'conv64_down', 'conv64_1', 'conv64_2', 'conv64_3', 'conv128_down']
    names += ['conv128_1', 'conv128_2', 'conv256_down', 'conv256_1', 'conv256_2', 'conv256_down_out']
    places = {'stem': 'conv32_down'}
    places |= {f'blocks.{i}.{conv}': f'{name}/{conv}' for i, name in enumerate(names) for conv in ('conv1', 'conv2')}
    state = {'head.weight': torch.from_numpy(tensors['fc']).T, 'head.bias': torch.zeros(128)}
    for ours, theirs in places.items():
        state[f'{ours}.conv.weight'] = kernel(tensors[f'{theirs}/conv/filters'])
        state[f'{ours}.conv.bias'] = torch.from_numpy(tensors[f'{theirs}/conv/bias'])
        state[f'{ours}.scale'] = torch.from_numpy(tensors[f'{theirs}/scale/weights'])
        state[f'{ours}.shift'] = torch.from_numpy(tensors[f'{theirs}/scale/biases'])
    return state


@torch.inference_mode()
def mean_descriptor(net: DlibFaceNet, portraits: Path) -> torch.Tensor:
    """Mean over all photos, (128,)."""
    people = read_lines(portraits / 'splits/portraits_train.txt')
    photos = [photo for person in people for photo in images_in(portraits / 'identities' / person)]
    total = torch.zeros(128)
    for photo in photos:
        total += net(dlib_150(to_tensor(decode_image(photo, 'RGB'))[None]))[0]
    return total / len(photos)


def landmarks(tensors: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """State dict of LandmarkNet68."""
    state = {
        'head.weight': torch.from_numpy(tensors['fc/weights']).T,
        'head.bias': torch.from_numpy(tensors['fc/bias']),
    }
    for block in range(4):
        for conv in range(4):
            ours, theirs = f'blocks.{block}.convs.{conv}', f'dense{block}/conv{conv}'
            if f'{theirs}/filters' in tensors:
                state[f'{ours}.weight'] = kernel(tensors[f'{theirs}/filters'])
                state[f'{ours}.bias'] = torch.from_numpy(tensors[f'{theirs}/bias'])
            else:
                depthwise = torch.from_numpy(tensors[f'{theirs}/depthwise_filter']).permute(2, 3, 0, 1)
                state[f'{ours}.depthwise.weight'] = depthwise
                state[f'{ours}.pointwise.weight'] = kernel(tensors[f'{theirs}/pointwise_filter'])
                state[f'{ours}.pointwise.bias'] = torch.from_numpy(tensors[f'{theirs}/bias'])
    return state


def main() -> None:
    """Write both files, in half precision."""
    folder, portraits = map(Path, sys.argv[1:])
    for net, name, out, convert in (
        (DlibFaceNet(), 'face_recognition_model', 'dlib_face.safetensors', recognition),
        (LandmarkNet68(), 'face_landmark_68_model', 'landmarks_68.safetensors', landmarks),
    ):
        state = convert(read(folder, name))
        net.eval().load_state_dict(state)
        if convert is recognition:
            state['head.bias'] = -mean_descriptor(net, portraits)
        save_file({key: value.half().contiguous() for key, value in state.items()}, OUT / out)


if __name__ == '__main__':
    main()
