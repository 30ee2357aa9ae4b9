"""The product's folders and files, who imports whom, and the drawing of it in docs/architecture.md.

make architecture
"""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
AROUND = ('tests', 'benchmarks', 'docs')  # not part of the product
FRONT_DOOR = 'refstar_arch/__init__.py'  # hands on the public names of all folders


def tracked(*patterns: str) -> list[Path]:
    """Return the files that git tracks, relative to the repository, in order."""
    out = subprocess.run(
        ['git', 'ls-files', '-z', '--', *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return sorted(Path(name) for name in out.stdout.split('\0') if name)


@cache
def product() -> list[Path]:
    """Return the product's Python files."""
    return [path for path in tracked('*.py') if path.parts[0] not in AROUND]


def package_folders() -> dict[str, str]:
    """Return FOLDERS of setup.py, import name -> folder, without running setup.py."""
    block = re.search(r'FOLDERS = (\{.*?\})', (ROOT / 'setup.py').read_text(encoding='utf-8'), re.S).group(1)
    return ast.literal_eval(block)


def module_names() -> dict[str, Path]:
    """Return every module of the product, import name -> file."""
    names = {}
    for package, folder in package_folders().items():
        for path in product():
            if path.parent == Path(folder):
                names[package if path.stem == '__init__' else f'{package}.{path.stem}'] = path
    return names


def imports_of(path: Path, name: str, modules: dict[str, Path]) -> set[Path]:
    """Return the product's files that a file imports, inside functions too.

    Args:
        path: the file, relative to the repository.
        name: its import name.
        modules: all modules, see :func:`module_names`.
    """
    package = name if path.stem == '__init__' else name.rpartition('.')[0]
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split('.')
            base = '.'.join(parts[: len(parts) - node.level + 1]) if node.level else ''
            source = '.'.join(filter(None, (base, node.module)))
            candidates = [f'{source}.{a.name}' if f'{source}.{a.name}' in modules else source for a in node.names]
        else:
            continue
        found |= {modules[candidate] for candidate in candidates if candidate in modules}
    return found - {path}


@cache
def file_graph() -> dict[Path, set[Path]]:
    """Return who imports whom, file -> files, without the package's front door."""
    modules = module_names()
    graph = {path: imports_of(path, name, modules) for name, path in modules.items() if str(path) != FRONT_DOOR}
    return {path: {t for t in targets if str(t) != FRONT_DOOR} for path, targets in graph.items()}


def folder_graph() -> dict[str, dict[str, int]]:
    """Return who imports whom between top folders: folder -> {folder: number of imports between files}."""
    graph = defaultdict(lambda: defaultdict(int))
    for path, targets in file_graph().items():
        for target in targets:
            if path.parts[0] != target.parts[0]:
                graph[path.parts[0]][target.parts[0]] += 1
    return graph


def floors(graph: dict) -> dict:
    """Return each node's floor: 0 imports nothing, else one above the highest that it imports.

    Raises:
        ValueError: there is a circle; the message names it.
    """
    found = {}

    def floor(node, path):
        if node in path:
            raise ValueError(' -> '.join(map(str, [*path[path.index(node) :], node])))
        if node not in found:
            found[node] = max((floor(target, [*path, node]) + 1 for target in graph.get(node, ())), default=0)
        return found[node]

    for node in list(graph):
        floor(node, [])
    return found


def lines(paths: list[Path]) -> int:
    """Return the number of lines of some files."""
    return sum(len((ROOT / path).read_text(encoding='utf-8').splitlines()) for path in paths)


def draw(out: Path) -> None:
    """Draw the top folders floor by floor, with an arrow from each to what it imports."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    graph, sizes = folder_graph(), folder_sizes()
    level = floors(graph)
    rows = defaultdict(list)
    for folder in sorted(level):
        rows[level[folder]].append(folder)
    place = {f: ((i + 0.5) / len(row) * 10, 1.5 * n) for n, row in rows.items() for i, f in enumerate(row)}
    figure, axes = plt.subplots(figsize=(10, 1.3 * len(rows) + 0.6))
    for folder, targets in graph.items():
        for target in targets:
            (x, y), (start_x, start_y) = place[target], place[folder]
            arrow = {'arrowstyle': '->', 'color': '#8aa0b8', 'lw': 1, 'shrinkA': 0, 'shrinkB': 0}
            axes.annotate('', (x, y + 0.32), (start_x, start_y - 0.32), arrowprops=arrow)
    for folder, (x, y) in place.items():
        files, count = sizes[folder]
        look = {'boxstyle': 'round,pad=0.5', 'fc': '#eef3f8', 'ec': '#2b4a6f'}
        text = f'{folder}/\n{files} files, {count:,} lines'
        axes.text(x, y, text, ha='center', va='center', fontsize=9, bbox=look)
    axes.set(xlim=(0, 10), ylim=(-0.7, 1.5 * max(rows) + 0.7))
    axes.axis('off')
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110, bbox_inches='tight', metadata={'Software': None})


def folder_sizes() -> dict[str, tuple[int, int]]:
    """Return top folder -> (number of Python files, their lines)."""
    groups = defaultdict(list)
    for path in product():
        groups[path.parts[0]].append(path)
    return {folder: (len(paths), lines(paths)) for folder, paths in sorted(groups.items())}


def table() -> str:
    """Return the counts by folder as a Markdown table."""
    rows = [(f'`{name}/`' if name != 'setup.py' else '`setup.py`', *sizes) for name, sizes in folder_sizes().items()]
    rows.append(('**product**', sum(r[1] for r in rows), sum(r[2] for r in rows)))
    for name, patterns in {'`tests/`': ['tests/*.py'], '`benchmarks/`': ['benchmarks/*.py']}.items():
        rows.append((name, len(tracked(*patterns)), lines(tracked(*patterns))))
    web = tracked('*.js', '*.html', '*.css')
    rows.append(('JavaScript, HTML, CSS', len(web), lines(web)))
    return '\n'.join(['| folder | files | lines |', '|---|---:|---:|', *(f'| {n} | {f} | {c:,} |' for n, f, c in rows)])


def main() -> None:
    """Renew the drawing and the counts between the two markers of a page."""
    page, picture = Path(sys.argv[1]), Path(sys.argv[2])
    draw(picture)
    text = page.read_text(encoding='utf-8')
    start, end = '<!-- counts: made by make architecture -->', '<!-- end of counts -->'
    head, rest = text.split(start)
    page.write_text(f'{head}{start}\n\n{table()}\n\n{end}{rest.split(end)[1]}', encoding='utf-8')


if __name__ == '__main__':
    main()
