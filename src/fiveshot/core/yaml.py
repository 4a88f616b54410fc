"""YAML in and out: the scalars of YAML 1.2, no key twice, no aliases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from fiveshot.core.errors import FiveshotError


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars: 1e-3 is a number, `no`, `off` and 1:30 are words. No aliases.

    Aliases of aliases let a few lines stand for more values than memory holds, and no setting needs one.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            words = f"*{event.anchor} is an alias; write the value itself"
            raise yaml.composer.ComposerError(None, None, words, event.start_mark)
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    letter: [pair for pair in pairs if pair[0].rsplit(":", 1)[-1] not in ("bool", "int", "float")]
    for letter, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$", re.I), list("tTfF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9]\d*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?$"),
    list("-+0123456789."),
)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back: a text that looks like one of its numbers is put in quotes."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def _no_doubled_keys(loader: _Loader, node: yaml.MappingNode) -> dict:
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    doubled = {key for key in keys if keys.count(key) > 1}
    if doubled:
        raise yaml.constructor.ConstructorError(
            None, None, f"the key {sorted(doubled)[0]!r} stands twice", node.start_mark
        )
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _no_doubled_keys)


def parse_yaml(text: str, source: str) -> Any:
    """The value that a YAML text stands for; `source` names it in the FiveshotError of what is no YAML."""
    try:
        return yaml.load(text, Loader=_Loader)
    # A tag that does not fit its value ends in a ValueError, LookupError or AttributeError.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise FiveshotError(f"{source}: not valid YAML ({' '.join(str(error).split())}).") from error


def read_yaml(path: Path) -> dict:
    """The keys of a configuration file as they stand there, unchecked; FiveshotError where it is no YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FiveshotError(f"{path}: there is no such configuration file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FiveshotError(f"{path}: the configuration cannot be read ({error}).") from error
    value = parse_yaml(text, str(path))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise FiveshotError(f"{path}: expected `key: value` lines, found {type(value).__name__}.")
    return value


def to_yaml(values: dict) -> str:
    """The values as a text that `parse_yaml` reads back, keys in their order."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
