"""YAML of settings, without what makes a few bytes large: aliases of aliases, deep nesting, endless numbers."""

from typing import Any

import yaml

MOST_CHARACTERS = 1_000_000
MOST_VALUES = 100_000  # with every alias counted as what it stands for


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; only plain values, lists and mappings.

    Raises:
        ValueError: when it is no YAML, or larger than settings are.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"{len(text):,} characters, settings have at most {MOST_CHARACTERS:,}")
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _values(node, {}) > MOST_VALUES:
                raise ValueError(f"its aliases stand for more than {MOST_VALUES:,} values: write out what is meant")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise ValueError("it is nested too deeply: settings have a few levels") from None
    except (yaml.YAMLError, TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for; one that holds itself is endless."""
    if id(node) in known:
        if not known[id(node)]:
            raise ValueError("an alias stands for a value that holds the alias itself")
        return known[id(node)]
    known[id(node)] = 0  # until it is counted
    below: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        below = node.value
    elif isinstance(node, yaml.MappingNode):
        below = [part for pair in node.value for part in pair]
    known[id(node)] = 1 + sum(_values(part, known) for part in below)
    return known[id(node)]
