"""Console script `refstar`: one line per command; a command's module is imported only when it is called."""

from .dispatch import dispatch

COMMANDS = {
    'train': ('train', 'train by an option file (the same as `basicsr train`)'),
    'test': ('test', 'test by an option file (the same as `basicsr test`)'),
    'demo': ('demo', 'train, test and report on synthetic faces, without any download'),
}


def main(argv: list[str] | None = None) -> int:
    """Entry point of `refstar`."""
    return dispatch('refstar', 'Reference-guided face restoration for BasicSR.', COMMANDS, argv)
