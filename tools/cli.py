"""Console script `refstar`: one line per command; a command's module is imported only when it is called."""

from .dispatch import dispatch

COMMANDS = {
    'train': ('train', 'train by an option file (the same as `basicsr train`)'),
    'test': ('test', 'test by an option file (the same as `basicsr test`)'),
    'demo': ('demo', 'train, test and report on synthetic faces, without any download'),
    'data': ('data', 'check and split collections of photos'),
    'masks': ('masks', 'review RefSel-HQ triplets: photo, reference, selection'),
    'evaluate': ('evaluate', 'scores of restored faces, of ours or of another project, with a report'),
}


def main(argv: list[str] | None = None) -> int:
    """Entry point of `refstar`."""
    return dispatch('refstar', 'Reference-guided face restoration for BasicSR.', COMMANDS, argv)
