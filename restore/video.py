"""Videos: faces are followed from frame to frame, keep their references, and what was matched is carried on.

Frames are read and written by PyAV; the sound is copied as it is.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from refstar.utils.errors import RefStarError
from refstar.utils.image_files import refuse_large

from .face_plan import Result
from .face_record import face_record
from .face_tracking import Track, Tracks
from .photo import Layout, cut_faces, find_faces, put_back
from .references import Person
from .restore_settings import Settings
from .restorer import Restorer

CARRIED = 0.6  # how much of the last frame's correspondence is kept where both agree
AGREE = 1.5  # cells of the matching grid
SAME = 5.0  # 8-bit steps of the degraded face, blurred, below which a place is taken to be what it was


class VideoRestorer:
    """Restores the frames of one video, in order.

    Args:
        restorer: with a detector.
        people: whose references there are.
        settings, layout: as for a photo.
        carry: correspondence and result of a frame start from the one before.
    """

    def __init__(
        self, restorer: Restorer, people: Sequence[Person], settings: Settings, layout: Layout, carry: bool = True
    ) -> None:
        self.restorer, self.people, self.settings, self.layout = restorer, people, settings, layout
        self.carry = carry
        self.tracks = Tracks(people, restorer.guard)

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """The next frame, uint8 (H, W, 3) RGB -> restored, (H * upscale, W * upscale, 3).

        Raises:
            RefStarError: enlarged, it has more pixels than the restorer takes.
        """
        width, height = (round(side * self.layout.upscale) for side in rgb.shape[1::-1])
        refuse_large(width, height, self.restorer.max_pixels, 'a frame, enlarged')
        tracks = [self.tracks.at(found) for found in find_faces(self.restorer, rgb, self.layout.only_center)]
        faces, matrices = cut_faces(self.restorer, rgb, [track.found for track in tracks])
        tracks = [self.tracks.recognise(*both) for both in zip(tracks, faces, strict=True)]
        self._decide([track for track in tracks if not track.plan.chosen])
        results = self._restore(tracks)
        if self.carry:
            results = [calm(track, result) for track, result in zip(tracks, results, strict=True)]
        for track, result in zip(tracks, results, strict=True):
            track.shown = face_record(result, track.found)
        self.tracks.next_frame()
        return put_back(rgb, results, matrices, self.layout)[0]

    def _decide(self, tracks: Sequence[Track]) -> None:
        """Chooses references for faces that have none yet; nobody else's who is in the frame already."""
        seen = self.tracks.in_frame()
        taken = {track.plan.identity.person for track in seen if track.plan.chosen}
        left = [person for person in self.people if person.name not in taken]
        plans = self.restorer.plan([track.plan.face for track in tracks], left, self.settings, len(seen) == 1)
        for track, plan in zip(tracks, plans, strict=True):
            track.plan = plan

    def _restore(self, tracks: Sequence[Track]) -> list[Result]:
        results, batch = [], self.layout.batch
        for start in range(0, len(tracks), batch):
            part = tracks[start : start + batch]
            with carried(self.restorer.net, part) if self.carry else nullcontext():
                results += self.restorer.restore([track.plan for track in part], self.settings)
        return results

    def record(self) -> list[dict[str, Any]]:
        """Of every face, as it was last seen, and in how many frames it was."""
        return [{'track': t.number, 'frames': t.frames, 'last_frame': t.seen, **t.shown} for t in self.tracks.all]


def calm(track: Track, result: Result) -> Result:
    """The result pulled towards that of the frame before where the degraded face, but for its noise, did not change."""
    before, image = result.before.astype(np.float32), result.image.astype(np.float32)
    if track.image is not None:
        cell = len(image) // 16 + 1
        change = np.abs(cv2.blur(cv2.blur(before - track.before, (cell, cell)), (cell, cell))).max(2, keepdims=True)
        image += CARRIED * np.clip(2 - change / SAME, 0, 1) * (track.image - image)
    track.before, track.image = before, image
    return replace(result, image=np.rint(image).astype(np.uint8))


@contextmanager
def carried(net: nn.Module, tracks: Sequence[Track]) -> Iterator[None]:
    """While open, the network's correspondence of each face is pulled towards that of the frame before, where both
    nearly agree; crops are aligned, so their pixels correspond. What changed, follows at once."""
    original = net.refsel.predict

    def compare(lq: Tensor, ref: list[Tensor]) -> tuple[Tensor, Any]:
        logits, match = original(lq, ref)
        for i, track in enumerate(
            tracks if len(lq) == len(tracks) else ()
        ):  # else it is one face's mask that is edited
            count = len(track.plan.chosen)
            if not count:
                continue
            flow, logit = match.flow[i, :count], logits[i, :count]
            if track.flow is not None and track.flow.shape == flow.shape:
                cells = (flow - track.flow).norm(dim=1, keepdim=True) * (flow.shape[-1] / 2)
                keep = CARRIED * torch.clamp(2 - cells / AGREE, 0, 1)
                flow = flow + keep * (track.flow - flow)
                keep = torch.nn.functional.interpolate(keep, logit.shape[-2:], mode='bilinear', align_corners=False)
                logit = logit + keep * (track.logits - logit)
                match.flows[-1][i, :count], logits[i, :count] = flow, logit
            track.flow, track.logits = flow.clone(), logit.clone()
        return logits, match

    net.refsel.predict = compare
    try:
        yield
    finally:
        del net.refsel.predict


# ------------------------------------------------------------------ files
def require_av() -> Any:
    """The package av (PyAV).

    Raises:
        RefStarError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise RefStarError("videos need PyAV: pip install 'refstar[video]'") from None
    return av


def restore_video(path: Path, output: Path, restore: Callable[[np.ndarray], np.ndarray], max_pixels: int) -> int:
    """Restores the frames of a video file one by one; its sound is copied. Written whole or not at all.

    Args:
        path: the video.
        output: an .mp4 file.
        restore: frame uint8 (H, W, 3) RGB -> restored frame, all of one size.
        max_pixels: of a frame.

    Returns:
        How many frames there were.

    Raises:
        RefStarError: PyAV is missing, or the file is no complete video.
    """
    av = require_av()
    part = output.with_name(f'.{output.stem}.part{output.suffix}')
    count = 0
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path)) as source, av.open(str(part), 'w') as target:
            if not source.streams.video:
                raise RefStarError(f'{path}: holds no pictures')
            video = source.streams.video[0]
            refuse_large(video.codec_context.width, video.codec_context.height, max_pixels, str(path))
            sounds = {s.index: target.add_stream_from_template(s) for s in source.streams.audio}
            writer = None
            streams = [video, *source.streams.audio]
            with tqdm(total=video.frames or None, desc=path.name, unit='frame', disable=None, leave=False) as bar:
                for packet in source.demux(streams):
                    if packet.stream.index in sounds:
                        if packet.dts is not None:
                            packet.stream = sounds[packet.stream.index]
                            target.mux(packet)
                        continue
                    for frame in packet.decode():
                        img = even(restore(upright(frame.to_ndarray(format='rgb24'), frame.rotation)))
                        if writer is None:
                            writer = _writer(av, target, video, img)
                        made = av.VideoFrame.from_ndarray(img, format='rgb24')
                        made.pts, made.time_base = frame.pts, frame.time_base
                        target.mux(writer.encode(made))
                        count += 1
                        bar.update()
            if writer is None:
                raise RefStarError(f'{path}: holds no picture')
            target.mux(writer.encode(None))
        part.replace(output)
    except (av.FFmpegError, OSError) as error:
        raise RefStarError(f'{path}: is not a readable video, or cannot be written ({error})') from None
    finally:
        part.unlink(missing_ok=True)
    return count


def upright(img: np.ndarray, degrees: float) -> np.ndarray:
    """A frame as a player shows it: telephones store portrait films lying, with the angle (counterclockwise) beside."""
    return np.ascontiguousarray(np.rot90(img, round(degrees / 90) % 4))


def even(img: np.ndarray) -> np.ndarray:
    """A frame whose sides are even, as the codec wants them: an odd one is doubled at the edge."""
    odd = [(0, side % 2) for side in img.shape[:2]]
    return np.ascontiguousarray(np.pad(img, [*odd, (0, 0)], mode='edge')) if any(o[1] for o in odd) else img


def _writer(av: Any, target: Any, video: Any, img: np.ndarray) -> Any:
    """The stream that frames like `img` are written to."""
    codec = 'libx264' if 'libx264' in av.codecs_available else 'mpeg4'
    writer = target.add_stream(codec, rate=video.average_rate or 25)
    writer.height, writer.width = img.shape[:2]
    writer.pix_fmt = 'yuv420p'
    writer.time_base = video.time_base
    writer.codec_context.time_base = video.time_base
    writer.options = {'crf': '16'} if codec == 'libx264' else {'qscale': '2'}
    return writer
