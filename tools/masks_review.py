"""`refstar masks review`: a local web page where a person goes through the masks of a collection with the keyboard."""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from refstar.curate.mask_review import MaskReview, Seen, StaleDecision
from refstar.curate.triplet_collection import Triplet
from refstar.utils.errors import CommandParser, RefStarError
from refstar.utils.image_files import open_image

from .cli_common import command
from .serve_page import add_serving_arguments, check_serving_arguments, mask_editor, mask_layer, painted_mask, serve

HEIGHT = 520  # of the pictures on the page
SHOW, ORDER = ('to do', 'reviewed', 'all'), ('as listed', 'doubtful first', 'confident first')
STATES = ('proposed', 'propagated', 'accepted', 'edited', 'rejected')
TOOLS = {'b': 'Brush', 'e': 'Erase', 'z': 'Undo'}  # key: label of the editor's button
BUTTONS = (  # id, text, keys, look
    ('previous', 'Previous', ('p', 'ArrowLeft'), 'secondary'),
    ('next', 'Next', ('n', 'ArrowRight'), 'secondary'),
    ('last', 'Latest', ('l',), 'secondary'),
    ('drop', 'Drop strokes', ('x',), 'secondary'),
    ('undo', 'Undo decision', ('u',), 'secondary'),
    ('reject', 'Reject', ('r',), 'stop'),
    ('accept', 'Accept', ('a',), 'primary'),
)
KEYS = {key: f'#{name}' for name, _, keys, _ in BUTTONS for key in keys}
KEYS |= {key: f'#editor button[aria-label={label}]' for key, label in TOOLS.items()}
HELP = """
`A` accept, with your strokes\\
`R` reject the pair\\
`U` take back the latest decision\\
`N` `→` next, `P` `←` previous\\
`L` the pair decided latest\\
`B` brush adds, `E` brush erases\\
`Z` undo a stroke, `X` drop all strokes

Select what this person's photo shows too and stays the same: skin with its moles, brows, irises.
Leave out what differs: an open against a closed mouth or eye, folds of the expression, glasses,
hair or a hand in front, the side that the other pose hides, background.

Every decision is on disk before the next pair shows."""
KEYBOARD = """() => document.addEventListener('keydown', (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest('textarea, input:not([type=radio], [type=checkbox])')) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (KEYS[key]) { event.preventDefault(); document.querySelector(KEYS[key])?.click(); }
})"""


@dataclass
class ReviewTab:
    """What one browser tab shows."""

    seen: Seen | None = None  # the pair; None: none passes the filters
    past: list[tuple[Seen, Seen]] = field(default_factory=list)  # before and after its decisions, the latest last


@dataclass(frozen=True)
class Filters:
    """Which pairs are shown, and in which order."""

    show: str = SHOW[0]
    states: tuple[str, ...] = STATES
    low: float | None = 0.0  # least confidence; None: the box was emptied
    high: float | None = 1.0
    order: str = ORDER[0]

    def names(self, review: MaskReview) -> list[str]:
        """Return the ids that pass."""
        triplets = [triplet for triplet in review.collection.triplets.values() if self._passes(triplet)]
        if self.order != ORDER[0]:
            triplets.sort(key=_confidence, reverse=self.order == ORDER[2])
        return [triplet.name for triplet in triplets]

    def _passes(self, triplet: Triplet) -> bool:
        if self.show != 'all' and bool(triplet.reviewed) != (self.show == 'reviewed'):
            return False
        if triplet.provenance in STATES and triplet.provenance not in self.states:
            return False
        high = 1.0 if self.high is None else self.high
        return triplet.confidence is None or (self.low or 0.0) <= triplet.confidence <= high


def _confidence(triplet: Triplet) -> float:
    return 0.5 if triplet.confidence is None else triplet.confidence


def neighbour(before: list[str], after: list[str], name: str | None, step: int) -> str | None:
    """Return the pair to show after `name`, by the ids that passed the filters when it was shown and that pass now."""
    if name not in before:
        return after[0] if after else None
    place = before.index(name)
    others = [*before[place + 1 :], *before[:place]][::step]
    return next((other for other in [*others, name] if other in set(after)), None)


class ReviewPage:
    """Build the page of a review and answer its buttons.

    The method of a button returns the id of the pair to show then; None: none passes the filters.
    """

    def __init__(self, review: MaskReview) -> None:
        self.review = review

    def build(self) -> Any:
        """Return the page, a `gradio.Blocks`."""
        import gradio as gr

        self.gr = gr
        with gr.Blocks(title='Mask review', analytics_enabled=False, delete_cache=(60, 3600), fill_width=True) as page:
            tab = gr.State()
            with gr.Sidebar(width=290):
                filters = [
                    gr.Radio(SHOW, value=SHOW[0], label='Show'),
                    gr.CheckboxGroup(list(STATES), value=list(STATES), label='State'),
                    gr.Number(0.0, label='Confidence from', minimum=0, maximum=1, step=0.05),
                    gr.Number(1.0, label='to', minimum=0, maximum=1, step=0.05),
                    gr.Dropdown(ORDER, value=ORDER[0], label='Order'),
                ]
                gr.Markdown(HELP)
            about = gr.HTML(elem_id='about', padding=False)
            with gr.Row():
                photo = gr.ImageSlider(
                    label='Photo | reference', interactive=False, format='jpeg', buttons=[], max_height=HEIGHT
                )
                editor = mask_editor('Reference: green may be used', HEIGHT)
            with gr.Row():
                buttons = {
                    name: gr.Button(f'{text} ({keys[0].upper()})', elem_id=name, variant=look, size='sm', min_width=60)
                    for name, text, keys, look in BUTTONS
                }
            inputs, outputs = [tab, editor, *filters], [tab, about, photo, editor]
            common = {'api_visibility': 'undocumented', 'concurrency_id': 'review', 'show_progress': 'hidden'}

            def on(event: Callable, action: Callable) -> None:
                def answer(tab: ReviewTab | None, drawn: dict | None, *values: Any) -> list:
                    return self.answer(action, tab or ReviewTab(), drawn, Filters(*values))

                event(answer, inputs, outputs, **common)

            for name, button in buttons.items():
                on(button.click, getattr(self, name))
            for box in filters:
                on(box.change, self.filter)
            on(page.load, self.filter)
        return page.queue(default_concurrency_limit=1)

    def answer(self, action: Callable, tab: ReviewTab, drawn: dict | None, filters: Filters) -> list:
        """Do what a button says, and return what the page shows then."""
        try:
            name = action(tab, drawn, filters)
        except StaleDecision as error:
            self.gr.Warning(str(error))
            name = tab.seen.name
        except RefStarError as error:
            self.gr.Warning(str(error))
            return [self.gr.skip()] * 4
        return self._show(tab, name, filters)

    # ----------------------------------------------------------------- buttons
    def accept(self, tab: ReviewTab, drawn: dict | None, filters: Filters) -> str | None:
        return self._decide(tab, filters, lambda seen: self.review.accept(seen, painted_mask(drawn, seen.mask)))

    def reject(self, tab: ReviewTab, drawn: dict | None, filters: Filters) -> str | None:
        return self._decide(tab, filters, self.review.reject)

    def undo(self, tab: ReviewTab, drawn: dict | None, filters: Filters) -> str:
        before, after = self._latest(tab, drawn)
        tab.past.pop()
        self.review.undo(before, after)
        self.gr.Info(f'Taken back: {before.name}', duration=2)
        return before.name

    def next(self, tab: ReviewTab, drawn: dict | None, filters: Filters) -> str | None:
        return self._go(tab, drawn, filters, 1)

    def previous(self, tab: ReviewTab, drawn: dict | None, filters: Filters) -> str | None:
        return self._go(tab, drawn, filters, -1)

    def last(self, tab: ReviewTab, drawn: dict | None, filters: Filters) -> str:
        return self._latest(tab, drawn)[1].name

    def drop(self, tab: ReviewTab, drawn: dict | None, filters: Filters) -> str | None:
        return tab.seen and tab.seen.name

    def filter(self, tab: ReviewTab, drawn: dict | None, filters: Filters) -> str | None:
        self._refuse_strokes(tab, drawn)
        names = filters.names(self.review)
        return tab.seen.name if tab.seen and tab.seen.name in names else next(iter(names), None)

    # ----------------------------------------------------------------- what they share
    def _decide(self, tab: ReviewTab, filters: Filters, decide: Callable[[Seen], Seen]) -> str | None:
        if tab.seen is None:
            raise RefStarError('There is no pair to decide on.')
        before, seen = filters.names(self.review), tab.seen
        tab.past.append((seen, decide(seen)))
        return neighbour(before, filters.names(self.review), seen.name, 1)

    def _go(self, tab: ReviewTab, drawn: dict | None, filters: Filters, step: int) -> str | None:
        self._refuse_strokes(tab, drawn)
        names = filters.names(self.review)
        return neighbour(names, names, tab.seen and tab.seen.name, step)

    def _latest(self, tab: ReviewTab, drawn: dict | None) -> tuple[Seen, Seen]:
        self._refuse_strokes(tab, drawn)
        if not tab.past:
            raise RefStarError('There is no decision of this tab.')
        return tab.past[-1]

    def _refuse_strokes(self, tab: ReviewTab, drawn: dict | None) -> None:
        mask = None if tab.seen is None else tab.seen.mask
        if mask is not None and not np.array_equal(painted_mask(drawn, mask), mask):
            raise RefStarError('Your strokes are not saved: A accepts the mask with them, X drops them.')

    def _show(self, tab: ReviewTab, name: str | None, filters: Filters) -> list:
        names, total = filters.names(self.review), len(self.review.collection.triplets)
        progress = f'{sum(self.review.counts().values())} of {total} reviewed'
        if name is None:
            tab.seen = None
            return [tab, f'<b>No pair passes the filters.</b> {progress}', None, None]
        seen = tab.seen = self.review.look(name)
        triplet = seen.triplet
        details = {'identity': triplet.identity, 'confidence': triplet.confidence, **triplet.details}
        place = f'{names.index(name) + 1} of {len(names)}' if name in names else 'not among the filtered'
        texts = [f'{key} {value}' for key, value in details.items() if value not in ('', None)]
        about = f'<b id="name">{escape(name)}</b> <span id="state">{escape(triplet.provenance)}</span> '
        about += f'{progress}, {place}<br>{escape(", ".join(texts))}'
        photo, reference = (self._picture(name, part) for part in ('gt', 'ref'))
        if seen.problem:
            self.gr.Warning(f'{seen.problem}; this pair can only be rejected.')
        both = None if photo is None or reference is None else (photo, reference)
        drawn = None if seen.mask is None or reference is None else mask_layer(reference, seen.mask)
        return [tab, about, both, drawn]

    def _picture(self, name: str, part: str) -> Image.Image | None:
        try:
            with open_image(self.review.collection.read(name, part), f'{part}/{name}') as file:
                return file.convert('RGB')
        except RefStarError as error:
            self.gr.Warning(str(error))
            return None


def add_arguments(p: CommandParser) -> None:
    """Describe the command line."""
    p.add_argument('root', type=Path, help='folder with gt/, ref/, mask/ and meta.csv')
    add_serving_arguments(p, 8411, 'whoever reaches it could see the photos and decide')


def review_masks(args: argparse.Namespace) -> None:
    """Serve the review until it is interrupted (Ctrl+C or SIGTERM), then say what was decided."""
    check_serving_arguments(args)
    review = MaskReview(args.root)
    try:
        keyboard = KEYBOARD.replace('KEYS', json.dumps(KEYS))
        serve(ReviewPage(review).build, args, review.notes, js=keyboard)
    finally:
        review.close()
    done = ', '.join(f'{number} {state}' for state, number in sorted(review.counts().items())) or 'none'
    print(f'reviewed, of {len(review.collection.triplets)}: {done}', flush=True)


main = command('refstar masks review', __doc__, add_arguments, review_masks)
