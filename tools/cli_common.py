"""Shared by the commands: user errors in one line, modules of the user, and the run of an option file."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from urllib.error import URLError

from refstar.trainer.option_check import check_options
from refstar.trainer.option_file import argument_parser, load_options
from refstar.utils.errors import USER_ERROR, RefStarError


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
            if error.name != name.partition('.')[0] and error.name != name:
                raise
            raise RefStarError(
                f'--import {name}: no such module in {Path.cwd()} or among the installed ones'
            ) from error


def run_command(main: Callable[[], object]) -> int:
    """Run a command; return its exit code. A user error is printed as one line on stderr."""
    try:
        main()
    except (RefStarError, FileNotFoundError, URLError) as error:
        print(f'error: {message_of(error)}', file=sys.stderr, flush=True)
        return USER_ERROR
    return 0


def run_pipeline(command: str, argv: list[str], is_train: bool) -> int:
    """Check an option file and run BasicSR's trainer or tester in the current folder; return the exit code.

    ``command`` is what the user typed, e.g. `basicsr train`; BasicSR writes it into the copy of the option file.
    """
    args = argument_parser(command).parse_args(argv)
    sys.argv = [command, *argv]  # BasicSR parses it again

    def main() -> None:
        import_modules(args.modules)
        check_options(load_options(args.opt, args.force_yml), is_train, args.auto_resume)
        from basicsr.test import test_pipeline
        from basicsr.train import train_pipeline
        from torch import distributed

        pipeline = train_pipeline if is_train else test_pipeline
        try:
            pipeline(str(Path.cwd()))
        finally:
            if distributed.is_available() and distributed.is_initialized():
                distributed.destroy_process_group()

    return run_command(main)
