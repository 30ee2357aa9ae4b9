"""`refstar masks review`: a local web page where a person goes through the masks of a collection with the keyboard."""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from refstar.curate.mask_review import MaskReview, Seen, StaleDecision
from refstar.utils.errors import RefStarError

from .cli_common import run_command
from .serve_page import KEYBOARD, add_serving_arguments, checked_token, mask_editor, mask_layer, painted_mask, serve

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


@dataclass
class ReviewTab:
    """What one browser tab shows.

    Args:
        seen: the pair; None: none passes the filters.
        past: pairs before and after their decisions, the latest last.
    """

    seen: Seen | None = None
    past: list[tuple[Seen, Seen]] = field(default_factory=list)


@dataclass(frozen=True)
class Filters:
    """Which pairs are shown, and in which order."""

    show: str = SHOW[0]
    states: tuple[str, ...] = STATES
    low: float = 0.0
    high: float = 1.0
    order: str = ORDER[0]

    def names(self, review: MaskReview) -> list[str]:
        """Return the ids that pass."""
        low, high = self.low or 0.0, 1.0 if self.high is None else self.high  # an emptied box gives None
        found = []
        for name, triplet in review.collection.triplets.items():
            confidence, state = triplet.confidence, review.provenance(name)
            if self.show != 'all' and review.is_done(name) != (self.show == 'reviewed'):
                continue
            if state in STATES and state not in self.states:
                continue
            if low <= (low if confidence is None else confidence) <= high:
                found.append((confidence if confidence is not None else 0.5, name))
        if self.order != ORDER[0]:
            found.sort(key=lambda one: one[0], reverse=self.order == ORDER[2])
        return [name for _, name in found]


def neighbour(before: list[str], after: list[str], name: str | None, step: int) -> str | None:
    """Return the pair to show next.

    Args:
        before: ids that passed the filters when `name` was shown, in order.
        after: ids that pass now.
        name: id of the pair that is shown.
        step: 1 forwards, -1 backwards; around the ends.
    """
    if name not in before:
        return after[0] if after else None
    place = before.index(name)
    others = [*before[place + 1 :], *before[:place]][::step]
    return next((other for other in [*others, name] if other in set(after)), None)


class ReviewPage:
    """Build the page of a review and answer its buttons.

    Args:
        review: what it shows and writes to.
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
            shown = [tab, about, photo, editor]
            common = {'outputs': shown, 'concurrency_limit': 1, 'concurrency_id': 'review', 'show_progress': 'hidden'}
            for name, button in buttons.items():
                button.click(getattr(self, name), [tab, editor, *filters], api_visibility='undocumented', **common)
            for box in filters:
                box.change(self.filter, [tab, editor, *filters], api_visibility='undocumented', **common)
            page.load(self.filter, [tab, editor, *filters], api_visibility='private', **common)
        return page

    # ----------------------------------------------------------------- buttons
    def accept(self, tab: ReviewTab, drawn: dict | None, *filters: Any) -> list:
        return self._decide(tab, filters, lambda seen: self.review.accept(seen, painted_mask(drawn, seen.mask)))

    def reject(self, tab: ReviewTab, drawn: dict | None, *filters: Any) -> list:
        return self._decide(tab, filters, self.review.reject)

    def undo(self, tab: ReviewTab, drawn: dict | None, *filters: Any) -> list:
        if self._has_strokes(tab, drawn):
            return self._stay()
        if not tab.past:
            self.gr.Warning('There is no decision of this tab to take back.')
            return self._stay()
        before, after = tab.past.pop()
        try:
            self.review.undo(before, after)
            self.gr.Info(f'Taken back: {before.name}', duration=2)
        except RefStarError as error:
            self.gr.Warning(str(error))
        return self._show(tab, before.name, Filters(*filters))

    def next(self, tab: ReviewTab, drawn: dict | None, *filters: Any) -> list:
        return self._go(tab, drawn, filters, 1)

    def previous(self, tab: ReviewTab, drawn: dict | None, *filters: Any) -> list:
        return self._go(tab, drawn, filters, -1)

    def last(self, tab: ReviewTab, drawn: dict | None, *filters: Any) -> list:
        if self._has_strokes(tab, drawn) or not tab.past:
            return self._stay()
        return self._show(tab, tab.past[-1][1].name, Filters(*filters))

    def drop(self, tab: ReviewTab, drawn: dict | None, *filters: Any) -> list:
        return self._show(tab, tab.seen and tab.seen.name, Filters(*filters))

    def filter(self, tab: ReviewTab | None, drawn: dict | None, *filters: Any) -> list:
        tab = tab or ReviewTab()
        if self._has_strokes(tab, drawn):
            return self._stay()
        chosen = Filters(*filters)
        names = chosen.names(self.review)
        name = tab.seen.name if tab.seen and tab.seen.name in names else next(iter(names), None)
        return self._show(tab, name, chosen)

    # ----------------------------------------------------------------- what they share
    def _decide(self, tab: ReviewTab, filters: tuple, decide: Callable[[Seen], Seen]) -> list:
        chosen = Filters(*filters)
        if tab.seen is None:
            return self._stay()
        before = chosen.names(self.review)
        try:
            after = decide(tab.seen)
        except StaleDecision as error:
            self.gr.Warning(str(error))
            return self._show(tab, tab.seen.name, chosen)
        except RefStarError as error:
            self.gr.Warning(str(error))
            return self._stay()
        tab.past.append((tab.seen, after))
        return self._show(tab, neighbour(before, chosen.names(self.review), tab.seen.name, 1), chosen)

    def _go(self, tab: ReviewTab, drawn: dict | None, filters: tuple, step: int) -> list:
        if self._has_strokes(tab, drawn):
            return self._stay()
        chosen = Filters(*filters)
        names = chosen.names(self.review)
        return self._show(tab, neighbour(names, names, tab.seen and tab.seen.name, step), chosen)

    def _has_strokes(self, tab: ReviewTab, drawn: dict | None) -> bool:
        mask = None if tab.seen is None else tab.seen.mask
        if mask is None or np.array_equal(painted_mask(drawn, mask), mask):
            return False
        self.gr.Warning('Your strokes are not saved: A accepts the mask with them, X drops them.')
        return True

    def _stay(self) -> list:
        return [self.gr.skip()] * 4

    def _show(self, tab: ReviewTab, name: str | None, filters: Filters) -> list:
        names, counts = filters.names(self.review), self.review.counts()
        total = len(self.review.collection.triplets)
        progress = f'{sum(counts.values())} of {total} reviewed'
        if name is None:
            tab.seen = None
            return [tab, f'<b>No pair passes the filters.</b> {progress}', None, None]
        seen = tab.seen = self.review.look(name)
        triplet = self.review.collection.triplets[name]
        details = {'identity': triplet.identity, 'confidence': triplet.confidence, **triplet.details}
        place = f'{names.index(name) + 1} of {len(names)}' if name in names else 'not among the filtered'
        texts = [f'{key} {value}' for key, value in details.items() if value not in ('', None)]
        about = f'<b id="name">{escape(name)}</b> <span id="state">{escape(seen.provenance)}</span> '
        about += f'<span id="counts">{progress}</span>, <span id="place">{place}</span><br>{escape(", ".join(texts))}'
        photo, reference = (self._picture(name, part) for part in ('gt', 'ref'))
        if seen.problem:
            self.gr.Warning(f'{seen.problem}; this pair can only be rejected.')
        both = None if photo is None or reference is None else (photo, reference)
        drawn = None if seen.mask is None or reference is None else mask_layer(reference, seen.mask)
        return [tab, about, both, drawn]

    def _picture(self, name: str, part: str) -> Image.Image | None:
        try:
            return Image.open(BytesIO(self.review.collection.read(name, part))).convert('RGB')
        except (RefStarError, OSError, SyntaxError, ValueError) as error:
            self.gr.Warning(f'{part}/{name} is no picture ({error})')
            return None


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    p = argparse.ArgumentParser('refstar masks review', description=__doc__)
    p.add_argument('root', type=Path, help='folder with gt/, ref/, mask/ and meta.csv')
    add_serving_arguments(p, 8411, 'whoever reaches it could see the photos and decide')
    return p


def main(argv: list[str] | None = None) -> int:
    """Entry point of `refstar masks review`; returns the exit code."""
    args = parser().parse_args(argv)
    return run_command(lambda: review_masks(args))


def review_masks(args: argparse.Namespace) -> None:
    """Serve the review until it is interrupted (Ctrl+C or SIGTERM).

    Raises:
        RefStarError: the arguments make no sense, Gradio is absent, the folder is no collection ...
    """
    token = checked_token(args)
    review = MaskReview(args.root)
    try:
        keyboard = KEYBOARD.replace('KEYS', json.dumps(KEYS))
        serve(ReviewPage(review).build, args, token, review.notes, js=keyboard)
    finally:
        review.close()
    done = ', '.join(f'{number} {state}' for state, number in sorted(review.counts().items())) or 'none'
    print(f'reviewed, of {len(review.collection.triplets)}: {done}', flush=True)
