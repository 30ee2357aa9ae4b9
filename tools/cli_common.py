"""Shared by the commands: their one form, user errors in one line, common arguments, the run of an option file."""

import math
import sys
from argparse import ArgumentTypeError, Namespace, _ActionsContainer
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from urllib.error import URLError

from refstar.utils.errors import USER_ERROR, CommandParser, RefStarError

USER_ERRORS = (RefStarError, FileNotFoundError, URLError)
MODULES = 'import your own modules first (this folder is searched): archs, losses, models that register themselves'
SHARED = {  # arguments of several commands
    '--device': {'help': 'cpu, cuda, cuda:1 ... or mps (default: cuda where there is one)'},
    '--import': {'dest': 'modules', 'nargs': '+', 'default': [], 'metavar': 'MODULE', 'help': MODULES},
    '--options': {'metavar': 'X.yml', 'help': 'option file of a network whose file does not say what it is'},
}


def command(
    prog: str, about: str, add_arguments: Callable[[CommandParser], None], run: Callable[[Namespace], int | None]
) -> Callable[[list[str] | None], int]:
    """Return the entry point of a command: it takes the arguments (None: the command line), returns the exit code.

    Args:
        prog: what the user types.
        about: text of its help page, as it stands.
        add_arguments: adds its arguments to a parser.
        run: takes what was parsed; returns the exit code, None for 0.
    """

    def main(argv: list[str] | None = None) -> int:
        parser = CommandParser(prog, description=about)
        add_arguments(parser)
        return run_command(lambda: run(parser.parse_args(argv)))

    return main


def run_command(run: Callable[[], int | None]) -> int:
    """Run a command; return its exit code. A user error is printed as one line on stderr."""
    try:
        return run() or 0
    except USER_ERRORS as error:
        print(f'error: {message_of(error)}', file=sys.stderr, flush=True)
        return USER_ERROR


def message_of(error: Exception) -> str:
    """Return one line for the user, without the traceback that errors of data loader workers carry as text."""
    if isinstance(error, FileNotFoundError) and error.filename:
        return f'file not found: {error.filename}'
    if isinstance(error, URLError):
        return f'a download failed ({error.reason}); put the file that the log names in place by hand'
    text = str(error)
    if text.startswith('Caught '):  # in a worker process
        text = text.rpartition(f'{type(error).__name__}: ')[2]
    return ' '.join(text.split())


# ----------------------------------------------------------------- arguments
def shared(parser: _ActionsContainer, *flags: str) -> None:
    """Add arguments of `SHARED` to a parser or a group of one."""
    for flag in flags:
        parser.add_argument(flag, **SHARED[flag])


def at_least(low: float, kind: type = int) -> Callable[[str], float]:
    """Return the `type` of an argument that is a finite number from `low` on, of this kind (int or float)."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value < math.inf:
            raise ArgumentTypeError(f'must be a {"whole " * (kind is int)}number of at least {low}, got {text}')
        return value

    return parse


def import_modules(names: list[str]) -> None:
    """Import a user's modules, which register what is in them; the current folder is searched first.

    Raises:
        RefStarError: there is no such module.
    """
    if names:
        import_module('basicsr')
        sys.path.insert(0, str(Path.cwd()))
    for name in names:
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition('.')[0]):
                raise
            raise RefStarError(
                f'--import {name}: no such module in {Path.cwd()} or among the installed ones'
            ) from error


# ----------------------------------------------------------------- runs of option files
def run_pipeline(is_train: bool, argv: list[str] | None = None) -> int:
    """Check an option file and run BasicSR's trainer or tester in the current folder; return the exit code."""

    def run() -> None:
        from refstar.trainer.option_check import check_options
        from refstar.trainer.option_file import argument_parser, load_options

        name = f'basicsr {"train" if is_train else "test"}'  # BasicSR writes it into the copy of the option file
        sys.argv = [name, *(sys.argv[1:] if argv is None else argv)]  # BasicSR parses it again
        args = argument_parser(name).parse_args()
        import_modules(args.modules)
        check_options(load_options(args.opt, args.force_yml), is_train, args.auto_resume)
        from basicsr.test import test_pipeline
        from basicsr.train import train_pipeline
        from torch import distributed

        try:
            (train_pipeline if is_train else test_pipeline)(str(Path.cwd()))
        finally:
            if distributed.is_available() and distributed.is_initialized():
                distributed.destroy_process_group()

    return run_command(run)
