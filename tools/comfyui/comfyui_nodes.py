"""ComfyUI nodes: load a network, read references, restore photos, cut faces out and paste them back.

ComfyUI's contract (https://docs.comfy.org/custom-nodes/backend/datatypes): IMAGE is float32 (b, H, W, 3), RGB in
[0, 1]; MASK is float32 (b, H, W) in [0, 1]; a class with INPUT_IS_LIST gets every input as a list, e.g. images of
unequal sizes. All work is done by :class:`~refstar.restore.restorer.Restorer`. Imports are absolute: ComfyUI loads
this folder under a name of its own.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refstar.restore.alignment import AREAS, for_scaled_crop, for_scaled_photo
from refstar.restore.engine import PRECISIONS
from refstar.restore.faces import POLICIES, AlignedFace, Person, RestoreSettings
from refstar.restore.photo import PhotoSettings, put_back
from refstar.restore.restore_report import face_record, grey_picture
from refstar.restore.restorer import Restorer
from refstar.tools.restore import names
from refstar.utils.device import choose_device
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import Picture
from refstar.utils.released_weights import SHIPPED

MENU = 'RefSTAR'
SHARE = {'min': 0.0, 'max': 1.0, 'step': 0.05}
EXTRA_IMAGES = [f'images_{i}' for i in (2, 3, 4)]  # more inputs for references of other sizes


def arrays(images: Tensor) -> list[np.ndarray]:
    """Convert IMAGE to pictures, uint8 (H, W, 3); transparency is left out."""
    return list((images[..., :3].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())


def tensor(pictures: list[np.ndarray]) -> Tensor:
    """Convert pictures of one size, uint8 (H, W, ...), to float32 (b, H, W, ...) in [0, 1]."""
    return torch.from_numpy(np.stack(pictures)).float() / 255


class RefSTARLoadNetwork:
    """Open a network with what finds faces and compares people; nothing is downloaded."""

    CATEGORY, FUNCTION, DESCRIPTION = MENU, 'load', __doc__
    RETURN_TYPES, RETURN_NAMES = ('REFSTAR_NETWORK',), ('network',)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        device = 'cpu, cuda, cuda:1 ..., mps; empty: a GPU if there is one'
        path = 'file of a trained RefSTAR (.safetensors, .pth, .onnx); empty: the one that ships'
        base = 'another restorer whose output is a second input: its weights, or a name of `refstar weights list`'
        required = {
            'path': ('STRING', {'default': '', 'tooltip': path}),
            'device': (
                'STRING',
                {'default': '', 'tooltip': device},
            ),
            'precision': (list(PRECISIONS),),
        }
        return {'required': required, 'optional': {'base': ('STRING', {'default': '', 'tooltip': base})}}

    def load(self, path: str, device: str, precision: str, base: str = '') -> tuple[Restorer]:
        """Open the networks.

        Raises:
            RefStarError: a file is missing or does not fit, or there is no such device.
        """
        given = {'device': choose_device(device.strip()), 'precision': precision, 'base': base.strip() or None}
        return (Restorer.from_pretrained(path.strip() or SHIPPED, **given),)


class RefSTARReferences:
    """Read references: photos of any size, of one or several people, with or without a folder or a .refbank file."""

    CATEGORY, FUNCTION, DESCRIPTION = MENU, 'read', __doc__
    RETURN_TYPES, RETURN_NAMES = ('REFSTAR_BANK', 'STRING'), ('bank', 'record')
    INPUT_IS_LIST = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        path = 'a photo, a folder of photos, a folder of one folder per person, or a .refbank file'
        optional = dict.fromkeys(['images', *EXTRA_IMAGES], ('IMAGE',))
        optional['path'] = 'STRING', {'default': '', 'tooltip': path}
        return {'required': {'network': ('REFSTAR_NETWORK',)}, 'optional': optional}

    @classmethod
    def IS_CHANGED(cls, path: list[str] = (), **_: object) -> list[float]:
        """Return when the files of the path changed, so that ComfyUI reads them anew."""
        files = [file for p in map(Path, filter(None, path)) for file in (p, *sorted(p.rglob('*')))]
        return [file.stat().st_mtime for file in files if file.exists()]

    def read(self, network: list[Restorer], path: list[str] = (), **batches: list[Tensor]) -> tuple[list[Person], str]:
        """Find the faces of all photos and group them by person.

        Returns:
            The people, whose references are encoded when first used and kept, and a record of them as JSON.

        Raises:
            RefStarError: nothing is given, or there is no usable reference.
        """
        sources = [p.strip() for p in path if p.strip()]
        sources += [rgb for key in ['images', *EXTRA_IMAGES] for batch in batches.get(key, []) for rgb in arrays(batch)]
        if not sources:
            raise RefStarError('references: connect images, or give a path')
        people = network[0].people(sources)
        record = [
            {'person': one.name, 'references': [ref.name for ref in one.references], 'dropped': one.dropped}
            for one in people
        ]
        return people, json.dumps(record, indent=1, ensure_ascii=False)


class RefSTARRestore:
    """Restore every face of the photos; each gets the references of its own person. Without a bank: none."""

    CATEGORY, FUNCTION, DESCRIPTION = MENU, 'restore', __doc__
    RETURN_TYPES = ('IMAGE', 'MASK', 'MASK', 'STRING')
    RETURN_NAMES = ('image', 'changed', 'from_references', 'record')

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        parts = 'parts of the face, e.g. eyes,skin (brows, nose, mouth, face, outside, glasses)'
        required = {
            'network': ('REFSTAR_NETWORK',),
            'image': ('IMAGE',),
            'strength': ('FLOAT', {**SHARE, 'default': 1.0, 'tooltip': 'of the references; 0: the backbone alone'}),
        }
        optional = {
            'bank': ('REFSTAR_BANK',),
            'num_refs': ('INT', {'default': 4, 'min': 1, 'max': 64, 'tooltip': 'most references of a face'}),
            'use': ('STRING', {'default': '', 'tooltip': f'take only these {parts}'}),
            'keep': ('STRING', {'default': '', 'tooltip': f'take none of these {parts}'}),
            'on_wrong_identity': (list(POLICIES['on_wrong_identity']), {'default': 'drop'}),
            'unmatched': (list(POLICIES['unmatched']), {'default': 'leave'}),
            'colour': ('BOOLEAN', {'default': True, 'tooltip': 'keep the colours of the photo'}),
            'upscale': ('FLOAT', {'default': 1.0, 'min': 0.1, 'max': 16.0, 'step': 0.1}),
            'paste': (list(AREAS), {'default': 'face'}),
            'aligned': ('BOOLEAN', {'default': False, 'tooltip': 'photos are FFHQ-aligned faces: nothing is detected'}),
        }
        return {'required': required, 'optional': optional}

    def restore(
        self,
        network: Restorer,
        image: Tensor,
        strength: float,
        bank: list[Person] | None = None,
        num_refs: int = 4,
        use: str = '',
        keep: str = '',
        on_wrong_identity: str = 'drop',
        unmatched: str = 'leave',
        colour: bool = True,
        upscale: float = 1.0,
        paste: str = 'face',
        aligned: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor, str]:
        """Restore photos, (b, H, W, 3).

        Returns:
            The photos; where they were changed; how much of each pixel came from references, both (b, H, W); and the
            record of `refstar restore` for every face as JSON.

        Raises:
            RefStarError: a setting is out of its range, or the references are refused.
        """
        settings = RestoreSettings(
            strength=strength,
            num_refs=num_refs,
            use=names(use),
            keep=names(keep),
            on_wrong_identity=on_wrong_identity,
            unmatched=unmatched,
            colour=colour,
        )
        photo_settings = PhotoSettings(upscale=upscale, paste=paste, aligned=aligned)
        restored, changed, shares, record = [], [], [], []
        for number, rgb in enumerate(arrays(image), 1):
            picture = Picture(rgb)
            faces = network.prepare_photo(picture, bank or [], settings, photo_settings, f'image {number}')
            faces = [network.restore([face], settings)[0] for face in faces]
            photo = put_back(picture, faces, photo_settings)
            maps = [replace(face, image=grey_picture(face.attribution.sum(0))) for face in faces]
            shares.append(put_back(Picture(np.zeros_like(rgb)), maps, photo_settings).picture.rgb[..., 0])
            restored.append(photo.picture.rgb)
            changed.append(photo.area)
            record.append({'image': number, 'strength': strength, 'faces': [face_record(face) for face in faces]})
        out, area = tensor(restored), torch.from_numpy(np.stack(changed))
        if upscale == 1:  # what was not changed has not even been rounded
            out = torch.where(area[..., None] > 0, out, image[..., :3].cpu())
        return out, area, tensor(shares), json.dumps(record, indent=1, ensure_ascii=False)


class RefSTARFaceCrop:
    """Cut the faces out of the photos, as FFHQ aligns them, for any other node; RefSTAR face paste puts them back."""

    CATEGORY, FUNCTION, DESCRIPTION = MENU, 'crop', __doc__
    RETURN_TYPES, RETURN_NAMES = ('IMAGE', 'REFSTAR_FACES'), ('crops', 'faces')

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        required = {'network': ('REFSTAR_NETWORK',), 'image': ('IMAGE',)}
        return {'required': required, 'optional': {'only_center_face': ('BOOLEAN', {'default': False})}}

    def crop(
        self, network: Restorer, image: Tensor, only_center_face: bool = False
    ) -> tuple[Tensor, list[tuple[int, tuple[int, int], AlignedFace]]]:
        """Cut faces out of photos, (b, H, W, 3).

        Returns:
            The faces, (n, S, S, 3), and of each the number of its photo, that photo's height and width, and its place.

        Raises:
            RefStarError: there is no face.
        """
        found = [
            (number, rgb.shape[:2], face)
            for number, rgb in enumerate(arrays(image))
            for face in network.find_faces(rgb, only_center_face, aligned=False)
        ]
        if not found:
            raise RefStarError('face crop: no face found')
        return tensor([face.crop for *_, face in found]), found


class RefSTARFacePaste:
    """Paste faces back where RefSTAR face crop cut them out; photos and faces may have been enlarged in between."""

    CATEGORY, FUNCTION, DESCRIPTION = MENU, 'paste', __doc__
    RETURN_TYPES, RETURN_NAMES = ('IMAGE', 'MASK'), ('image', 'changed')

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        required = {'image': ('IMAGE',), 'crops': ('IMAGE',), 'faces': ('REFSTAR_FACES',)}
        return {'required': required, 'optional': {'paste': (list(AREAS), {'default': 'face'})}}

    def paste(
        self,
        image: Tensor,
        crops: Tensor,
        faces: list[tuple[int, tuple[int, int], AlignedFace]],
        paste: str = 'face',
    ) -> tuple[Tensor, Tensor]:
        """Paste faces, (n, S, S, 3), into photos, (b, H, W, 3).

        Returns:
            The photos, and where they were changed, (b, H, W).

        Raises:
            RefStarError: the numbers do not fit, or the faces are not square.
        """
        count, height, width = crops.shape[:3]
        if count != len(faces) or height != width:
            raise RefStarError(f'face paste: {count} crops of {width}x{height}, but {len(faces)} squares were cut out')
        if len(image) <= max(number for number, *_ in faces):
            raise RefStarError(f'face paste: {len(image)} images, but faces were cut out of more')
        moved: list[list[AlignedFace]] = [[] for _ in image]
        for (number, shape, face), crop in zip(faces, arrays(crops), strict=True):
            matrix = for_scaled_photo(face.matrix, np.array(image.shape[2:0:-1]) / shape[::-1])
            moved[number].append(replace(face, image=crop, matrix=for_scaled_crop(matrix, height / len(face.crop))))
        settings = PhotoSettings(paste=paste)
        done = [put_back(Picture(rgb), part, settings) for rgb, part in zip(arrays(image), moved, strict=True)]
        area = torch.from_numpy(np.stack([photo.area for photo in done]))
        out = tensor([photo.picture.rgb for photo in done])
        return torch.where(area[..., None] > 0, out, image[..., :3].cpu()), area


NODES = {
    RefSTARLoadNetwork: 'RefSTAR load network',
    RefSTARReferences: 'RefSTAR references to bank',
    RefSTARRestore: 'RefSTAR restore faces',
    RefSTARFaceCrop: 'RefSTAR face crop',
    RefSTARFacePaste: 'RefSTAR face paste',
}
NODE_CLASS_MAPPINGS = {node.__name__: node for node in NODES}
NODE_DISPLAY_NAME_MAPPINGS = {node.__name__: title for node, title in NODES.items()}
