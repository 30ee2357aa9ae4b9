"""Sub-commands: a table of names, the module of the called one is imported, none else."""

import sys
from importlib import import_module

from .cli_common import USER_ERROR


def dispatch(prog: str, about: str, commands: dict[str, tuple[str, str]], argv: list[str] | None = None) -> int:
    """Runs `prog <command> <arguments>`.

    Args:
        prog: name of the program.
        about: one line for the help text.
        commands: name -> (module under `refstar.tools` with `main(argv) -> int | None`, help line).
        argv: arguments; those of this process by default.

    Returns:
        The exit code of the command.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in commands:
        return import_module(f'.{commands[argv[0]][0]}', __package__).main(argv[1:]) or 0
    asked = not argv or argv[0] in ('-h', '--help')
    width = max(map(len, commands))
    lines = [f'usage: {prog} <command> [arguments]', '', about, '', 'commands:']
    lines += [f'  {name:<{width}}  {text}' for name, (_, text) in commands.items()]
    if asked:
        print('\n'.join([*lines, '', f'{prog} <command> --help explains a command.']))
        return 0
    print(f'error: {prog} has no command {argv[0]!r}; there are: {", ".join(commands)}', file=sys.stderr)
    return USER_ERROR
