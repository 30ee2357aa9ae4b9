"""`refstar weights list`, `refstar weights get NAME...`: released weights, fetched once into a cache folder.

The folder is $REFSTAR_HOME/weights (default: refstar/weights in the user's cache folder). docs/files.md says more.
"""

import sys
from argparse import Namespace

from refstar.utils.errors import CommandParser, RefStarError
from refstar.utils.released_weights import find, folder, get, released

from .cli_common import command


def add_arguments(p: CommandParser) -> None:
    """Describe the command line."""
    commands = p.add_subparsers(required=True, metavar='list|get')
    commands.add_parser('list', help='names, licences, and what is there').set_defaults(run=show)
    getting = commands.add_parser('get', help='fetch weights and print their paths')
    getting.set_defaults(run=fetch)
    getting.add_argument('names', nargs='+', metavar='NAME', help='of `refstar weights list`')
    getting.add_argument('--offline', action='store_true', help='use no network (or REFSTAR_OFFLINE=1)')


def show(_: Namespace) -> None:
    """Print the table."""
    print(f'{folder()}\n')
    for name, entry in released().items():
        state = 'here' if entry.path.is_file() else 'not here'
        state = 'in the package' if entry.ships else f'{state}, sha256 {"" if entry.sha256 else "not "}known'
        print(f'{name}: {state}\n  {entry.use}\n  {entry.licence}\n  {entry.url}')


def fetch(args: Namespace) -> None:
    """Fetch weights; print one path per name. What fails does not stop the others."""
    for name in args.names:
        find(name)
    problems = []
    for name in args.names:
        try:
            print(get(name, args.offline))
        except RefStarError as error:
            problems.append(str(error))
    if problems:
        raise RefStarError('; '.join(problems))


main = command('refstar weights', __doc__, add_arguments, lambda args: args.run(args))

if __name__ == '__main__':
    sys.exit(main())
