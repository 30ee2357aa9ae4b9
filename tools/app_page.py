"""The page of `refstar app`: its layout, and the answers to what its users do."""

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from refstar.restore.face_masks import REGIONS, attribution_map
from refstar.restore.faces import RestoreSettings
from refstar.restore.photo_session import PhotoSession, ShownFace
from refstar.restore.restore_report import legend
from refstar.restore.restorer import Restorer
from refstar.utils.errors import RefStarError

from .serve_page import mask_editor, mask_layer, painted_mask

PREVIEW = 1280  # longer side of the photo on the page
# Captions under the small pictures.
ARMS = {'before': 'Before', 'without': 'Without', 'with': 'With', 'wrong': 'Another', 'attribution': 'Origin'}
ABOUT_ARMS = 'Without references, with them, with those of another person, and from which reference each pixel came.'
FIRST_STEPS = (
    'Give a bad photo and good photos of the same person. The bad one is restored with what the good ones show.'
)
FORGOTTEN = 'There is no photo. A tab that is not used is forgotten after a while: give it again.'
CLICK_DOWNLOAD = "() => setTimeout(() => document.querySelector('#file').click(), 200)"


@dataclass
class AppTab:
    """What one browser tab shows."""

    session: PhotoSession
    chosen: list[str] | None = None  # references that the user chose; None: they are chosen for the face
    brush: str | None = None  # the reference under the brush
    arm: str = 'with'  # what the slider compares with before
    folder: str = field(default_factory=lambda: tempfile.mkdtemp(dir=os.environ['GRADIO_TEMP_DIR']))  # downloads


class AppPage:
    """Build the page and answer its users, one at a time; `network` is the name of its file, for records."""

    def __init__(self, restorer: Restorer, limits: argparse.Namespace, network: str) -> None:
        self.restorer, self.limits, self.network = restorer, limits, network
        self.fidelity = restorer.supports(fidelity=0.5)

    def build(self) -> Any:
        """Return the page, a `gradio.Blocks`."""
        import gradio as gr

        self.gr, seconds = gr, max(1, int(self.limits.minutes * 60))
        edits, cache = self.restorer.supports(use=('eyes',)), (min(60, seconds), seconds)
        with gr.Blocks(title='RefSTAR', analytics_enabled=False, delete_cache=cache, fill_width=True) as page:
            self.tab = gr.State(time_to_live=seconds, delete_callback=_delete_files)
            with gr.Row():
                with gr.Column(scale=2, min_width=300):
                    photo = self._files('Photo to restore', 'give-photo', 'single')
                    self.photo = gr.Image(
                        label='Click the face to restore', interactive=False, visible=False, height=240, buttons=[],
                        elem_id='photo', format='jpeg',
                    )  # fmt: skip
                    references = self._files('Good photos of the same person', 'give-references')
                    self.references = self._gallery('references', 4, 150, visible=False)
                    self.used = gr.CheckboxGroup(
                        label='References used, and why. Click a picture above to see its mask', visible=False,
                        elem_id='used',
                    )  # fmt: skip
                    automatic = gr.Button('Choose references for me', size='sm')
                    with gr.Accordion('Compare with another person', open=False):
                        others = self._files('Photos of another person; they never go into the picture', 'give-others')
                with gr.Column(scale=3, min_width=380):
                    self.slider = gr.ImageSlider(
                        label='Before | after', interactive=False, format='png', max_height=460, elem_id='compare'
                    )
                    self.arms = self._gallery('arms', 5, 130)
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
                    with_w = gr.Slider(0, 1, 0.5, step=0.05, label='Fidelity', visible=self.fidelity)
                    colour = gr.Checkbox(True, label="Keep the photo's colours")
                    with gr.Accordion('Regions', open=False, visible=edits):
                        use = gr.CheckboxGroup(list(REGIONS), label='Take only these')
                        keep = gr.CheckboxGroup(list(REGIONS), label='Leave these')
            settings = [self.tab, strength, with_w, colour, use, keep]
            outputs = [
                self.tab, self.photo, self.references, self.used, self.slider, self.arms, self.editor, self.verdict
            ]  # fmt: skip
            common = {'concurrency_id': 'network', 'concurrency_limit': 1, 'show_progress': 'minimal'}

            def on(event: Callable, change: Callable, *inputs: Any) -> None:
                def answer(*values: Any) -> dict:
                    return self.answer(change, *values)

                name = change.__name__.removeprefix('take_')
                event(answer, [*settings, *inputs], outputs, api_name=name, trigger_mode='always_last', **common)

            def on_select(event: Callable, change: Callable) -> None:
                def answer(at: gr.SelectData, *values: Any) -> dict:  # Gradio fills in what has this type
                    return self.answer(change, *values, at.index)

                event(answer, settings, outputs, api_name=change.__name__, **common)

            on(photo.upload, self.take_photo, photo)
            on(references.change, self.take_references, references)
            on(others.change, self.take_others, others)
            on(self.used.input, self.choose, self.used)
            on(automatic.click, self.choose)
            on(paint.click, self.paint, self.editor)
            on(reset.click, self.paint)
            on_select(self.photo.select, self.pick_face)
            on_select(self.references.select, self.pick_reference)
            on_select(self.arms.select, self.pick_arm)
            for event in (strength.release, with_w.release, colour.input, use.input, keep.input):
                on(event, self.redraw)
            for button, write in ((picture, self.picture), (record, self.record)):
                written = button.click(write, self.tab, file, api_name=write.__name__, **common)
                written.success(None, js=CLICK_DOWNLOAD)
        return page.queue(max_size=100, default_concurrency_limit=1)

    def _files(self, label: str, elem_id: str, file_count: str = 'multiple') -> Any:
        return self.gr.File(label=label, file_count=file_count, file_types=['image'], height=110, elem_id=elem_id)

    def _gallery(self, elem_id: str, columns: int, height: int, visible: bool = True) -> Any:
        return self.gr.Gallery(
            show_label=False, columns=columns, height=height, allow_preview=False, interactive=False, buttons=[],
            visible=visible, format='png', elem_id=elem_id,
        )  # fmt: skip

    # ----------------------------------------------------------------- what the user gives
    def take_photo(self, tab: AppTab, path: str) -> None:
        tab.session.take_photo(path)
        tab.chosen = tab.brush = None

    def take_references(self, tab: AppTab, paths: list[str] | None, others: bool = False) -> None:
        if not others:
            tab.chosen = None
        paths, most = paths or [], self.limits.max_refs
        tab.session.take_references(paths[:most], others)
        if len(paths) > most:
            raise RefStarError(f'at most {most} photos are taken here; {Path(paths[most]).name} and later ones are not')

    def take_others(self, tab: AppTab, paths: list[str] | None) -> None:
        self.take_references(tab, paths, others=True)

    def choose(self, tab: AppTab, names: list[str] | None = None) -> None:
        tab.chosen = names

    def pick_face(self, tab: AppTab, at: Sequence[int]) -> None:
        x, y = np.array(at) / self._preview_scale(tab)
        for number, face in enumerate(tab.session.faces):
            left, top, right, bottom = face.found.box
            if left <= x <= right and top <= y <= bottom:
                tab.session.face, tab.chosen, tab.brush = number, None, None
                break

    def pick_reference(self, tab: AppTab, index: int) -> None:
        tab.brush = tab.session.reference_faces()[index].name

    def pick_arm(self, tab: AppTab, index: int) -> None:
        tab.arm = list(self._arms(tab))[index]

    def paint(self, tab: AppTab, drawn: dict | None = None) -> None:
        shown = tab.session.shown.get(tab.session.face)
        if shown is None or tab.brush not in shown.used:
            raise RefStarError('click a reference that is used first; then paint its mask')
        mask = None if drawn is None else painted_mask(drawn, shown.mask_of(tab.brush)).astype(np.float32) / 255
        tab.session.paint(tab.brush, mask)

    def redraw(self, tab: AppTab) -> None:
        """Restore by other settings."""

    # ----------------------------------------------------------------- what the user gets
    def answer(self, change: Callable, tab: AppTab | None, *values: Any) -> dict:
        """Change what a tab holds, restore its face, and return what the page shows then."""
        strength, fidelity, colour, use, keep, *given = values
        is_new, tab = tab is None, tab or AppTab(PhotoSession(self.restorer, self.limits.max_pixels))
        settings = RestoreSettings(
            strength, fidelity if self.fidelity else None, colour=colour, use=tuple(use), keep=tuple(keep)
        )
        try:
            if is_new and not change.__name__.startswith('take_'):
                raise RefStarError(FORGOTTEN)
            change(tab, *given)
        except RefStarError as error:
            self.gr.Warning(str(error))
        try:
            return self._page(tab, tab.session.restore(settings, tab.chosen) if tab.session.photo else None)
        except RefStarError as error:
            self.gr.Warning(str(error))
            return {self.tab: tab}

    def picture(self, tab: AppTab | None) -> str:
        return self._download(tab, 'png', lambda: tab.session.picture())

    def record(self, tab: AppTab | None) -> str:
        return self._download(tab, 'json', lambda: tab.session.record(self.network).encode())

    def _download(self, tab: AppTab | None, suffix: str, content: Callable[[], bytes]) -> str:
        if tab is None or not tab.session.shown:
            raise self.gr.Error('Nothing was restored yet.')
        path = Path(tab.folder, f'{Path(tab.session.name).stem}_restored.{suffix}')
        path.write_bytes(content())
        return str(path)

    def _page(self, tab: AppTab, shown: ShownFace | None) -> dict:
        gr, faces = self.gr, tab.session.reference_faces()
        gallery = gr.Gallery([(face.crop, face.name) for face in faces], visible=bool(faces))
        references = {self.tab: tab, self.references: gallery}
        if shown is None:
            return references
        if tab.brush not in shown.used:
            tab.brush = next(iter(shown.used), None)
        arms = self._arms(tab)
        arm = tab.arm if tab.arm in arms else list(arms)[-1]
        brush = next((face for face in faces if face.name == tab.brush), None)
        reasons = [(f'{face.name}: {shown.why(face.name)}', face.name) for face in faces]
        return references | {
            self.photo: gr.Image(self._preview(tab), visible=tab.session.faces[0].found is not None),
            self.used: gr.CheckboxGroup(reasons, value=shown.used, visible=bool(faces)),
            self.slider: gr.ImageSlider((arms['before'], arms[arm]), label=f'Before | {ARMS[arm].lower()}'),
            self.arms: [(img, ARMS[name]) for name, img in arms.items()],
            self.editor: None if brush is None else mask_layer(brush.crop, shown.mask_of(brush.name)),
            self.verdict: self._verdict(shown),
        }

    def _arms(self, tab: AppTab) -> dict[str, np.ndarray]:
        shown = tab.session.shown[tab.session.face]
        arms = {'before': shown.best.crop} | {name: face.image for name, face in shown.arms.items()}
        if 'with' in shown.arms:
            arms['attribution'] = attribution_map(shown.best.image, shown.best.attribution)
        return arms

    def _verdict(self, shown: ShownFace) -> str:
        lines = [f'{ARMS[name]}: {note}' for name, face in shown.arms.items() for note in face.notes]
        identity = shown.best.identity
        if identity.same:
            lines.insert(0, f'The references show the same person (similarity {identity.similarity:.2f}).')
        dots = [f'<span style="color:{colour}">■</span> {name}' for name, colour in legend(shown.best).items()]
        return '\n\n'.join([*lines, *([f'{ARMS["attribution"]}: {" ".join(dots)}'] if dots else [])])

    def _preview_scale(self, tab: AppTab) -> float:
        return min(1.0, PREVIEW / max(tab.session.photo.rgb.shape[:2]))

    def _preview(self, tab: AppTab) -> np.ndarray:
        """Return the photo for the screen, with a frame around every face; that of the face to restore is green."""
        scale, session = self._preview_scale(tab), tab.session
        img = cv2.resize(session.photo.rgb, None, fx=scale, fy=scale)
        for number, face in enumerate(session.faces):
            if face.found is not None:
                left, top, right, bottom = (round(float(v) * scale) for v in face.found.box)
                colour = (16, 185, 129) if number == session.face else (255, 255, 255)
                cv2.rectangle(img, (left, top), (right, bottom), colour, max(1, max(img.shape) // 200))
        return img


def _delete_files(tab: AppTab | None) -> None:
    if tab is not None:
        shutil.rmtree(tab.folder, ignore_errors=True)
