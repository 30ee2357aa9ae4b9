"""Restore a list of files; report failures and continue."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from refstar.utils.errors import RefStarError
from refstar.utils.html_report import write_report
from refstar.utils.image_files import FORMATS, Picture, read_picture, write_picture
from refstar.utils.stopwatch import SPENT, timed
from refstar.utils.text_files import write_text

from .base_photos import as_background, read_base, with_base
from .faces import AlignedFace, Person, RestoreSettings
from .input_files import VIDEO_SUFFIXES, is_video, references_by_name, unique
from .photo import PhotoSettings, put_back
from .restore_report import face_record, read_masks, record_text, report_entry, write_masks
from .restorer import Restorer
from .video import VideoRestorer, restore_video

NO_FACE = 'No face was found: nothing was restored.'


@dataclass
class BatchRestorer:
    """Restore files one by one; aligned faces several at a time.

    Raises:
        RefStarError: settings do not fit the networks, an output would overwrite something, or no reference is usable.
    """

    restorer: Restorer
    inputs: Sequence[Path]  # photos and videos
    settings: RestoreSettings
    photo_settings: PhotoSettings
    output: Path  # folder
    refs: Sequence[str] = ()  # see `Restorer.people`
    refs_by_name: bool = False  # refs are folders; a file x.png gets refs/x.* and refs/x/ only
    base: Path | None = None  # folder of the same photos, as another program restored them
    ref_mask_dir: Path | None = None  # masks painted by the user, named as `save_mask` writes them
    carry: bool = True  # videos: a frame starts from the result of the frame before
    suffix: str = ''  # put after the name of every restored file
    ext: str = 'auto'  # format of photos; auto: as the input
    save_mask: bool = False
    save_faces: bool = False
    report: bool = False
    timing: bool = False  # print where the time went
    network: Path | str = ''  # file of the network, for the record

    def __post_init__(self) -> None:
        self.restorer.check(self.settings)
        if self.ref_mask_dir and not self.ref_mask_dir.is_dir():
            raise RefStarError(f'--ref_mask_dir {self.ref_mask_dir}: no such folder')
        if self.ref_mask_dir and self.restorer.engine.net is None:
            raise RefStarError('--ref_mask_dir: not with an ONNX file; take the network in torch')
        if self.base:
            self.restorer.engine.check_base()
        self.by_name = references_by_name(self.refs) if self.refs_by_name else {}
        self.outputs = self._output_names()
        self.people: list[Person] = [] if self.refs_by_name else self.restorer.people(self.refs or None)
        self.errors: list[str] = []
        self.entries: list[dict[str, Any]] = []  # of the report
        self.counts: Counter[str] = Counter()
        self.noted: Counter[str] = Counter()  # photos by note

    def _output_names(self) -> dict[Path, Path]:
        """Return where each input is written; two of one name are numbered.

        Raises:
            RefStarError: an input or a reference would be overwritten, or the format is unknown.
        """
        suffix = '' if self.ext == 'auto' else f'.{self.ext.lstrip(".").lower()}'
        if suffix and suffix not in FORMATS:
            raise RefStarError(f'--ext {self.ext}: unknown; there are {", ".join(key[1:] for key in FORMATS)}')
        if Path(self.suffix).name != self.suffix:
            raise RefStarError(f'--suffix {self.suffix}: must not hold a path')
        count = Counter(path.stem for path in self.inputs)
        stems = (path.stem if count[path.stem] == 1 else path.name.replace('.', '_') for path in self.inputs)
        names = {}
        for path, stem in zip(self.inputs, unique(stems, form='{}_{}'), strict=True):
            own = path.suffix.lower()
            wanted = suffix or (own if own in FORMATS else '.png')
            if is_video(path):
                wanted = '.mp4' if own in VIDEO_SUFFIXES else own  # animations keep their format
            names[path] = self.output / f'{stem}{self.suffix}{wanted}'
        sources = {path.resolve() for path in (*self.inputs, *map(Path, self.refs))}
        depth = 4 if self.refs_by_name else 3  # a reference lies so deep below what was named
        for output in filter(Path.exists, names.values()):
            if not sources.isdisjoint([output.resolve(), *output.resolve().parents][:depth]):
                raise RefStarError(f'{output}: would be overwritten; give another --output or a --suffix')
        return names

    def run(self) -> list[str]:
        """Restore all inputs; return the errors of those that failed."""
        for person in self.people:
            count = len(person.references)
            print(f'{person.name}: {count} good photo{"s" * (count > 1)}')
            for name, why in person.dropped.items():
                print(f'  left out: {name}: {why}')
        size = self.photo_settings.batch_size if self.photo_settings.aligned else 1
        with tqdm(total=len(self.inputs), desc='restore', unit='file', disable=None) as bar:
            for start in range(0, len(self.inputs), size):
                paths = self.inputs[start : start + size]
                self.restore_photos([path for path in paths if not is_video(path)])
                for path in filter(is_video, paths):
                    self.attempt(path, self.restore_video)
                bar.update(len(paths))
        for note, photos in self.noted.items():
            if photos > 1:
                print(f'{photos} photos: {note}')
        faces, done, left, blank = (self.counts[key] for key in ('faces', 'done', 'left', 'blank'))
        more = f', {left} left as they were' * (left > 0) + f', {blank} without a face' * (blank > 0)
        print(f'{self.output}: {done} restored ({faces} faces{more}), {len(self.inputs) - done} failed')
        if self.timing:
            print('seconds: ' + ', '.join(f'{stage} {seconds:.2f}' for stage, seconds in SPENT.most_common()))
        if self.report:
            content = {'title': 'Restored photos', 'errors': self.errors, 'photos': self.entries}
            write_report(self.output / 'report.html', 'restore.html', **content)
        return self.errors

    def attempt(self, path: Path, function: Callable, *args: Any) -> Any:
        """Call `function(path, *args)`; report an error and return None, so that the other inputs go on."""
        try:
            return function(path, *args)
        except Exception as error:
            return self.report_error(path, error)

    def report_error(self, path: Path, error: Exception) -> None:
        """Print an error of one input and keep it."""
        text = str(error) if isinstance(error, RefStarError) else f'{type(error).__name__}: {error}'
        self.errors.append(text if str(path) in text else f'{path}: {text}')
        tqdm.write(f'error: {self.errors[-1]}', file=sys.stderr)

    def people_of(self, path: Path) -> list[Person]:
        """Return whose references an input gets."""
        if not self.refs_by_name:
            return self.people
        found = self.by_name.get(path.stem)
        if not found:
            raise RefStarError(f'{path}: no reference of this name in {", ".join(self.refs)}')
        return self.restorer.people(found)

    # ----------------------------------------------------------------- photos
    def restore_photos(self, paths: Sequence[Path]) -> None:
        """Restore some photos, their faces `batch_size` at a time, and write them."""
        photos = {path: photo for path in paths if (photo := self.attempt(path, self.prepare_photo))}
        faces = [(path, face) for path, (*_, prepared) in photos.items() for face in prepared]
        restored: dict[Path, list[AlignedFace | None]] = {path: [] for path in photos}
        size = self.photo_settings.batch_size
        for batch in (faces[start : start + size] for start in range(0, len(faces), size)):
            for (path, _), face in zip(batch, self.restore_faces(batch), strict=True):
                restored[path].append(face)
        for path, (picture, settings, _) in photos.items():
            if None not in restored[path]:
                self.attempt(path, self.write_photo, picture, settings, restored[path])

    def prepare_photo(self, path: Path) -> tuple[Picture, PhotoSettings, list[AlignedFace]]:
        """Read a photo, find its faces, and choose references for each."""
        with timed('read'):
            picture = read_picture(path, self.restorer.max_pixels)
        people = self.people_of(path)
        faces = self.restorer.prepare_photo(picture, people, self.settings, self.photo_settings, str(path))
        if (root := self.ref_mask_dir) is not None:
            faces = [read_masks(face, [root / self.face_name(path, i), root]) for i, face in enumerate(faces)]
        if self.base is None:
            return picture, self.photo_settings, faces
        base = read_base(self.base, path, picture, self.restorer.max_pixels)
        settings = replace(self.photo_settings, background=partial(as_background, base))
        return picture, settings, [with_base(face, picture, base) for face in faces]

    def restore_faces(self, faces: Sequence[tuple[Path, AlignedFace]]) -> list[AlignedFace | None]:
        """Restore faces of some photos as one batch; where that fails, one by one, None for those that fail alone."""
        try:
            return self.restorer.restore([face for _, face in faces], self.settings)
        except Exception as error:
            if len(faces) == 1:
                return [self.report_error(faces[0][0], error)]
            why = f'{type(error).__name__}: {error}'
            tqdm.write(f'{len(faces)} faces at a time failed ({why}); now one by one', file=sys.stderr)
        return [restored for face in faces for restored in self.restore_faces([face])]

    @timed('write')
    def write_photo(self, path: Path, picture: Picture, settings: PhotoSettings, faces: Sequence[AlignedFace]) -> None:
        """Paste restored faces into their photo, and write it with its record, masks and faces."""
        write_picture(self.outputs[path], put_back(picture, faces, settings).picture)
        for number, face in enumerate(faces):
            name = self.face_name(path, number)
            if self.save_mask and face.chosen:
                write_masks(self.output / 'masks' / name, face)
            if self.save_faces and not face.leave:
                for kind, img in (('before', face.crop), ('restored', face.image)):
                    write_picture(self.output / 'faces' / f'{name}_{kind}.png', Picture(img))
        if self.report:
            self.entries.append({'name': path.name, 'faces': [report_entry(face) for face in faces]})
        self.write_record(path, {'faces': [face_record(face) for face in faces]})

    def face_name(self, path: Path, number: int) -> str:
        """Return the name of the files that belong to one face of a photo."""
        return f'{self.outputs[path].stem}_{number:02d}'

    # ----------------------------------------------------------------- videos and records
    def restore_video(self, path: Path) -> None:
        """Restore a video and write it with its record."""
        if self.photo_settings.aligned:
            raise RefStarError(f'{path}: --aligned is for photos')
        if self.base:
            raise RefStarError(f'{path}: --base with a folder is for photos')
        people = self.people_of(path)
        frames = VideoRestorer(self.restorer, people, self.settings, self.photo_settings, self.carry)
        count = restore_video(path, self.outputs[path], frames, self.restorer.max_pixels)
        self.write_record(path, {'frames': count, 'faces': frames.record()})

    def write_record(self, path: Path, done: dict[str, Any]) -> None:
        """Write the JSON beside an output, print its notes and count its faces."""
        output, faces = self.outputs[path], done['faces']
        done = {'output': output.name, 'strength': self.settings.strength, **done}
        text = record_text(str(path), str(self.network), self.restorer.identity_checker, **done)
        write_text(output.with_suffix('.json'), text, errors='backslashreplace')
        self.note(path, faces)
        restored = sum(face['restored'] for face in faces)
        self.counts.update(done=1, faces=restored, left=len(faces) - restored, blank=int(not faces))

    def note(self, path: Path, faces: Sequence[dict[str, Any]]) -> None:
        """Print the notes of a photo's faces, each text at its first photo; its later photos are counted."""
        found: dict[str, list[str]] = {} if faces else {NO_FACE: []}
        for number, face in enumerate(faces, 1):
            left, top, right, bottom = face.get('box', [0] * 4)
            for note in face['notes']:
                found.setdefault(note, []).append(f'{number} (at {(left + right) / 2:.0f}, {(top + bottom) / 2:.0f})')
        for note, where in found.items():
            which = f', face {" and ".join(where)}' if len(faces) > 1 else ''
            if not self.noted[note]:
                tqdm.write(f'{path.name}{which}: {note}')
            self.noted[note] += 1
