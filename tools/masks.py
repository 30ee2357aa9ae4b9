"""`refstar masks <command>`: RefSel-HQ triplets of photo, reference and selection."""

from .dispatch import dispatch

COMMANDS = {
    'build': ('masks_build', 'make triplets from photos of people, or from procedural people'),
    'review': ('masks_review', 'go through the masks of a collection in the browser: accept, reject, paint'),
}


def main(argv: list[str] | None = None) -> int:
    """Entry point of `refstar masks`."""
    return dispatch('refstar masks', 'RefSel-HQ triplets: photo, reference, selection.', COMMANDS, argv)
