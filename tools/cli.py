"""Console script `refstar`: one line per command; a command's module is imported only when it is called."""

from .dispatch import dispatch

COMMANDS = {
    'train': ('train', 'train by an option file (the same as `basicsr train`)'),
    'test': ('test', 'test by an option file (the same as `basicsr test`)'),
    'restore': ('restore', 'restore photos or videos with good photos of the same people'),
    'app': ('app', 'the same as a page in the browser'),
    'bank': ('bank', "prepare a person's good photos once, for many restorations"),
    'options': ('options', 'all keys of option files, as a page'),
    'demo': ('demo', 'train, test and report on synthetic faces, without any download'),
    'data': ('data', 'check and split collections of photos'),
    'masks': ('masks', 'make and review RefSel-HQ triplets: photo, reference, selection'),
    'convert': ('convert', "a network's file in another form: .pth, .safetensors, fp16"),
    'export': ('export', 'a network as an ONNX file, compared with torch'),
    'weights': ('weights', 'released weights: list them, fetch them'),
    'plot': ('plot', 'losses and validations of trainings side by side, as a picture'),
    'evaluate': ('evaluate', 'scores of restored faces, of ours or of another project, with a report'),
}


def main(argv: list[str] | None = None) -> int:
    """Entry point of `refstar`."""
    return dispatch('refstar', 'Reference-guided face restoration for BasicSR.', COMMANDS, argv)
