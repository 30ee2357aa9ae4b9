"""`refstar masks review`: a local web page where a person goes through the masks of a collection with the keyboard."""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from refstar.curate.mask_review import MaskReview, Seen, StaleDecision
from refstar.utils.errors import CommandParser, RefStarError
from refstar.utils.image_files import open_image

from .cli_common import command
from .serve_page import add_serving_arguments, check_serving_arguments, mask_editor, mask_layer, painted_mask, serve

HEIGHT = 520  # of the pictures on the page
SHOW, ORDER = ('to do', 'reviewed', 'all'), ('as listed', 'doubtful first', 'confident first')
TOOLS = {'b': 'Brush', 'e': 'Erase', 'z': 'Undo'}  # key: label of the editor's button
BUTTONS = (  # id, text, keys, look
    ('previous', 'Previous', ('p', 'ArrowLeft'), 'secondary'),
    ('next', 'Next', ('n', 'ArrowRight'), 'secondary'),
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


def neighbour(before: list[str], after: list[str], name: str | None, step: int) -> str | None:
    """Return the pair to show after `name`, by the ids that passed the filters when it was shown and that pass now."""
    if name not in before:
        return after[0] if after else None
    place = before.index(name)
    others = [*before[place + 1 :], *before[:place]][::step]
    return next((other for other in [*others, name] if other in set(after)), None)


class ReviewPage:
    """Build the page of a review and answer its buttons."""

    def __init__(self, review: MaskReview) -> None:
        self.review = review

    def build(self) -> Any:
        """Return the page, a `gradio.Blocks`."""
        import gradio as gr

        self.gr = gr
        with gr.Blocks(title='Mask review', analytics_enabled=False, delete_cache=(60, 3600), fill_width=True) as page:
            tab = gr.State()
            with gr.Sidebar(width=290):
                filters = [gr.Radio(SHOW, value=SHOW[0], label='Show'), gr.Radio(ORDER, value=ORDER[0], label='Order')]
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
            events = [(button.click, name) for name, button in buttons.items()]
            events += [(box.change, 'filter') for box in filters] + [(page.load, 'filter')]
            for event, action in events:
                event(partial(self.answer, action), inputs, outputs, **common)
        return page.queue(default_concurrency_limit=1)

    def answer(self, action: str, tab: ReviewTab | None, drawn: dict | None, show: str, order: str) -> list:
        """Do what a button says, and return what the page shows then."""
        tab, names = tab or ReviewTab(), partial(self._names, show, order)
        try:
            name = self._act(action, tab, drawn, names)
        except StaleDecision as error:
            self.gr.Warning(str(error))
            name = tab.seen.name
        except RefStarError as error:
            self.gr.Warning(str(error))
            return [self.gr.skip()] * 4
        return self._show(tab, name, names())

    def _names(self, show: str, order: str) -> list[str]:
        """Return the ids that pass the filters, in order."""
        rows = [row for row in self.review.rows.values() if show == 'all' or bool(row['reviewed']) == (show != SHOW[0])]
        if order != ORDER[0]:
            rows.sort(key=lambda r: 0.5 if r['confidence'] is None else r['confidence'], reverse=order == ORDER[2])
        return [row['id'] for row in rows]

    def _act(self, action: str, tab: ReviewTab, drawn: dict | None, names: Callable[[], list[str]]) -> str | None:
        """Do what a button says; return the id of the pair to show then, None where none passes the filters."""
        seen, before = tab.seen, names()
        if action == 'drop':
            return seen and seen.name
        if action in ('accept', 'reject'):
            if seen is None:
                raise RefStarError('There is no pair to decide on.')
            decide = self.review.reject
            if action == 'accept':
                decide = partial(self.review.accept, painted=painted_mask(drawn, seen.mask))
            tab.past.append((seen, decide(seen)))
            return neighbour(before, names(), seen.name, 1)
        mask = seen and seen.mask
        if mask is not None and not np.array_equal(painted_mask(drawn, mask), mask):
            raise RefStarError('Your strokes are not saved: A accepts the mask with them, X drops them.')
        if action == 'undo':
            if not tab.past:
                raise RefStarError('There is no decision of this tab.')
            earlier, decision = tab.past.pop()
            self.review.undo(earlier, decision)
            self.gr.Info(f'Taken back: {earlier.name}', duration=2)
            return earlier.name
        if action == 'filter':
            return seen.name if seen and seen.name in before else next(iter(before), None)
        return neighbour(before, before, seen and seen.name, 1 if action == 'next' else -1)

    def _show(self, tab: ReviewTab, name: str | None, names: list[str]) -> list:
        progress = f'{sum(self.review.counts().values())} of {len(self.review.rows)} reviewed'
        if name is None:
            tab.seen = None
            return [tab, f'<b>No pair passes the filters.</b> {progress}', None, None]
        seen = tab.seen = self.review.look(name)
        place = f'{names.index(name) + 1} of {len(names)}' if name in names else 'not among the filtered'
        hidden = ('id', 'provenance', 'reviewed')
        texts = [f'{key} {value}' for key, value in seen.row.items() if value not in ('', None) and key not in hidden]
        about = f'<b id="name">{escape(name)}</b> <span id="state">{escape(seen.row["provenance"])}</span> '
        about += f'{progress}, {place}<br>{escape(", ".join(texts))}'
        photo, reference = (self._picture(name, part) for part in ('gt', 'ref'))
        if seen.problem:
            self.gr.Warning(f'{seen.problem}; this pair can only be rejected.')
        both = None if photo is None or reference is None else (photo, reference)
        drawn = None if seen.mask is None or reference is None else mask_layer(reference, seen.mask)
        return [tab, about, both, drawn]

    def _picture(self, name: str, part: str) -> Image.Image | None:
        try:
            with open_image(self.review.read(name, part), f'{part}/{name}') as file:
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
    print(f'reviewed, of {len(review.rows)}: {done}', flush=True)


main = command('refstar masks review', __doc__, add_arguments, review_masks)
