"""Console script `basicsr`: BasicSR's trainer and tester with this project's networks, datasets, losses and models."""

from .dispatch import dispatch

COMMANDS = {
    'train': ('train', "train by an option file: BasicSR's trainer and flags"),
    'test': ('test', "test by an option file: BasicSR's tester and flags"),
}


def main(argv: list[str] | None = None) -> int:
    """Entry point of `basicsr`."""
    return dispatch('basicsr', 'BasicSR with reference-guided face restoration (refstar).', COMMANDS, argv)
