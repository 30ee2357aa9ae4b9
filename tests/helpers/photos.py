"""Small collections of photos for tests, and the command that checks them."""

import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import refstar  # isort: skip  # noqa: F401, before basicsr
from basicsr.utils.lmdb_util import LmdbMaker

from refstar.data.images import decode
from refstar.tools.data import main


def face(seed, size=64):
    """A smooth picture that differs from that of another seed as photos do."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (32, 32, 3)).astype(np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def write(path, img):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(img).save(path)


def collection(root, people, size=64, first=0):
    """Identity folders: name -> number of photos."""
    for p, (name, count) in enumerate(people.items()):
        for i in range(count):
            write(root / name / f'{i}.png', face(first + 100 * p + i, size))
    return root


def write_csv(path, *rows, header='gt_image,lq_image,ref_image'):
    path.write_text('\n'.join([header, *rows]) + '\n')
    return str(path)


def pack(folder):
    """Pack a folder as an lmdb by BasicSR's writer."""
    maker = LmdbMaker(f'{folder}.lmdb')
    for path in sorted(folder.rglob('*.*')):
        img = decode(path, 'RGB')[..., ::-1]
        code = np.ascontiguousarray(cv2.imencode('.png', img)[1]).tobytes()
        maker.put(code, path.relative_to(folder).with_suffix('').as_posix(), img.shape)
    maker.close()
    return Path(f'{folder}.lmdb')


def check(*args, json_to=None):
    """Exit code, and what --json holds."""
    code = main(['check', *map(str, args), '--jobs', '1', *(['--json', str(json_to)] if json_to else [])])
    return code, json.loads(json_to.read_text()) if json_to and json_to.exists() else None
