"""The structure that docs/architecture.md draws: no circles, one name for one thing, nothing of torch replaced."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest
from helpers import import_graph as graph

MOST_LINES = 300


def _trees() -> dict[Path, ast.Module]:
    return {path: ast.parse((graph.ROOT / path).read_text(encoding='utf-8')) for path in graph.product()}


@pytest.mark.parametrize('imports', [graph.folder_graph, graph.file_graph])
def test_imports_form_no_circle(imports) -> None:
    assert graph.floors(imports())  # raises ValueError with the circle


def test_a_circle_is_found() -> None:
    with pytest.raises(ValueError, match='a -> b -> a'):
        graph.floors({'a': {'b'}, 'b': {'a'}})


def test_every_import_is_found() -> None:
    assert Path('utils/errors.py') in graph.file_graph()[Path('restore/restorer.py')]


def test_file_names_are_unique() -> None:
    places = defaultdict(list)
    for path in graph.product():
        if path.stem != '__init__':
            places[path.name].append(str(path))
    assert [found for found in places.values() if len(found) > 1] == []


def test_public_class_names_are_unique() -> None:
    places = defaultdict(list)
    for path, tree in _trees().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith('_') and node.name != 'Options':
                places[node.name].append(str(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_files_hold_one_idea() -> None:
    assert [str(path) for path in graph.product() if graph.lines([path]) > MOST_LINES] == []


def _assigned(node: ast.AST) -> list[str]:
    """Return the dotted targets of an assignment, or of a call of setattr."""
    targets = []
    if isinstance(node, ast.Assign):
        targets = [ast.unparse(t) for target in node.targets for t in getattr(target, 'elts', [target])]
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [ast.unparse(node.target)]
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == 'setattr' and node.args:
        targets = [f'{ast.unparse(node.args[0])}.x']
    return targets


def _is_torchs(target: str) -> bool:
    """Tell whether assigning to this name replaces a part of torch; its documented switches (backends) do not."""
    if target.startswith('torch.backends.'):
        return False
    return target.startswith(('torch.', 'Tensor.', 'nn.', 'F.', 'autograd.', 'Module.'))


@pytest.mark.parametrize(
    'line', ['torch.Tensor.cuda = f', 'Tensor.backward, torch.autograd.grad = a, b', 'setattr(nn.Module, "cuda", f)']
)
def test_a_replacement_of_torch_is_seen(line: str) -> None:
    found = [t for node in ast.walk(ast.parse(line)) for t in _assigned(node)]
    assert found and all(_is_torchs(target) for target in found)


def test_nothing_of_torch_is_replaced() -> None:
    found = [
        f'{path}:{node.lineno}: {target}'
        for path, tree in _trees().items()
        for node in ast.walk(tree)
        for target in _assigned(node)
        if _is_torchs(target)
    ]
    assert found == []


def test_no_source_code_is_read() -> None:
    texts = {path: (graph.ROOT / path).read_text(encoding='utf-8') for path in graph.product()}
    assert [str(path) for path, text in texts.items() if 'getsource' in text] == []
