"""Restore videos: faces keep their references from frame to frame, and their correspondence is carried on.

PyAV reads and writes the frames; the sound is copied as it is.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch.nn.functional as F
from torch import Tensor, clamp, nn
from tqdm import tqdm

from refstar.utils.animations import change_animation, is_animation
from refstar.utils.errors import RefStarError
from refstar.utils.image_files import Picture, refuse_large

from .face_tracking import FaceTracker, Track
from .faces import AlignedFace, Person, RestoreSettings
from .photo import PhotoSettings, put_back
from .restore_report import face_record
from .restorer import UNMATCHED, Restorer

CARRIED = 0.6  # share of the last frame where both frames agree
AGREE = 1.5  # cells of the matching grid: larger differences follow the new frame
SAME = 5.0  # 8-bit steps of the blurred degraded face: smaller changes count as none


@dataclass
class VideoRestorer:
    """Restore the frames of one video in order; with `carry` a frame starts from the result of the frame before."""

    restorer: Restorer
    people: Sequence[Person]
    settings: RestoreSettings
    photo_settings: PhotoSettings
    carry: bool = True

    def __post_init__(self) -> None:
        self.tracker = FaceTracker(self.people, self.restorer.identity_checker)

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Restore the next frame, uint8 (H, W, 3) RGB -> (H * upscale, W * upscale, 3).

        Raises:
            RefStarError: enlarged, it has more pixels than the restorer takes.
        """
        width, height = (round(side * self.photo_settings.upscale) for side in rgb.shape[1::-1])
        refuse_large(width, height, self.restorer.max_pixels, 'a frame, enlarged')
        found = self.restorer.detect(rgb, self.photo_settings.only_center_face)
        found = [face for face in found if face.width >= self.photo_settings.min_face]
        tracks = [self.tracker.place(face) for face in found]
        faces = self.restorer.cut_faces(rgb, [track.found for track in tracks])
        tracks = [self.tracker.update(*both) for both in zip(tracks, faces, strict=True)]
        self._choose_references([track for track in tracks if not track.face.chosen])
        left = [track for track in tracks if track.face.leave]
        tracks = [track for track in tracks if not track.face.leave]
        faces = self._restore(tracks)
        if self.carry:
            faces = [smooth(track, face) for track, face in zip(tracks, faces, strict=True)]
        unchanged = self.restorer.restore([track.face for track in left], self.settings)
        for track, face in zip(tracks + left, faces + unchanged, strict=True):
            track.record = face_record(face)
        self.tracker.next_frame()
        return put_back(Picture(rgb), faces, self.photo_settings).picture.rgb

    def _choose_references(self, tracks: Sequence[Track]) -> None:
        """Choose references for faces without any; a person who is in the frame already is not taken twice."""
        present = self.tracker.in_frame()
        taken = {track.face.identity.person for track in present if track.face.chosen}
        left = [person for person in self.people if person.name not in taken]
        faces = [track.face for track in tracks]
        prepared = self.restorer.prepare(faces, left, self.settings, alone=len(present) == 1)
        if self.people and not left:  # all of them are in the frame already
            leave, note = self.settings.unmatched == 'leave', UNMATCHED[self.settings.unmatched]
            prepared = [replace(face, leave=leave, notes=[note]) for face in prepared]
        for track, face in zip(tracks, prepared, strict=True):
            track.face = face

    def _restore(self, tracks: Sequence[Track]) -> list[AlignedFace]:
        faces, size = [], self.photo_settings.batch_size
        for batch in (tracks[start : start + size] for start in range(0, len(tracks), size)):
            with carry_correspondence(self.restorer.net, batch) if self.carry else nullcontext():
                faces += self.restorer.restore([track.face for track in batch], self.settings)
        return faces

    def record(self) -> list[dict[str, Any]]:
        """Describe every face as it was last seen, and in how many frames it was."""
        return [{'track': t.number, 'frames': t.frames, 'last_frame': t.seen, **t.record} for t in self.tracker.tracks]


def smooth(track: Track, face: AlignedFace) -> AlignedFace:
    """Pull a result towards that of the frame before where the degraded face, but for its noise, did not change."""
    before, image = face.crop.astype(np.float32), face.image.astype(np.float32)
    if track.image is not None:
        cell = len(image) // 16 + 1
        change = np.abs(cv2.blur(cv2.blur(before - track.before, (cell, cell)), (cell, cell))).max(2, keepdims=True)
        image += CARRIED * np.clip(2 - change / SAME, 0, 1) * (track.image - image)
    track.before, track.image = before, image
    return replace(face, image=np.rint(image).astype(np.uint8))


@contextmanager
def carry_correspondence(net: nn.Module, tracks: Sequence[Track]) -> Iterator[None]:
    """While open, pull the network's correspondence of each face towards that of the frame before.

    It is pulled where both nearly agree: crops are aligned, so their pixels correspond. Changes follow at once.
    """
    original = net.refsel.predict

    def predict(lq: Tensor, ref: list[Tensor]) -> tuple[Tensor, Any]:
        logits, match = original(lq, ref)
        if len(lq) != len(tracks):  # the mask of one face is edited
            return logits, match
        for i, track in enumerate(tracks):
            count = len(track.face.chosen)
            if not count:
                continue
            flow, logit = match.flow[i, :count], logits[i, :count]
            if track.flow is not None and track.flow.shape == flow.shape:
                cells = (flow - track.flow).norm(dim=1, keepdim=True) * (flow.shape[-1] / 2)
                keep = CARRIED * clamp(2 - cells / AGREE, 0, 1)
                flow = flow + keep * (track.flow - flow)
                keep = F.interpolate(keep, logit.shape[-2:], mode='bilinear', align_corners=False)
                logit = logit + keep * (track.logits - logit)
                match.flows[-1][i, :count], logits[i, :count] = flow, logit
            track.flow, track.logits = flow.clone(), logit.clone()
        return logits, match

    net.refsel.predict = predict
    try:
        yield
    finally:
        del net.refsel.predict


# ------------------------------------------------------------------ files
def import_av() -> Any:
    """Import PyAV.

    Raises:
        RefStarError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise RefStarError("videos need PyAV: pip install 'refstar[video]'") from None
    return av


def restore_video(path: Path, output: Path, restore: Callable[[np.ndarray], np.ndarray], max_pixels: int) -> int:
    """Restore a video file or an animation picture by picture, and return their number.

    A video becomes an .mp4 file with its sound; an animation keeps its format. The file is written whole or not at all.
    `restore` maps frames, uint8 (H, W, 3) RGB, to frames.

    Raises:
        RefStarError: PyAV is missing, or the file is no complete video.
    """
    if is_animation(path):
        return change_animation(path, output, restore, max_pixels)
    av = import_av()
    part = output.with_name(f'.{output.stem}.part{output.suffix}')
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path)) as source, av.open(str(part), 'w') as target:
            video = source.streams.best('video')
            if video is None:
                raise RefStarError(f'{path}: holds no pictures')
            refuse_large(video.codec_context.width, video.codec_context.height, max_pixels, str(path))
            writer = FilmWriter(target, video, source.streams.audio)
            with tqdm(total=video.frames or None, desc=path.name, unit='frame', disable=None, leave=False) as bar:
                for packet in source.demux([video, *source.streams.audio]):
                    if packet.stream is not video:
                        sound = writer.sounds.get(packet.stream.index)
                        writer.add(sound(packet) if sound else [])
                        continue
                    for frame in packet.decode():
                        img = restore(upright(frame.to_ndarray(format='rgb24'), frame.rotation))
                        writer.add_frame(pad_to_even(img), frame)
                        bar.update()
            if not writer.count:
                raise RefStarError(f'{path}: holds no picture')
            writer.finish()
        part.replace(output)
    except (av.FFmpegError, OSError) as error:
        raise RefStarError(f'{path}: is not a readable video, or cannot be written ({error})') from None
    finally:
        part.unlink(missing_ok=True)
    return writer.count


class FilmWriter:
    """Write frames as H.264 at the times and in the colour space of the old ones, beside their sound.

    Nothing is written before the first frame: the streams of a file are fixed with its first packet.
    """

    def __init__(self, target: Any, video: Any, sounds: Sequence[Any]) -> None:
        self.target, self.video, self.writer = target, video, None
        self.sounds = {sound.index: Sound(target, sound) for sound in sounds if sound.codec_context}
        self.waiting: list[Any] = []  # packets before the first frame
        self.count, self.last = 0, None  # frames, time of the last one

    def add(self, packets: list[Any]) -> None:
        """Write packets, or keep them until there is a frame."""
        self.waiting += packets
        if self.writer is not None:
            self.target.mux(self.waiting)
            self.waiting = []

    def add_frame(self, img: np.ndarray, old: Any) -> None:
        """Write a frame, uint8 (H, W, 3) RGB with even sides, in the place of an old one."""
        self.writer = self.writer or self._start(img)
        new = type(old).from_ndarray(img, format='rgb24')
        new = new.reformat(format='yuv420p', dst_colorspace=old.colorspace, dst_color_range=old.color_range)
        new.pts, new.time_base = old.pts, old.time_base
        if self.last is not None and (new.pts is None or new.pts <= self.last):  # files without times, or broken ones
            new.pts = self.last + 1
        self.count, self.last = self.count + 1, new.pts
        self.add(self.writer.encode(new))

    def finish(self) -> None:
        """Write what the encoders have kept."""
        for encoder in (self.writer, *(sound.stream for sound in self.sounds.values() if not sound.copied)):
            self.add(encoder.encode(None))

    def _start(self, img: np.ndarray) -> Any:
        old, codec = self.video.codec_context, 'libx264' if 'libx264' in import_av().codecs_available else 'mpeg4'
        writer = self.target.add_stream(codec, rate=self.video.average_rate or 25)
        writer.height, writer.width = img.shape[:2]
        writer.pix_fmt = 'yuv420p'
        writer.time_base = writer.codec_context.time_base = self.video.time_base
        for tag in ('color_range', 'color_primaries', 'color_trc', 'colorspace'):
            setattr(writer.codec_context, tag, getattr(old, tag))
        writer.options = {'crf': '16'} if codec == 'libx264' else {'qscale': '2'}
        return writer


class Sound:
    """One sound of a film: copied, or encoded as AAC where .mp4 cannot hold it."""

    def __init__(self, target: Any, old: Any) -> None:
        self.copied = old.codec_context.codec.canonical_name in target.supported_codecs
        self.stream = (
            target.add_stream_from_template(old) if self.copied else target.add_stream('aac', rate=old.rate or 48000)
        )
        self.last = None

    def __call__(self, packet: Any) -> list[Any]:
        """Return what is to be written for a packet of the old sound."""
        if not self.copied:
            return [new for frame in packet.decode() for new in self.stream.encode(frame)]
        if packet.dts is None or (self.last is not None and packet.dts <= self.last):
            return []
        self.last, packet.stream = packet.dts, self.stream
        return [packet]


def upright(img: np.ndarray, degrees: float) -> np.ndarray:
    """Rotate a frame (counterclockwise) as a player shows it: phones store portrait videos in landscape format."""
    return np.ascontiguousarray(np.rot90(img, round(degrees / 90) % 4))


def pad_to_even(img: np.ndarray) -> np.ndarray:
    """Repeat the last row or column of a frame with odd sides: the codec needs even ones."""
    odd = [(0, side % 2) for side in img.shape[:2]]
    return np.ascontiguousarray(np.pad(img, [*odd, (0, 0)], mode='edge')) if any(o[1] for o in odd) else img
