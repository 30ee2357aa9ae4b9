"""Restoring aligned faces with references. Whole photos: :mod:`photo`; videos: :mod:`video`."""

import inspect
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from ...data.picture import MAX_PIXELS, picture_of
from ...errors import RefStarError
from ...multi_reference import image_of
from ...reference_bank import ReferenceBank
from .attribution import shares
from .bank import read_bank
from .choose import assign, rank
from .colour import keep_colour
from .detect import FaceDetector
from .files import open_sources
from .guard import Guard, guard_by_file, guard_of
from .pixels import to_image, to_tensor
from .plan import Face, Identity, Plan, Result
from .references import Person, Reference, ReferenceReader, fit
from .settings import Settings
from .slots import edit_masks, encode, join, own_masks, pad
from .traits import traits_of

KEPT = 64  # encoded references in memory: some megabytes each
PRECISIONS = {'fp32': None, 'fp16': torch.float16, 'bf16': torch.bfloat16}


class Restorer:
    """Restores faces by a trained RefSTAR.

    Args:
        net: RefSTAR.
        device: where it runs.
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
        net: nn.Module,
        device: str = 'cpu',
        precision: str = 'fp32',
        guard: Guard | None = None,
        detector: FaceDetector | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        if not hasattr(net, 'refsel') or not hasattr(net, 'encode'):
            raise RefStarError(f'{type(net).__name__} takes no references; give a network of type RefSTAR')
        if precision not in PRECISIONS:
            raise RefStarError(f'precision is {precision!r}; known are {", ".join(PRECISIONS)}')
        self.device = torch.device(device)
        if precision == 'fp16' and self.device.type == 'cpu':
            raise RefStarError('fp16 needs a GPU; on the CPU take bf16 or fp32')
        self.net = net.to(self.device).eval().requires_grad_(False)
        self.precision = PRECISIONS[precision]
        self.guard = guard or guard_of(net)
        self.detector, self.max_pixels = detector, max_pixels
        self.reader = ReferenceReader(net.size, detector, self.guard, max_pixels)
        self._encoded: deque[Reference] = deque()
        self.arguments = inspect.signature(net.backbone.forward).parameters

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
    ) -> 'Restorer':
        """Opens a network file.

        Args:
            path: a .safetensors or .pth file, see :func:`refstar.network_file.load_network`.
            options: option file that describes it, where the file itself does not.
            device, precision, max_pixels: as of the class.
            identity: name and file of a face-recognition network to be the guard; None: the network's own, if any.
            identity_threshold: least cosine of the same person; None: the measured one.
            detector: file of a face detector, see :class:`FaceDetector`.

        Raises:
            RefStarError: a file is missing or of another kind.
        """
        from ...network_file import load_network

        net = load_network(path, device, options)
        if identity is not None:
            guard = guard_by_file(*identity, device=device, threshold=identity_threshold)
        else:
            guard = guard_of(net, identity_threshold)
        found = FaceDetector(detector, device) if detector else None
        return cls(net, device, precision, guard, found, max_pixels)

    @property
    def size(self) -> int:
        """Side of the network's images in pixels."""
        return self.net.size

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
        return people

    # ----------------------------------------------------------------- plans
    def face(self, crop: np.ndarray, points: np.ndarray | None = None) -> Face:
        """Measures a degraded face: aligned, uint8 (S, S, 3), RGB, with five points in its pixels if they are known."""
        embedding = self.guard.embed([crop], True)[0] if self.guard else None
        return Face(crop, traits_of(crop, points), embedding)

    def plan(
        self, faces: Sequence[Face], people: Sequence[Person], settings: Settings, alone: bool | None = None
    ) -> list[Plan]:
        """Chooses references for all faces of one photo, see :func:`~refstar.tools.restoration.choose.assign`.

        Raises:
            RefStarError: the references are of somebody else, and the settings refuse that.
        """
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
            notes.append('whether the references show the same person was not checked: no identity network is given')
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
    def kwargs(self, settings: Settings) -> dict[str, object]:
        """Arguments of the backbone: the fidelity where it has one, and no random noise."""
        kwargs: dict[str, object] = {'randomize_noise': False} if 'randomize_noise' in self.arguments else {}
        if settings.fidelity is not None:
            if 'w' not in self.arguments:
                name = type(self.net.backbone).__name__
                raise RefStarError(f'fidelity: {name} has no such control (CodeFormer has)')
            kwargs['w'] = settings.fidelity
        return kwargs

    def restore(self, plans: Sequence[Plan], settings: Settings) -> list[Result]:
        """Restores planned faces as one batch."""
        if not plans:
            return []
        kwargs, low_high = self.kwargs(settings), self.net.value_range
        half = nullcontext() if self.precision is None else torch.autocast(self.device.type, self.precision)
        with torch.inference_mode(), half:
            lq = torch.stack([to_tensor(plan.face.crop) for plan in plans]).to(self.device)
            given = (lq + 1) * ((low_high[1] - low_high[0]) / 2) + low_high[0]
            slots = max(len(plan.chosen) for plan in plans)
            if slots and settings.strength > 0:
                bank = self._bank(plans, given, slots, settings)
                out, aux = self.net(given, bank=bank, strength=settings.strength, return_aux=True, **kwargs)
            else:
                out, aux = self.net(given, **kwargs), None
            out = self.net.normalise(image_of(out)).float()
            if aux is not None and settings.colour:
                out = keep_colour(out, lq, settings.strength * aux['alpha'].float())
        return [self._result(plan, out, aux, i, settings) for i, plan in enumerate(plans)]

    def _encode(self, ref: Reference) -> ReferenceBank:
        """One reference, encoded; the last `KEPT` are remembered, those of banks always are."""
        if ref.encoded is None:
            self._encoded.append(ref)
            if len(self._encoded) > KEPT:
                self._encoded.popleft().encoded = None
        return encode(self.net, ref, self.device)

    def _bank(self, plans: Sequence[Plan], lq: Tensor, slots: int, settings: Settings) -> ReferenceBank:
        """One bank for a batch of faces, each with its own references."""
        banks = []
        donor = next(plan.chosen[0].reference for plan in plans if plan.chosen)
        for i, plan in enumerate(plans):
            refs = [choice.reference for choice in plan.chosen]
            if refs:
                bank = join([self._encode(ref) for ref in refs], 1)
                if settings.edits(refs):
                    bank = edit_masks(self.net, lq[i : i + 1], bank, refs, settings)
            else:  # nothing of it is valid
                bank = replace(self._encode(donor).apply(torch.zeros_like), mask=None)
            banks.append(pad(bank, slots))
        return join(own_masks(self.net, lq, banks), 0)

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
