"""Names that people read: none of them twice, and nothing in them but text."""

from collections.abc import Iterable

LONGEST = 100


def unique(names: Iterable[str], taken: Iterable[str] = (), form: str = '{} ({})') -> list[str]:
    """The names; one that was there before, or is taken, gets a number: a, a (2), a (3).

    Args:
        names: any.
        taken: names that none of them may have.
        form: how name and number are put together.
    """
    seen, found = set(taken), []
    for name in names:
        number, own = 1, name
        while own in seen:
            number += 1
            own = form.format(name, number)
        seen.add(own)
        found.append(own)
    return found


def printable(text: str) -> str:
    """A stranger's text for a terminal: `_` for control characters and marks that turn the writing around, not long."""
    return ''.join(c if c.isprintable() else '_' for c in text[:LONGEST])
