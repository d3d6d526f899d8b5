"""Objects -> YAML as a person would have written it: quoted amounts, commands on one line, every object written out."""

from __future__ import annotations

from typing import Any

import yaml

Object = dict[str, Any]


class Quantity(str):
    """An amount of a resource: quoted in the file, so that it never turns into a number and a conflict."""


class Line(list[Any]):
    """A list that is written on one line: a command, as a person would read it."""


class _Dumper(yaml.SafeDumper):
    """Indented lists, no aliases, text as a block."""

    def ignore_aliases(self, data: Any) -> bool:
        """Each object is written out: a person reads one Job at a time."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Lists are indented below their key."""
        super().increase_indent(flow, False)


_Dumper.add_representer(Quantity, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:str", str(value), style='"'))
_Dumper.add_representer(
    Line, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", list(value), flow_style=True)
)
_Dumper.add_representer(
    str,
    lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None),
)


def to_yaml(body: Object) -> str:
    """One object, in the order in which it was made."""
    return yaml.dump(body, Dumper=_Dumper, sort_keys=False, width=200)
