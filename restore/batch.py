"""Restoring everything that a command names: photo after photo, what fails is told and the rest goes on."""

import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import FORMATS, Picture, read_picture, refuse_large, write_picture
from refstar.utils.text_files import write_text

from .background import RealESRGAN
from .detection import FoundFace
from .face_plan import Plan, Result
from .face_record import face_record
from .input_files import files_of, inputs_of, is_video, named_after
from .mask_files import read_masks, write_masks
from .photo import Layout, restore_photo
from .references import Person, fit
from .restore_report import report_page, small_result
from .restore_settings import Settings
from .restorer import Restorer
from .video import VideoRestorer, restore_video


class Album:
    """One run of the command.

    Args:
        args: of `refstar restore`.
        restorer: opened networks.

    Raises:
        RefStarError: an argument is wrong, or there is nothing to restore, or no usable reference.
    """

    def __init__(self, args: Namespace, restorer: Restorer) -> None:
        self.args, self.restorer = args, restorer
        self.settings = settings_of(args)
        self.restorer.check(self.settings)  # an impossible fidelity is told at once
        self.layout = layout_of(args, restorer)
        if args.ref_mask_dir and not args.ref_mask_dir.is_dir():
            raise RefStarError(f'--ref_mask_dir {args.ref_mask_dir}: no such folder')
        if args.ref_mask_dir and restorer.engine.net is None:
            raise RefStarError('--ref_mask_dir: not with an ONNX file; take the network in torch')
        self.inputs = inputs_of(args.input)
        self.by_name = named_after(args.refs) if args.refs_by_name else {}
        self.outputs = output_names(self.inputs, args, self.files_of_references())
        self.people: list[Person] = [] if args.refs_by_name else restorer.people(args.refs or None)
        self.errors: list[str] = []
        self.shown: list[tuple[str, list[Result]]] = []  # for the report

    def run(self) -> list[str]:
        """Restores all inputs; returns the errors of those that failed."""
        for person in self.people:
            print(f'{person.name}: {len(person.references)} references')
            for name, why in person.dropped.items():
                print(f'  left out: {name}: {why}')
        counts, size = Counter(), self.layout.batch if self.args.aligned else 1
        with tqdm(total=len(self.inputs), desc='restore', unit='file', disable=None) as bar:
            for start in range(0, len(self.inputs), size):
                paths = self.inputs[start : start + size]
                records = (
                    self.aligned(paths) if self.args.aligned else [self.attempt(path, self.restore) for path in paths]
                )
                for record in filter(None, records):
                    counts['faces'] += len(record['faces'])
                    counts['without a face'] += not record['faces']
                bar.update(len(paths))
        done = len(self.inputs) - len(self.errors)
        blank = f', {counts["without a face"]} without a face' if counts['without a face'] else ''
        print(f'{self.args.output}: {done} restored ({counts["faces"]} faces{blank}), {len(self.errors)} failed')
        if self.args.report:
            write_text(self.args.output / 'report.html', report_page(self.shown, self.errors))
        return self.errors

    def attempt(self, path: Path, function: Callable, *args: Any) -> Any:
        """`function(path, ...)`; whatever is wrong with one input is told, the others are not to suffer."""
        try:
            return function(path, *args)
        except Exception as error:
            text = str(error) if isinstance(error, RefStarError) else f'{type(error).__name__}: {error}'
            self.errors.append(text if str(path) in text else f'{path}: {text}')
            tqdm.write(f'error: {self.errors[-1]}', file=sys.stderr)
            return None

    def files_of_references(self) -> set[Path]:
        """The files of all references that the inputs may get."""
        if not self.args.refs_by_name:
            return files_of(self.args.refs)
        return files_of([ref for path in self.inputs for ref in self.by_name.get(path.stem, [])])

    def people_of(self, path: Path) -> list[Person]:
        """Whose references an input gets."""
        if not self.args.refs_by_name:
            return self.people
        found = self.by_name.get(path.stem)
        if not found:
            raise RefStarError(f'{path}: no reference of this name in {", ".join(self.args.refs)}')
        return self.restorer.people(found)

    def restore(self, path: Path) -> dict[str, Any]:
        """Restores one input, writes it, and returns what was done."""
        if is_video(path):
            return self.video(path)
        picture = read_picture(path, self.restorer.max_pixels)
        width, height = (side * self.layout.upscale for side in picture.rgb.shape[1::-1])
        refuse_large(round(width), round(height), self.restorer.max_pixels, f'{path}, enlarged')
        result = restore_photo(
            self.restorer,
            picture,
            self.people_of(path),
            self.settings,
            self.layout,
            lambda plan, number: self.with_masks(plan, path, number),
        )
        return self.write(path, result.picture, result.faces, result.found)

    def aligned(self, paths: Sequence[Path]) -> list[dict[str, Any] | None]:
        """Restores some aligned faces as one batch."""
        planned = [(path, one) for path in paths if (one := self.attempt(path, self.planned)) is not None]
        results = self.batch([(path, plan) for path, (_, plan) in planned])
        return [
            self.attempt(path, self.write, picture.with_rgb(result.image), [result], [None])
            for (path, (picture, _)), result in zip(planned, results, strict=True)
            if result is not None
        ]

    def batch(self, plans: Sequence[tuple[Path, Plan]]) -> list[Result | None]:
        """Restores planned faces as one batch; where that fails, one by one, None for those that fail alone."""

        def restore(path: Path, plan: Plan) -> Result:
            return self.restorer.restore([plan], self.settings)[0]

        if len(plans) > 1:
            try:
                return self.restorer.restore([plan for _, plan in plans], self.settings)
            except Exception as error:
                why = f'{type(error).__name__}: {error}'
            tqdm.write(f'{len(plans)} faces at a time failed ({why}); now one by one', file=sys.stderr)
        return [self.attempt(path, restore, plan) for path, plan in plans]

    def planned(self, path: Path) -> tuple[Picture, Plan]:
        """An aligned face and its plan."""
        if is_video(path):
            raise RefStarError(f'{path}: --aligned is for photos')
        picture = read_picture(path, self.restorer.max_pixels)
        face = self.restorer.face(fit(picture, self.restorer.size, str(path)))
        plan = self.restorer.plan([face], self.people_of(path), self.settings)[0]
        return replace(picture, alpha=None), self.with_masks(plan, path, 0)

    def write(
        self, path: Path, picture: Picture, faces: Sequence[Result], found: Sequence[FoundFace | None]
    ) -> dict[str, Any]:
        """Writes a restored photo and what belongs to it; returns what was done."""
        write_picture(self.outputs[path], picture)
        for number, face in enumerate(faces):
            self.save_extras(path, number, face)
        if self.args.report:
            self.shown.append((path.name, [small_result(face) for face in faces]))
        return self.note(path, {'faces': [face_record(*both) for both in zip(faces, found, strict=True)]})

    def note(self, path: Path, done: dict[str, Any]) -> dict[str, Any]:
        """Writes the JSON beside an output, and prints what the user should know."""
        guard = self.restorer.guard
        record = {
            'input': str(path),
            'output': self.outputs[path].name,
            'network': str(self.args.network),
            'strength': self.settings.strength,
            'identity_check': guard.about() if guard else None,
            **done,
        }
        write_text(json_of(self.outputs[path]), json.dumps(record, indent=1, ensure_ascii=False) + '\n')
        for note in notes_of(record):
            tqdm.write(f'{path.name}: {note}')
        return record

    def video(self, path: Path) -> dict[str, Any]:
        """Restores a video and returns what was done."""
        people = self.people_of(path)
        frames = VideoRestorer(self.restorer, people, self.settings, self.layout, not self.args.no_carry)
        count = restore_video(path, self.outputs[path], frames, self.restorer.max_pixels)
        return self.note(path, {'frames': count, 'faces': frames.record()})

    def with_masks(self, plan: Plan, path: Path, number: int) -> Plan:
        """The plan with masks of `--ref_mask_dir`: of this face, else of the reference whatever the face."""
        root = self.args.ref_mask_dir
        return plan if root is None else read_masks(plan, [root / face_folder(self.outputs[path], number), root])

    def save_extras(self, path: Path, number: int, face: Result) -> None:
        """What `--save_mask` and `--save_faces` ask for."""
        name = face_folder(self.outputs[path], number)
        if self.args.save_mask and face.chosen:
            write_masks(self.args.output / 'masks' / name, face)
        if self.args.save_faces:
            for kind, img in (('before', face.before), ('restored', face.image)):
                write_picture(self.args.output / 'faces' / f'{name}_{kind}.png', Picture(img))


def restore_album(args: Namespace, open_restorer: Callable[[Namespace], Restorer]) -> list[str]:
    """Everything that the arguments of `refstar restore` ask for; returns the errors of inputs that failed."""
    settings_of(args)  # wrong numbers are told before a network is opened
    inputs_of(args.input)
    return Album(args, open_restorer(args)).run()


def settings_of(args: Namespace) -> Settings:
    """Arguments as :class:`Settings`."""
    return Settings(
        args.strength,
        args.fidelity,
        args.num_refs,
        not args.no_colour,
        args.on_wrong_identity,
        args.use,
        args.keep,
        args.mask_threshold,
    )


def layout_of(args: Namespace, restorer: Restorer) -> Layout:
    """Arguments as :class:`Layout`.

    Raises:
        RefStarError: they do not go together.
    """
    if args.batch_size < 1:
        raise RefStarError(f'--batch_size must be at least 1, got {args.batch_size}')
    if not 0.1 <= args.upscale <= 16:
        raise RefStarError(f'--upscale must be 0.1 to 16, got {args.upscale}')
    if args.aligned and args.upscale != 1:
        raise RefStarError(f'--upscale: not with --aligned, whose faces come out with {restorer.size} pixels')
    if not args.aligned and restorer.detector is None:
        raise RefStarError('whole photos need a face detector: give --detector FILE, or --aligned')
    background = None
    if args.bg_upsampler == 'realesrgan':
        background = RealESRGAN(args.bg_weights, str(restorer.device), args.tile, restorer.max_pixels)
    return Layout(args.upscale, background, args.only_center_face, args.paste, args.batch_size)


def output_names(inputs: Sequence[Path], args: Namespace, references: Collection[Path] = ()) -> dict[Path, Path]:
    """Where each input is written.

    Args:
        inputs: the photos and videos.
        args: of the command.
        references: their files, resolved.

    Raises:
        RefStarError: an input or a reference would be overwritten, or the format is unknown.
    """
    suffix = '' if args.ext == 'auto' else f'.{args.ext.lstrip(".").lower()}'
    if suffix and suffix not in FORMATS:
        raise RefStarError(f'--ext {args.ext}: unknown; there are {", ".join(key[1:] for key in FORMATS)}')
    if Path(args.suffix).name != args.suffix:
        raise RefStarError(f'--suffix {args.suffix}: must not hold a path')
    names, stems = {}, Counter(path.stem for path in inputs)
    for path in inputs:
        own = path.suffix.lower() if path.suffix.lower() in FORMATS else '.png'
        wanted = '.mp4' if is_video(path) else suffix or own
        stem = path.stem if stems[path.stem] == 1 else path.name.replace('.', '_')  # a.jpg beside a.png
        names[path] = args.output / f'{stem}{args.suffix}{wanted}'
    own, made = {path.resolve() for path in inputs} | set(references), Counter(names.values())
    for path, output in names.items():
        if output.resolve() in own:
            raise RefStarError(f'{output}: would be overwritten; give another --output or a --suffix')
        if made[output] > 1:
            raise RefStarError(f'{path}: another input would be written to {output} too; rename one, or --ext auto')
    return names


def json_of(output: Path) -> Path:
    """The file beside a restored photo."""
    return output.with_suffix('.json')


def face_folder(output: Path, number: int) -> str:
    """Name for what belongs to one face of a photo."""
    return f'{output.stem}_{number:02d}'


def notes_of(record: dict[str, Any]) -> list[str]:
    """What is printed of a record."""
    notes = [note for face in record['faces'] for note in face['notes']]
    return notes if record['faces'] else ['no face found; written as it was']
