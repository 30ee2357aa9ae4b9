"""`refstar data`: collections of photos, checked, split by person, and packed into an lmdb."""

from .dispatch import dispatch

COMMANDS = {
    'check': ('data_check', 'count people and photos; find what is missing, broken, small or double, and leaks'),
    'split': ('data_split', 'divide people into train, val and test; a network tells unknown ones apart'),
    'index': ('data_index', 'write what a list says into one file, for data sets of many thousand people'),
    'lmdb': ('data_lmdb', 'pack a folder of photos into an lmdb of BasicSR'),
}


def main(argv: list[str] | None = None) -> int:
    """Entry point of `refstar data`."""
    return dispatch('refstar data', 'Collections of photos; docs/data.md shows every form.', COMMANDS, argv)
