"""`refstar weights list`, `refstar weights get NAME...`: released weights, fetched once into a cache folder.

The folder is $REFSTAR_HOME (default: refstar in the user's cache folder). docs/files.md says what is checked.
"""

import argparse
from pathlib import Path

from refstar.utils.errors import RefStarError

from .cli_common import run_command


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog='refstar weights', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = p.add_subparsers(dest='command', required=True, metavar='list|get')
    commands.add_parser('list', help='names, licences, and what is there')
    get = commands.add_parser('get', help='fetch weights and print their paths')
    get.add_argument('names', nargs='+', metavar='NAME', help='of `refstar weights list`')
    get.add_argument('--accept_licence', action='store_true', help='of weights that are not free for commercial use')
    get.add_argument('--mirror', action='append', metavar='URL', help='folder with copies, tried first')
    get.add_argument('--offline', action='store_true', help='use no network (or REFSTAR_OFFLINE=1)')
    return p


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(argv)
    return run_command(show if args.command == 'list' else lambda: get(args))


def show() -> None:
    """Prints the table."""
    from refstar.utils.weight_store import WeightStore

    store = WeightStore()
    print(f'{store.folder / "weights"}\n')
    for name, entry in store.table.items():
        checked = 'known' if entry.sha256 else 'pinned' if store.known_hash(name) else 'pinned at first use'
        state = 'here' if store.path(name).is_file() else 'not here'
        print(f'{name}: {state}, sha256 {checked}\n  {entry.use}\n  {entry.licence}\n  {entry.url}')


def get(args: argparse.Namespace) -> None:
    """Fetches; prints one path per name."""
    from refstar.utils.weight_store import WeightStore

    store = WeightStore()
    store.offline |= args.offline
    store.mirrors = [*(args.mirror or []), *store.mirrors]
    if args.accept_licence:
        store.accepted = [*store.accepted, *args.names]
    unknown = [name for name in args.names if name not in store.table]
    if unknown:
        store.entry(unknown[0])
    problems = []
    for name in args.names:
        try:
            print(Path(store.get(name)))
        except RefStarError as error:
            problems.append(str(error))
    if problems:
        raise RefStarError('; '.join(problems))
