"""Console scripts `refstar` and `basicsr`: the table of all commands; a command is imported only when it is called."""

import sys
from importlib import import_module

from refstar.utils.errors import USER_ERROR

Commands = dict[str, tuple]  # name -> (module in this folder with main(argv), or the table of its own commands; help)
MASKS: Commands = {
    'build': ('masks_build', 'make triplets from photos of people, or from procedural people'),
    'review': ('masks_review', 'go through the masks of a collection in the browser: accept, reject, paint'),
}
BASICSR: Commands = {
    'train': ('train', "train by an option file: BasicSR's trainer and flags"),
    'test': ('test', "test by an option file: BasicSR's tester and flags"),
}
REFSTAR: Commands = {
    **BASICSR,
    'restore': ('restore', 'restore photos or videos with good photos of the same people'),
    'app': ('app', 'the same as a page in the browser'),
    'bank': ('bank', "prepare a person's good photos once, for many restorations"),
    'options': ('options', 'all keys of option files, as a page'),
    'demo': ('demo', 'train, test and report on synthetic faces, without any download'),
    'data': ('data', 'check and split collections of photos'),
    'masks': (MASKS, 'make and review RefSel-HQ triplets: photo, reference, selection'),
    'convert': ('convert', "a network's file in another form: .pth, .safetensors, fp16"),
    'export': ('export', 'a network as an ONNX file, compared with torch'),
    'weights': ('weights', 'released weights: list them, fetch them'),
    'plot': ('plot', 'losses and validations of trainings side by side, as a picture'),
    'evaluate': ('evaluate', 'scores of restored faces, of ours or of another project, with a report'),
}


def dispatch(prog: str, about: str, commands: Commands, argv: list[str]) -> int:
    """Run `prog <command> <arguments>`; return the exit code of the command.

    Args:
        prog: name of the program.
        about: one line for the help text.
        commands: table of the commands.
        argv: arguments.
    """
    if argv and argv[0] in commands:
        found, text = commands[argv[0]]
        if isinstance(found, dict):
            return dispatch(f'{prog} {argv[0]}', text, found, argv[1:])
        return import_module(f'.{found}', __package__).main(argv[1:])
    if argv and argv[0] not in ('-h', '--help'):
        print(f'error: {prog} has no command {argv[0]!r}; there are: {", ".join(commands)}', file=sys.stderr)
        return USER_ERROR
    width = max(map(len, commands))
    rows = '\n'.join(f'  {name:<{width}}  {text}' for name, (_, text) in commands.items())
    print(f'usage: {prog} <command> [arguments]\n\n{about}\n\ncommands:\n{rows}\n')
    print(f'{prog} <command> --help explains a command.')
    return 0


def run(prog: str, about: str, commands: Commands, argv: list[str] | None) -> int:
    """Run a console script."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')  # names of files need not be text
    return dispatch(prog, about, commands, sys.argv[1:] if argv is None else argv)


def main(argv: list[str] | None = None) -> int:
    """Run `refstar`."""
    return run('refstar', 'Reference-guided face restoration for BasicSR.', REFSTAR, argv)


def basicsr(argv: list[str] | None = None) -> int:
    """Run `basicsr`: its trainer and tester with this project's networks, data sets, losses and models."""
    return run('basicsr', 'BasicSR with reference-guided face restoration (refstar).', BASICSR, argv)
