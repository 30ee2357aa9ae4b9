"""The public Python interface: restore faces and whole photos with references. Videos: :mod:`video`."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from refstar.layers import resize_refs
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import MAX_PIXELS, Picture, picture_of, refuse_large, to_image
from refstar.utils.network_file import load_network
from refstar.utils.released_weights import SHIPPED, resolve
from refstar.utils.stopwatch import timed

from .alignment import FaceDetector
from .bank_file import read_bank
from .engine import TorchEngine, keep_colour, stack_faces
from .faces import AlignedFace, IdentityVerdict, Person, RestoreSettings
from .identity_check import IdentityChecker
from .input_files import open_sources, unique
from .matching import choose_references, match_people
from .onnx_network import OnnxNetwork
from .photo import PhotoSettings, RestoredPhoto, put_back
from .references import FaceReader

LARGER = 1.25  # than the network's pixels: a face of more is named
# Notes for people with an old photo.
UNMATCHED = {
    'leave': 'This face looks like nobody on the good photos: it was left as it was (see --unmatched).',
    'restore': 'This face looks like nobody on the good photos: it was restored without them.',
}
UNCHECKED = 'Nothing here can tell whether the good photos show the same person.'
SOFT = 'This face is larger than the {0} x {0} pixels that this network draws: it may look soft (-n: a larger network).'
NO_THRESHOLD = 'the network that ships gives probabilities; name another one (--identity_network, --identity_weights)'


class Restorer(FaceReader):
    """Restore faces by a trained RefSTAR.

    Args:
        net: RefSTAR, or an :class:`~refstar.restore.onnx_network.OnnxNetwork`.
        device: where it runs; of an ONNX network: its own.
        precision: `fp32`, `fp16` (on a GPU) or `bf16`.
        identity_checker: compares people; None: the network's own person check if it has one, else nobody is compared.
        detector: finds the faces of references and of whole photos; None: all are aligned.
        max_pixels: of a picture.

    >>> from basicsr.archs import build_network
    >>> backbone = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 1, 'num_block': 1, 'num_feat': 8}
    >>> net = build_network({'type': 'RefSTAR', 'size': 32, 'backbone': backbone, 'refsel': {'size': 32}})
    >>> restorer = Restorer(net)
    >>> bad, good = np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 200, np.uint8)
    >>> result = restorer(bad, [good], strength=0.8)
    >>> result.image.shape, result.mask.shape, result.attribution.shape
    ((32, 32, 3), (1, 32, 32), (1, 32, 32))

    Raises:
        RefStarError: the network takes no references, or the precision does not fit the device.
    """

    def __init__(
        self,
        net: nn.Module | TorchEngine | OnnxNetwork,
        device: str = 'cpu',
        precision: str = 'fp32',
        identity_checker: IdentityChecker | None = None,
        detector: FaceDetector | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.engine = TorchEngine(net, device, precision) if isinstance(net, nn.Module) else net
        checker = identity_checker or IdentityChecker.from_network(self.engine.net)
        super().__init__(self.engine.size, detector, checker, max_pixels)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path = SHIPPED,
        options: str | Path | None = None,
        device: str = 'cpu',
        precision: str = 'fp32',
        identity: tuple[str, str | None] | None = None,
        identity_threshold: float | None = None,
        detector: str | None = 'yunet',
        max_pixels: int = MAX_PIXELS,
        backend: str | None = None,
        base: str | Path | None = None,
        providers: str | None = None,
    ) -> 'Restorer':
        """Open a network file: .safetensors or .pth (see `network_file.load_network`), or .onnx of `refstar export`.

        Args:
            options: option file of the network, where its own file does not describe it.
            identity: name and file of a face-recognition network; None: the network's own person check, else the one
                that ships.
            identity_threshold: least cosine of the same person, for networks other than the one that ships.
            detector: file of a face detector, or a name of `refstar weights list`; None: all pictures are aligned.
            backend: `torch` or `onnx`; None: by the file's name.
            base: file of a released restorer (`BlindRestorer`), or its name, whose output is a second input.
            providers: of onnxruntime, as of :class:`OnnxNetwork`.

        Raises:
            RefStarError: a file is missing or of another kind, or there is a threshold that nothing uses.
        """
        by_name = 'onnx' if Path(path).suffix == '.onnx' else 'torch'
        if backend not in (None, by_name):
            hint = 'write one by `refstar export`' if backend == 'onnx' else 'it runs by the backend onnx'
            raise RefStarError(f'backend {backend}: {path} is no file for it; {hint}')
        if by_name == 'onnx':
            if precision != 'fp32':
                raise RefStarError(f'{precision}: an ONNX file has a precision of its own; see refstar export --fp16')
            engine = OnnxNetwork(path, device, providers)
        elif providers:
            raise RefStarError(f'--provider {providers}: {path} runs in torch; only ONNX files (refstar export) do not')
        else:
            engine = TorchEngine(load_network(path, device, options), device, precision)
        if identity not in (None, ('dlib', None)):
            checker = IdentityChecker.from_file(*identity, device=device, threshold=identity_threshold)
        else:
            checker = IdentityChecker.from_network(engine.net, identity_threshold)
        if checker is None and identity_threshold is not None:
            raise RefStarError(f'--identity_threshold {identity_threshold}: {NO_THRESHOLD}')
        checker = checker or IdentityChecker.shipped(device)
        faces = FaceDetector(resolve(detector), device) if detector else None
        if base:
            engine.add_base(base)
        return cls(engine, identity_checker=checker, detector=faces, max_pixels=max_pixels)

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self.engine.device

    @property
    def net(self) -> nn.Module:
        """The network in torch.

        Raises:
            RefStarError: there is only its ONNX file.
        """
        if self.engine.net is None:
            raise RefStarError('banks, and videos without --no_carry, need the network in torch, not its ONNX file')
        return self.engine.net

    def check(self, settings: RestoreSettings) -> None:
        """Raise RefStarError if the networks cannot do what the settings ask for."""
        self.engine.check(settings)
        if self.identity_checker is None and settings.on_wrong_identity == 'refuse':
            raise RefStarError('on_wrong_identity refuse: there is no network that compares people (identity_checker)')

    def supports(self, **settings: object) -> bool:
        """Return whether the networks can do what fields of :class:`RestoreSettings` ask for."""
        try:
            self.check(RestoreSettings(**settings))
        except RefStarError:
            return False
        return True

    # ----------------------------------------------------------------- references
    def people(self, sources: object, aligned: bool = False) -> list[Person]:
        """Read references: people, folders of photos or of one folder per person, `.refbank` files, photos (paths,
        Pillow images or arrays), or a list of any of these. The identity network groups photos of several people.
        `aligned`: square photos are aligned faces.

        Raises:
            RefStarError: there is no usable reference. One of several people without any is listed as `dropped`.
        """
        sources = [] if sources is None else sources if isinstance(sources, (list, tuple)) else [sources]
        people, errors = [source for source in sources if isinstance(source, Person)], {}
        for name, photos, one_person in open_sources([s for s in sources if not isinstance(s, Person)]):
            if isinstance(photos, Path):
                people.append(read_bank(photos, self.net, self.identity_checker, self.device))
                continue
            try:
                people += self.read_references(photos, name, one_person, aligned)
            except RefStarError as error:
                errors[name] = error
        if errors and not people:
            raise next(iter(errors.values()))
        names = unique(person.name for person in people)
        people = [replace(person, name=name) for person, name in zip(people, names, strict=True)]
        if errors:
            people[0].dropped = people[0].dropped | {name: str(error) for name, error in errors.items()}
        return people

    def prepare(
        self,
        faces: Sequence[AlignedFace],
        people: Sequence[Person],
        settings: RestoreSettings,
        alone: bool | None = None,
    ) -> list[AlignedFace]:
        """Choose references for all faces of one photo; `alone`: it shows one face only, None: if one is given.

        Raises:
            RefStarError: the references are of another person and the settings refuse that; or as of :meth:`check`.
        """
        self.check(settings)
        matches = match_people(faces, people, self.identity_checker, len(faces) == 1 if alone is None else alone)
        prepared = []
        for face, (person, identity) in zip(faces, matches, strict=True):
            if person is None:
                face = replace(face, chosen=[], identity=IdentityVerdict(), dropped={}, notes=[])
                if people:
                    face = replace(face, leave=settings.unmatched == 'leave', notes=[UNMATCHED[settings.unmatched]])
            else:
                face = choose_references(face, person, identity, settings)
                face.notes.extend([UNCHECKED] if identity.probability is None else [])
            if face.side > LARGER * self.size and not face.leave:
                face.notes.append(SOFT.format(self.size))
            prepared.append(face)
        return prepared

    # ----------------------------------------------------------------- restoring
    @timed('restore')
    def restore(self, faces: Sequence[AlignedFace], settings: RestoreSettings) -> list[AlignedFace]:
        """Restore prepared faces as one batch; those to `leave` come back as they were."""
        restored = iter(self._run([face for face in faces if not face.leave], settings))
        none = np.zeros((0, self.size, self.size), np.float32)
        return [
            replace(face, image=face.crop, mask=none, attribution=none) if face.leave else next(restored)
            for face in faces
        ]

    @torch.inference_mode()
    def _run(self, faces: Sequence[AlignedFace], settings: RestoreSettings) -> list[AlignedFace]:
        if not faces:
            return []
        out, aux = self.engine.run(faces, settings)
        if aux is not None and settings.colour:
            lq = stack_faces(faces, out.device)
            out = keep_colour(out, lq, settings.strength * aux['alpha'].float())
        restored = []
        for i, face in enumerate(faces):
            count = len(face.chosen)
            mask = attribution = np.zeros((count, self.size, self.size), np.float32)
            if aux is not None and count:
                mask = aux['mask'][i, :count, 0].float().cpu().numpy()
                carried = aux['carried'][i : i + 1].float()
                weight = resize_refs(aux['weight'][i : i + 1].float(), carried.shape[-2:])
                attribution = (settings.strength * weight * carried)[0, :count, 0].cpu().numpy()
            image = face.coloured(to_image(out[i]))
            restored.append(replace(face, image=image, mask=mask, attribution=attribution))
        return restored

    def __call__(self, lq: object, refs: object = None, strength: float = 1.0, **settings: object) -> AlignedFace:
        """Restore one FFHQ-aligned face: a path, a Pillow image, or an array uint8 (H, H, 3) RGB.

        References are what :meth:`people` takes; None: the backbone alone. Settings are fields of `RestoreSettings`.

        Raises:
            RefStarError: an image cannot be read or is not square, or the references are refused.
        """
        chosen = RestoreSettings(strength=strength, **settings)
        faces = self.find_faces(lq, aligned=True, label=str(lq) if isinstance(lq, (str, Path)) else 'lq')
        return self.restore(self.prepare(faces, self.people(refs, aligned=True), chosen), chosen)[0]

    def prepare_photo(
        self,
        picture: Picture,
        people: Sequence[Person],
        settings: RestoreSettings,
        photo_settings: PhotoSettings,
        label: str = 'the photo',
    ) -> list[AlignedFace]:
        """Find the faces of a photo and choose references for each, but for too small ones, which come last.

        `label` is its name in errors.

        Raises:
            RefStarError: enlarged, it is too large; there is no detector; or the references are refused.
        """
        width, height = (round(side * photo_settings.upscale) for side in picture.rgb.shape[1::-1])
        refuse_large(width, height, self.max_pixels, f'{label}, enlarged')
        faces = self.find_faces(picture, photo_settings.only_center_face, photo_settings.aligned, label)
        note = f'This face is narrower than {photo_settings.min_face:g} pixels: it was left as it was (--min_face).'

        def narrow(face: AlignedFace) -> bool:
            return face.found is not None and face.found.width < photo_settings.min_face

        left = [replace(face, leave=True, notes=[note]) for face in faces if narrow(face)]
        return self.prepare([face for face in faces if not narrow(face)], people, settings) + left

    def restore_photo(
        self, picture: object, refs: object = None, strength: float = 1.0, **settings: object
    ) -> RestoredPhoto:
        """Restore a whole photo (as of `picture_of`); each face gets the references of its own person.

        References are what :meth:`people` takes. Settings are fields of `RestoreSettings` and `PhotoSettings`.

        Raises:
            RefStarError: the photo cannot be read, there is no detector, or the references are refused.
        """
        names = [field.name for field in fields(PhotoSettings) if field.name in settings]
        photo_settings = PhotoSettings(**{name: settings.pop(name) for name in names})
        picture, chosen = picture_of(picture, self.max_pixels), RestoreSettings(strength=strength, **settings)
        faces = self.prepare_photo(picture, self.people(refs), chosen, photo_settings)
        return put_back(picture, [self.restore([face], chosen)[0] for face in faces], photo_settings)
