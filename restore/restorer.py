"""Restoring aligned faces with references. Whole photos: :mod:`photo`; videos: :mod:`video`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import MAX_PIXELS, picture_of, to_image

from .attribution import shares
from .bank_file import read_bank
from .colour import keep_colour
from .detection import FaceDetector
from .engine import Engine, TorchEngine, engine_of, faces
from .face_attributes import traits_of
from .face_plan import Face, Identity, Plan, Result
from .identity_check import Guard, guard_by_file, guard_of
from .input_files import open_sources
from .reference_choice import assign, rank
from .references import Person, ReferenceReader, fit
from .restore_settings import Settings
from .unique_names import unique

NOBODY_COMPARES = 'no network is there that tells people apart; give --identity_weights (in Python: identity)'


class Restorer:
    """Restores faces by a trained RefSTAR.

    Args:
        net: RefSTAR, or an :class:`~refstar.restore.engine.Engine`.
        device: where it runs; of an engine: its own.
        precision: `fp32`, `fp16` (on a GPU) or `bf16`.
        guard: tells people apart; None: the network's own person check if it has one, else nobody is checked.
        detector: finds the faces of references (and of whole photos); None: all are aligned.
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
        net: nn.Module | Engine,
        device: str = 'cpu',
        precision: str = 'fp32',
        guard: Guard | None = None,
        detector: FaceDetector | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.engine = TorchEngine(net, device, precision) if isinstance(net, nn.Module) else net
        self.guard = guard or guard_of(self.engine.net)
        self.detector, self.max_pixels = detector, max_pixels
        self.reader = ReferenceReader(self.size, detector, self.guard, max_pixels)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        options: str | Path | None = None,
        device: str = 'cpu',
        precision: str = 'fp32',
        identity: tuple[str, str] | None = None,
        identity_threshold: float | None = None,
        detector: str | None = None,
        max_pixels: int = MAX_PIXELS,
        backend: str | None = None,
    ) -> 'Restorer':
        """Opens a network file.

        Args:
            path, options, backend: as of :func:`~refstar.restore.engine.engine_of`.
            device, precision, max_pixels: as of the class.
            identity: name and file of a face-recognition network to be the guard; None: the network's own, if any.
            identity_threshold: least cosine of the same person; None: the measured one.
            detector: file of a face detector, see :class:`FaceDetector`.

        Raises:
            RefStarError: a file is missing or of another kind, or there is a threshold and nothing that compares.
        """
        engine = engine_of(path, options, device, precision, backend)
        if identity is not None:
            guard = guard_by_file(*identity, device=device, threshold=identity_threshold)
        else:
            guard = guard_of(engine.net, identity_threshold)
        if guard is None and identity_threshold is not None:
            raise RefStarError(f'--identity_threshold {identity_threshold}: {NOBODY_COMPARES}')
        found = FaceDetector(detector, device) if detector else None
        return cls(engine, guard=guard, detector=found, max_pixels=max_pixels)

    @property
    def size(self) -> int:
        """Side of the network's images in pixels."""
        return self.engine.size

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
            what = 'banks, and videos without --no_carry,'
            raise RefStarError(f'{what} need the network itself (.safetensors or .pth), not its ONNX file')
        return self.engine.net

    # ----------------------------------------------------------------- references
    def people(self, sources: object) -> list[Person]:
        """The people of some references.

        Args:
            sources: None, a :class:`Person` or several, a folder of photos or of one folder per person, a `.refbank`, a
                photo (path, Pillow image or array), or a list of any of these. Photos in one list or folder are told
                apart by the guard.

        Raises:
            RefStarError: there is no usable reference among them. One person without any is left out, with a warning.
        """
        sources = [] if sources is None else sources if isinstance(sources, (list, tuple)) else [sources]
        people, errors = [source for source in sources if isinstance(source, Person)], []
        for name, photos, one_person in open_sources([s for s in sources if not isinstance(s, Person)]):
            if isinstance(photos, Path):
                people.append(read_bank(photos, self.net, self.guard, self.device))
                continue
            try:
                people += self.reader.read(photos, name, one_person)
            except RefStarError as error:
                errors.append(error)
        if errors and not people:
            raise errors[0]
        for error in errors:
            get_root_logger().warning('%s; left out', error)
        names = unique(person.name for person in people)
        return [replace(person, name=name) for person, name in zip(people, names, strict=True)]

    # ----------------------------------------------------------------- plans
    def check(self, settings: Settings) -> None:
        """Raises RefStarError if the networks cannot do what the settings ask for."""
        self.engine.check(settings)
        if self.guard is None and settings.on_wrong_identity != 'warn':
            raise RefStarError(f'--on_wrong_identity {settings.on_wrong_identity}: {NOBODY_COMPARES}')

    def face(self, crop: np.ndarray, points: np.ndarray | None = None) -> Face:
        """Measures a degraded face: aligned, uint8 (S, S, 3), RGB, with five points in its pixels if they are known."""
        embedding = self.guard.embed([crop], True)[0] if self.guard else None
        return Face(crop, traits_of(crop, points), embedding)

    def plan(
        self, faces: Sequence[Face], people: Sequence[Person], settings: Settings, alone: bool | None = None
    ) -> list[Plan]:
        """Chooses references for all faces of one photo, see :func:`~refstar.restore.reference_choice.assign`.

        Raises:
            RefStarError: the references are of somebody else, and the settings refuse that; or as of :meth:`check`.
        """
        self.check(settings)
        threshold = self.guard.threshold if self.guard else None
        found = assign([face.embedding for face in faces], people, threshold, alone)
        return [self._plan(face, *who, bool(people), settings) for face, who in zip(faces, found, strict=True)]

    def _plan(
        self, face: Face, person: Person | None, similarity: float | None, asked: bool, settings: Settings
    ) -> Plan:
        if person is None:
            return Plan(face, [], Identity(), {}, ['nobody of the references is like this face'] if asked else [])
        threshold = None if similarity is None else self.guard.threshold
        same = None if similarity is None else similarity >= threshold
        identity = Identity(person.name, similarity, threshold, same)
        ranked, dropped, notes = rank(face.traits, face.embedding, person), dict(person.dropped), []
        if same is None:
            why = 'an ONNX file holds no person check' if self.engine.net is None else 'no identity network is given'
            notes.append(f'whether the references show the same person was not checked: {why} (--identity_weights)')
        elif not same:
            text = f'the references of {person.name} are likely of somebody else'
            text += f' (similarity {similarity:.2f}, the same person has {threshold:.2f} or more)'
            if settings.on_wrong_identity == 'refuse':
                raise RefStarError(f'{text}; refused')
            if settings.on_wrong_identity == 'drop':
                dropped |= {choice.reference.name: 'likely somebody else' for choice in ranked}
                return Plan(face, [], replace(identity, person=None), dropped, [f'{text}; not used'])
            notes.append(f'{text}; used all the same')
        for choice in ranked[settings.num_refs :]:
            dropped[choice.reference.name] = f'less useful than {settings.num_refs} others'
        return Plan(face, ranked[: settings.num_refs], identity, dropped, notes)

    # ----------------------------------------------------------------- restoring
    def restore(self, plans: Sequence[Plan], settings: Settings) -> list[Result]:
        """Restores planned faces as one batch."""
        if not plans:
            return []
        with torch.inference_mode():
            out, aux = self.engine.run(plans, settings)
            if aux is not None and settings.colour:
                lq = faces(plans, out.device)
                out = keep_colour(out, lq, settings.strength * aux['alpha'].float())
        return [self._result(plan, out, aux, i, settings) for i, plan in enumerate(plans)]

    def _result(self, plan: Plan, out: Tensor, aux: dict | None, i: int, settings: Settings) -> Result:
        count = len(plan.chosen)
        mask = attribution = np.zeros((count, self.size, self.size), np.float32)
        if aux is not None and count:
            mask = aux['mask'][i, :count, 0].float().cpu().numpy()
            attribution = shares(aux, i, settings.strength)[:count]
        image, before = to_image(out[i]), plan.face.crop
        return Result(image, before, mask, attribution, plan.identity, plan.chosen, plan.dropped, plan.notes)

    def __call__(self, lq: object, refs: object = None, strength: float = 1.0, **settings: object) -> Result:
        """Restores one aligned face.

        Args:
            lq: FFHQ-aligned and square: a path, a Pillow image, or an array uint8 (H, H, 3) RGB.
            refs: what :meth:`people` takes; None: the backbone alone.
            strength: 0 (backbone) to 1.
            **settings: fields of :class:`Settings`.

        Raises:
            RefStarError: an image cannot be read or is not square, or the references are refused.
        """
        chosen = Settings(strength=strength, **settings)
        crop = fit(picture_of(lq, self.max_pixels), self.size, str(lq) if isinstance(lq, (str, Path)) else 'lq')
        return self.restore(self.plan([self.face(crop)], self.people(refs), chosen), chosen)[0]
