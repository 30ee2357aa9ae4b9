"""YAML that builds plain values only: no Python objects, no code, and not more of it than a person would write."""

import re
from collections import OrderedDict
from typing import Any

import yaml

DEEPEST, LARGEST = 100, 100_000  # levels, and values once every alias is written out

_SafeLoader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


class OptionLoader(_SafeLoader):
    """Safe YAML with ordered mappings, and an error for a key given twice.

    As in YAML 1.2, `1e-4` is a number and `2026-11-21` is text.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """PyYAML lets errors of Python through, e.g. of `!!int x`, or of a list as a key."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise yaml.constructor.ConstructorError(None, None, f'no value: {error}', node.start_mark) from error


def _ordered_mapping(loader: OptionLoader, node: yaml.MappingNode) -> OrderedDict:
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise yaml.constructor.ConstructorError(None, None, f'key {twice!r} is given twice', node.start_mark)
    loader.flatten_mapping(node)
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, 'a key must be a plain word', key.start_mark)
    return OrderedDict(loader.construct_pairs(node))


OptionLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != 'tag:yaml.org,2002:timestamp']
    for first, known in _SafeLoader.yaml_implicit_resolvers.items()
}
OptionLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _ordered_mapping)
OptionLoader.add_implicit_resolver(
    'tag:yaml.org,2002:float',
    re.compile(r'[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$'),
    list('-+.0123456789'),
)


def read_yaml(text: str) -> Any:
    """Reads one document.

    Raises:
        yaml.YAMLError: it is not valid, asks for a Python object, has a key twice, or is a bomb: nested so deep that
            libyaml's reader would crash, or with aliases of aliases that fill the memory when they are printed.
    """
    _refuse_bombs(text)
    return yaml.load(text, Loader=OptionLoader)


def _refuse_bombs(text: str) -> None:
    sizes: dict[str, int] = {}  # of what an anchor stands for, in values
    open_nodes: list[tuple[str | None, int]] = []  # anchor, values before it
    count = 0
    for event in yaml.parse(text, Loader=_SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise yaml.YAMLError(f'alias *{event.anchor} stands for nothing, or for what it is in')
            count += sizes[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            sizes[anchor] = count - before
        elif isinstance(event, yaml.ScalarEvent):
            sizes[event.anchor] = 1
            count += 1
        if len(open_nodes) > DEEPEST:
            raise yaml.YAMLError(f'nested more than {DEEPEST} levels deep')
        if count > LARGEST:
            raise yaml.YAMLError(f'more than {LARGEST} values, with its aliases written out')
