"""The page of `refstar app`: its layout, and the answers to what its users do."""

import argparse
import shutil
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refstar.utils.errors import RefStarError

from .serve_page import mask_editor, mask_layer, painted_mask, temporary_folder

if TYPE_CHECKING:
    from refstar.restore.photo_session import PhotoSession

QUEUE = 100  # requests that wait
PREVIEW = 1280  # longer side of the photo on the page
ARMS = {  # captions under the small pictures
    'before': 'Before',
    'without': 'Without',
    'with': 'With',
    'wrong': 'Another',
    'attribution': 'Origin',
}
ABOUT_ARMS = 'Without references, with them, with those of another person, and from which reference each pixel came.'
FIRST_STEPS = (
    'Give a bad photo and good photos of the same person. The bad one is restored with what the good ones show.'
)


@dataclass
class AppTab:
    """What one browser tab shows.

    Args:
        session: its photo and references.
        chosen: names of the references that the user chose; None: they are chosen for the face.
        brush: name of the reference under the brush.
        arm: what the slider compares with before.
        folder: holds the files to download.
    """

    session: 'PhotoSession'
    chosen: list[str] | None = None
    brush: str | None = None
    arm: str = 'with'
    folder: Path = field(default_factory=temporary_folder)


class AppPage:
    """Build the page and answer its users, one at a time.

    Args:
        restorer: opened networks.
        limits: fields of `LIMITS`.
        network: name of the network's file, for records.
    """

    def __init__(self, restorer: Any, limits: argparse.Namespace, network: str) -> None:
        self.restorer, self.limits, self.network = restorer, limits, network
        self.sessions: weakref.WeakSet = weakref.WeakSet()
        self.ended: list[AppTab] = []

    def build(self) -> Any:
        """Return the page, a `gradio.Blocks`."""
        import gradio as gr

        from refstar.restore.face_masks import REGIONS

        self.gr, seconds = gr, max(1, int(self.limits.minutes * 60))
        edits, fidelity = self.restorer.supports(use=('eyes',)), self.restorer.supports(fidelity=0.5)
        cache = min(60, seconds), seconds  # seconds between looks; age of files that are deleted
        with gr.Blocks(title='RefSTAR', analytics_enabled=False, delete_cache=cache, fill_width=True) as page:
            self.tab = gr.State(time_to_live=seconds, delete_callback=self.ended.append)
            with gr.Row():
                with gr.Column(scale=2, min_width=300):
                    photo = gr.File(label='Photo to restore', file_types=['image'], height=90, elem_id='give-photo')
                    self.photo = gr.Image(
                        label='Click the face to restore', interactive=False, visible=False, height=240, buttons=[],
                        elem_id='photo', format='jpeg',
                    )  # fmt: skip
                    references = gr.File(
                        label='Good photos of the same person', file_count='multiple', file_types=['image'], height=110,
                        elem_id='give-references',
                    )  # fmt: skip
                    self.references = gr.Gallery(
                        show_label=False, columns=4, height=150, allow_preview=False, interactive=False, visible=False,
                        buttons=[], format='jpeg', elem_id='references',
                    )  # fmt: skip
                    self.used = gr.CheckboxGroup(
                        label='References used, and why. Click a picture above to see its mask', visible=False,
                        elem_id='used',
                    )  # fmt: skip
                    automatic = gr.Button('Choose references for me', size='sm', elem_id='automatic')
                    with gr.Accordion('Compare with another person', open=False):
                        others = gr.File(
                            label='Photos of another person; they never go into the picture', file_count='multiple',
                            file_types=['image'], height=110, elem_id='give-others',
                        )  # fmt: skip
                with gr.Column(scale=3, min_width=380):
                    self.slider = gr.ImageSlider(
                        label='Before | after', interactive=False, format='png', max_height=460, elem_id='compare'
                    )
                    self.arms = gr.Gallery(
                        show_label=False, columns=5, height=130, allow_preview=False, interactive=False, buttons=[],
                        format='png', elem_id='arms',
                    )  # fmt: skip
                    gr.Markdown(f'Click one to compare it with before. {ABOUT_ARMS}')
                    self.verdict = gr.Markdown(FIRST_STEPS, elem_id='verdict')
                    with gr.Row():
                        picture = gr.Button('Picture (PNG)', size='sm', elem_id='save-picture')
                        record = gr.Button('Record (JSON)', size='sm', elem_id='save-record')
                        file = gr.DownloadButton(visible='hidden', elem_id='file')
                with gr.Column(scale=2, min_width=300):
                    self.editor = mask_editor('Mask: green is used', 380)
                    with gr.Row(visible=edits):
                        reset = gr.Button('Reset mask', size='sm', elem_id='reset')
                        paint = gr.Button('Use painted mask', size='sm', variant='primary', elem_id='paint')
                    strength = gr.Slider(0, 1, 1, step=0.05, label='Strength of the references', elem_id='strength')
                    with_w = gr.Slider(0, 1, 0.5, step=0.05, label='Fidelity', visible=fidelity)
                    colour = gr.Checkbox(True, label="Keep the photo's colours")
                    with gr.Accordion('Regions', open=False, visible=edits):
                        use = gr.CheckboxGroup(list(REGIONS), label='Take only these', elem_id='use')
                        keep = gr.CheckboxGroup(list(REGIONS), label='Leave these', elem_id='keep')
            settings = [self.tab, strength, with_w, colour, use, keep]
            self.fidelity = fidelity
            self.outputs = [
                self.tab, self.photo, self.references, self.used, self.slider, self.arms, self.editor, self.verdict
            ]  # fmt: skip
            common = {'concurrency_id': 'network', 'concurrency_limit': 1, 'show_progress': 'minimal'}

            def on(event: Callable, name: str, change: Callable, *inputs: Any) -> None:
                def answer(*values: Any) -> dict:
                    return self.answer(change, *values)

                event(answer, [*settings, *inputs], self.outputs, api_name=name, trigger_mode='always_last', **common)

            def on_select(event: Callable, name: str, change: Callable) -> None:
                def answer(tab, strength, w, colour, use, keep, at: gr.SelectData) -> dict:  # Gradio reads the names
                    return self.answer(change, tab, strength, w, colour, use, keep, at.index)

                event(answer, settings, self.outputs, api_name=name, **common)

            on(photo.upload, 'photo', self.take_photo, photo)
            on(references.change, 'references', self.take_references, references)
            on(others.change, 'others', self.take_others, others)
            on(self.used.input, 'choose', self.choose, self.used)
            on(automatic.click, 'automatic', self.choose)
            on(paint.click, 'paint', self.paint, self.editor)
            on(reset.click, 'reset', self.paint)
            on_select(self.photo.select, 'face', self.pick_face)
            on_select(self.references.select, 'brush', self.pick_reference)
            on_select(self.arms.select, 'arm', self.pick_arm)
            for event in (strength.release, with_w.release, colour.input, use.input, keep.input):
                on(event, 'restore', lambda tab: None)
            for button, name, function in (
                (picture, 'picture', self.write_picture),
                (record, 'record', self.write_record),
            ):
                done = button.click(function, self.tab, file, api_name=name, **common)
                done.success(None, js="() => setTimeout(() => document.querySelector('#file').click(), 200)")
        return page.queue(max_size=QUEUE, default_concurrency_limit=1)

    # ----------------------------------------------------------------- what the user gives
    def take_photo(self, tab: AppTab, path: str | None) -> None:
        if path is None:
            return
        tab.session.take_photo(Path(path).read_bytes(), Path(path).name)
        tab.chosen = tab.brush = None
        if sum(session.nbytes() for session in self.sessions) > self.limits.max_memory * 2**30:
            tab.session.photo = None
            raise RefStarError('there is no room for another photo; try again in some minutes, or take a smaller one')

    def take_references(self, tab: AppTab, paths: list[str] | None, others: bool = False) -> None:
        tab.chosen = tab.chosen if others else None
        paths, most = paths or [], self.limits.max_refs
        photos = {path: (Path(path).name, Path(path).read_bytes) for path in paths[:most]}
        tab.session.take_references(photos, others)
        if len(paths) > most:
            raise RefStarError(f'at most {most} photos are taken here; {Path(paths[most]).name} and later ones are not')

    def take_others(self, tab: AppTab, paths: list[str] | None) -> None:
        self.take_references(tab, paths, others=True)

    def choose(self, tab: AppTab, names: list[str] | None = None) -> None:
        tab.chosen = names

    def pick_face(self, tab: AppTab, at: Sequence[int]) -> None:
        session = tab.session
        x, y = np.array(at) / self._preview_scale(tab)
        boxes = [face.box for face in session.found if face is not None]
        inside = [i for i, box in enumerate(boxes) if box[0] <= x <= box[2] and box[1] <= y <= box[3]]
        if inside and inside[0] != session.face:
            session.face, tab.chosen, tab.brush = inside[0], None, None

    def pick_reference(self, tab: AppTab, index: int) -> None:
        tab.brush = tab.session.reference_faces()[index].name

    def pick_arm(self, tab: AppTab, index: int) -> None:
        tab.arm = self._arms(tab)[index][0]

    def paint(self, tab: AppTab, drawn: dict | None = None) -> None:
        shown = tab.session.shown.get(tab.session.face)
        if shown is None or tab.brush not in shown.used:
            raise RefStarError('click a reference that is used first; then paint its mask')
        mask = None if drawn is None else painted_mask(drawn, shown.mask_of(tab.brush)).astype(np.float32) / 255
        tab.session.paint(tab.brush, mask)

    # ----------------------------------------------------------------- what the user gets
    def answer(
        self,
        change: Callable,
        tab: AppTab | None,
        strength: float,
        fidelity: float,
        colour: bool,
        use: list[str],
        keep: list[str],
        *given: Any,
    ) -> dict:
        """Change what a tab holds, restore its face, and return what the page shows then."""
        from refstar.restore.faces import RestoreSettings
        from refstar.restore.photo_session import PhotoSession

        while self.ended:
            self._close(self.ended.pop())
        if tab is None:
            if change not in (self.take_photo, self.take_references, self.take_others):
                self.gr.Warning('There is no photo. A tab that is not used is forgotten after a while: give it again.')
                change, given = (lambda tab: None), ()
            tab = AppTab(PhotoSession(self.restorer, self.limits.max_pixels))
            self.sessions.add(tab.session)
        try:
            change(tab, *given)
        except RefStarError as error:
            self.gr.Warning(str(error))
        session = tab.session
        if session.photo is None:
            return self._empty(tab)
        w = fidelity if self.fidelity else None
        chosen = RestoreSettings(strength, w, colour=colour, use=tuple(use), keep=tuple(keep))
        try:
            session.restore(chosen, tab.chosen)
        except RefStarError as error:
            self.gr.Warning(str(error))
            return {self.tab: tab}
        return self._page(tab)

    def write_picture(self, tab: AppTab | None) -> str:
        return self._write(tab, 'png', lambda session: session.picture())

    def write_record(self, tab: AppTab | None) -> str:
        return self._write(tab, 'json', lambda session: session.record(self.network))

    def _write(self, tab: AppTab | None, suffix: str, content: Callable[['PhotoSession'], bytes]) -> str:
        if tab is None or not tab.session.shown:
            raise self.gr.Error('Nothing was restored yet.')
        path = tab.folder / f'{Path(tab.session.name).stem}_restored.{suffix}'
        path.write_bytes(content(tab.session))
        return str(path)

    def _close(self, tab: AppTab | None) -> None:
        if tab is not None:
            tab.session.close()
            shutil.rmtree(tab.folder, ignore_errors=True)

    def _empty(self, tab: AppTab) -> dict:
        faces = tab.session.reference_faces()
        references = self.gr.Gallery([(face.crop, face.name) for face in faces], visible=bool(faces))
        nothing = {self.slider: None, self.arms: None, self.editor: None, self.verdict: FIRST_STEPS}
        return {self.tab: tab, self.photo: self.gr.Image(visible=False), self.references: references, **nothing}

    def _page(self, tab: AppTab) -> dict:
        gr, session = self.gr, tab.session
        shown = session.shown[session.face]
        faces, used = session.reference_faces(), shown.used
        if tab.brush not in used:
            tab.brush = used[0] if used else None
        arms = self._arms(tab)
        name, after = next((arm for arm in arms if arm[0] == tab.arm), arms[-1])
        brush = next((face for face in faces if face.name == tab.brush), None)
        return {
            self.tab: tab,
            self.photo: gr.Image(self._preview(tab), visible=session.found != [None]),
            self.references: gr.Gallery([(face.crop, face.name) for face in faces], visible=bool(faces)),
            self.used: gr.CheckboxGroup(
                [(f'{face.name}: {shown.whys[face.name]}', face.name) for face in faces],
                value=used,
                visible=bool(faces),
            ),
            self.slider: gr.ImageSlider((arms[0][1], after), label=f'Before | {ARMS[name].lower()}'),
            self.arms: [(img, ARMS[name]) for name, img in arms],
            self.editor: None if brush is None else mask_layer(brush.crop, shown.mask_of(brush.name)),
            self.verdict: self._verdict(shown),
        }

    def _arms(self, tab: AppTab) -> list[tuple[str, np.ndarray]]:
        from refstar.restore.face_masks import attribution_map

        shown = tab.session.shown[tab.session.face]
        arms = [('before', shown.best.before), *((name, face.image) for name, face in shown.arms.items())]
        if 'with' in shown.arms:
            arms.append(('attribution', attribution_map(shown.best.image, shown.best.attribution)))
        return arms

    def _verdict(self, shown: Any) -> str:
        from refstar.restore.restore_report import legend

        lines = [f'{ARMS[name]}: {note}' for name, face in shown.arms.items() for note in face.notes]
        identity = shown.best.identity
        if identity.same:
            lines.insert(0, f'The references show the same person (similarity {identity.similarity:.2f}).')
        dots = [f'<span style="color:{colour}">■</span> {name}' for name, colour in legend(shown.best).items()]
        return '\n\n'.join([*lines, *([f'{ARMS["attribution"]}: {" ".join(dots)}'] if dots else [])])

    def _preview_scale(self, tab: AppTab) -> float:
        return min(1.0, PREVIEW / max(tab.session.photo.rgb.shape[:2]))

    def _preview(self, tab: AppTab) -> np.ndarray:
        """The photo for the screen, with a frame around every face; that of the face to restore is green."""
        import cv2

        scale, session = self._preview_scale(tab), tab.session
        img = session.photo.rgb.copy() if scale == 1 else cv2.resize(session.photo.rgb, None, fx=scale, fy=scale)
        for number, face in enumerate(session.found):
            if face is not None:
                left, top, right, bottom = (round(float(v) * scale) for v in face.box)
                colour = (16, 185, 129) if number == session.face else (255, 255, 255)
                cv2.rectangle(img, (left, top), (right, bottom), colour, max(1, max(img.shape) // 200))
        return img
