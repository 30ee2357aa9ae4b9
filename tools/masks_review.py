"""`refstar masks review`: a local web page where a person goes through the masks of a collection with the keyboard."""

import argparse
from pathlib import Path

from refstar.curate.mask_review import MaskReview

from .cli_common import run_command
from .serving.serve import checked_token, serve, serving_arguments


def main(argv: list[str] | None = None) -> int:
    """Entry point of `refstar masks review`."""
    args = _parser().parse_args(argv)
    return run_command(lambda: review_masks(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser('refstar masks review', description=__doc__)
    parser.add_argument('root', type=Path, help='folder with gt/, ref/, mask/ and meta.csv')
    serving_arguments(parser, 8411, 'whoever reaches it could see the photos and decide')
    return parser


def review_masks(args: argparse.Namespace) -> None:
    """Serves until interrupted (Ctrl+C or SIGTERM), then brings the collection up to date.

    Raises:
        RefStarError: the arguments make no sense, the libraries are absent, the folder is no collection ...
    """
    token = checked_token(args)
    review = MaskReview(args.root)

    def make_app():
        from .review.app import review_app

        return review_app(review, args.host, token)

    try:
        serve(make_app, args, token, review.notes)
    finally:
        review.close()
    counts = review.counts()
    done = ', '.join(f'{number} {state}' for state, number in sorted(counts['reviewed'].items())) or 'none'
    print(f'reviewed, of {counts["total"]}: {done}; meta.csv is up to date', flush=True)
