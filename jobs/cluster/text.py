"""Objects -> readable YAML: quoted quantities, commands on one line, no aliases."""

from __future__ import annotations

import re
from typing import Any

import yaml

Object = dict[str, Any]
NUMBER_IN_GO = re.compile(r"[-+]?[0-9._]+[eE][-+]?[0-9]+|0[oO][0-7]+")  # a number to kubectl, but a string to PyYAML


class Quantity(str):
    """A resource quantity. It is quoted, because a number would cause conflicts in a server-side apply."""


class Line(list[Any]):
    """A list that is written on one line, for example a command."""


class _Dumper(yaml.SafeDumper):
    """Writes indented lists, no aliases, and text of several lines as a block."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always True: a reader sees each Job in full."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists below their key."""
        super().increase_indent(flow, False)


_Dumper.add_representer(Quantity, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:str", str(value), style='"'))
_Dumper.add_representer(
    Line, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", list(value), flow_style=True)
)
_Dumper.add_representer(str, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:str", value, style=_style(value)))


def _style(value: str) -> str | None:
    if "\n" in value:
        return "|"
    return "'" if NUMBER_IN_GO.fullmatch(value) else None


def to_yaml(body: Object) -> str:
    """An object as YAML, with its keys in their order."""
    return yaml.dump(body, Dumper=_Dumper, sort_keys=False, width=200)
