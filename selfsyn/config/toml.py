"""run.toml <-> RunConfig: msgspec checks types and ranges, tomlkit writes."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from selfsyn.config.old_keys import renewed, updated
from selfsyn.config.run import RunConfig
from selfsyn.config.task import OF_VIT
from selfsyn.errors import InputError
from selfsyn.files import read_text

OPTIONAL = ("held_out", "student", "classes", "scoring")  # tables that --set KEY= leaves out
LISTED = ("synthetic", "real")  # one table, or several
KINDS: dict[Any, tuple[str, str]] = {
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
    bool: ("true or false", "true or false"),
}
HUGE = 1e18  # numbers beyond it, infinity among them, mean nothing anywhere in a configuration
PLACE = re.compile(r"^(?P<message>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)


def load(path: Path) -> RunConfig:
    """Read run.toml. InputError names the file, the key, what is there and what is expected."""
    values = read_toml(path, remedy=f"make it with `selfsyn init RECIPE --run {path.parent}`")
    try:
        return from_mapping(values)
    except InputError as error:
        raise InputError(str(error).replace("run.toml", str(path), 1)) from error


def read_toml(path: Path, *, remedy: str) -> dict[str, Any]:
    """The values of a TOML file. InputError, with the remedy, when it is missing or no TOML."""
    try:
        return tomllib.loads(read_text(path))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; {remedy}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected a TOML file") from error
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid TOML ({error}); correct it") from error


def from_mapping(values: Mapping[str, Any]) -> RunConfig:
    """Nested mapping -> RunConfig. Every key, type and range is checked."""
    given = _with_protocol(_with_whole_student(updated(values)))
    _check_keys(RunConfig, given, prefix="")
    whole = {key: [value] if key in LISTED and isinstance(value, Mapping) else value for key, value in given.items()}
    try:
        return typing.cast(RunConfig, _with_defaults(msgspec.convert(whole, RunConfig)))
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, InputError):  # from a __post_init__, which knows best
            raise InputError(_with_place(str(error.__cause__), str(error))) from None
        raise InputError(_refusal(str(error), whole)) from None


def _with_place(message: str, error: str) -> str:
    """A message of our own, with the section that msgspec names unless it says where it belongs."""
    place = re.search(r" - at `\$\.(.*)`$", error)
    if message.startswith("run.toml: ") or place is None:
        return message
    return f"run.toml: {message}" if message.startswith(f"{place[1]}: ") else f"run.toml: {place[1]}: {message}"


def _with_defaults(table: Any) -> Any:
    """The table with its default values in `vars`, where msgspec leaves them out."""
    if isinstance(table, tuple):
        return tuple(map(_with_defaults, table))
    if not dataclasses.is_dataclass(table):
        return table
    fields = {item.name: _with_defaults(getattr(table, item.name)) for item in dataclasses.fields(table)}
    return type(table)(**fields)  # type: ignore[misc]


def _with_whole_student(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the values of [task] in [student], where it does not set its own; without those of a vit in another net."""
    task, student = values.get("task", {}), values.get("student")
    if isinstance(task, Mapping) and isinstance(student, Mapping):
        of_vit = OF_VIT if student.get("architecture", "vit") != "vit" else {}
        return {**values, "student": {**{key: value for key, value in task.items() if key not in of_vit}, **student}}
    return values


def _with_protocol(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the protocol that fits [classes] and [scoring], where held_out names none."""
    held_out = values.get("held_out")
    found = "own" if "scoring" in values else "every-class" if "classes" in values else ""
    if not found or not isinstance(held_out, Mapping) or "protocol" in held_out:
        return values
    return {**values, "held_out": {**held_out, "protocol": found}}


def _check_keys(kind: type, values: Mapping[str, Any], *, prefix: str) -> None:
    """InputError for an unknown key, with the nearest known one, and for a number that is not finite."""
    hints = typing.get_type_hints(kind)
    known = {item.name for item in dataclasses.fields(kind)}
    for key, value in values.items():
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise InputError(f"run.toml: unknown key {prefix}{key}; did you mean {prefix}{nearest}?")
        if isinstance(value, str) and not value.isprintable():
            raise InputError(f"run.toml: {prefix}{key} is {value!r:.60}; expected no control characters")
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, float | int) and abs(number) > HUGE for number in numbers):
            raise InputError(f"run.toml: {prefix}{key} is {value!r:.60}; expected a number that is not so large")
        table = next((hint for hint in _parts(hints[key]) if dataclasses.is_dataclass(hint)), None)
        several = isinstance(value, list) and len(value) > 1
        for number, inside in enumerate(numbers):
            if table is not None and isinstance(inside, Mapping):
                place = f"{prefix}{key}.{number}." if several else f"{prefix}{key}."
                _check_keys(typing.cast(type, table), inside, prefix=place)


def _parts(hint: Any) -> Iterator[Any]:
    """A type hint, and those that it is made of."""
    yield hint
    for part in typing.get_args(hint):
        yield from _parts(part)


def _refusal(error: str, values: Mapping[str, Any]) -> str:
    """msgspec's error -> 'run.toml: KEY is VALUE; expected ...'."""
    found = PLACE.match(error)
    assert found is not None
    message, steps = found["message"], re.findall(r"[^.\[\]]+", found["path"] or "")
    value: Any = values
    hint: Any = RunConfig
    shown: list[str] = []
    for step in steps:
        hint = _hint_inside(hint, step)
        if step.isdecimal() and isinstance(value, list | tuple):
            shown += [step] if len(value) > 1 else []
            value = value[int(step)]
        elif step != "...":
            shown.append(step)
            value = value.get(step) if isinstance(value, Mapping) else value
    name = ".".join(shown)
    if message.startswith("Object missing required field"):
        return _what_to_set(list(_missing(RunConfig, values, prefix="")))
    return f"run.toml: {name} is {value!r}; expected {_expected(message, hint)}"


def _missing(kind: type, values: Mapping[str, Any], *, prefix: str) -> Iterator[str]:
    """The keys without a default that are not there, in `values` and in the tables in it."""
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        optional = item.default is not dataclasses.MISSING or item.default_factory is not dataclasses.MISSING
        table = next((part for part in _parts(hints[item.name]) if dataclasses.is_dataclass(part)), None)
        if item.name not in values and (optional or table is None):
            yield from () if optional else (f"{prefix}{item.name}",)
            continue
        value = values.get(item.name, {})
        tables = value if isinstance(value, list) else [value]
        for number, inside in enumerate(tables):
            if table is not None and isinstance(inside, Mapping):
                place = f"{item.name}.{number}" if len(tables) > 1 else item.name
                yield from _missing(typing.cast(type, table), inside, prefix=f"{prefix}{place}.")


def _what_to_set(keys: Sequence[str]) -> str:
    """The refusal of a configuration without these keys."""
    tables = dict.fromkeys(key.split(".")[0] for key in keys)
    left_out = "".join(f", or leave out the table {table} with --set {table}=" for table in tables if table in OPTIONAL)
    settings = " ".join(f"--set {key}=VALUE" for key in keys)
    found = f"{keys[0]} is missing; set it" if len(keys) == 1 else f"{', '.join(keys)} are missing; set them"
    return f"run.toml: {found} with {settings}{left_out}"


def _hint_inside(hint: Any, step: str) -> Any:
    """The type of the field, or of the item, `step` of a type."""
    for part in _parts(hint):
        if dataclasses.is_dataclass(part) and not step.isdecimal():
            return typing.get_type_hints(part, include_extras=True)[step]
    inner = [part for part in _parts(hint) if typing.get_origin(part) in (tuple, dict)]
    return typing.get_args(inner[0])[0] if inner else hint


def _expected(message: str, hint: Any) -> str:
    """What the key may hold, in words."""
    parts = list(_parts(hint))
    choices = [choice for part in parts if typing.get_origin(part) is typing.Literal for choice in typing.get_args(part)]
    if message.startswith("Invalid enum value"):
        return "one of " + ", ".join(str(choice) or "''" for choice in dict.fromkeys(choices))
    if message.startswith("Expected `object"):
        return "a table"
    if message.startswith("Expected `str` of length"):
        return "a string that is not empty"
    single, several = next((KINDS[part] for part in parts if part in KINDS and not _has_tables(hint)), ("a table", "tables"))
    if message.startswith("Expected `array`"):
        length = re.search(r"of length (>= )?(\d+)", message)
        return f"a list of {'at least ' if length and length[1] else ''}{length[2] + ' ' if length else ''}{several}"
    limits = _limits([part for part in parts if isinstance(part, msgspec.Meta)])
    return single + limits + (", or a list" if any(typing.get_origin(part) is tuple for part in parts) else "")


def _has_tables(hint: Any) -> bool:
    return any(dataclasses.is_dataclass(part) for part in _parts(hint))


def _limits(metas: Sequence[msgspec.Meta]) -> str:
    """The range of a number, as ' in [0, 1)', ' above 0' or ''."""
    meta = next((meta for meta in metas if meta.ge is not None or meta.gt is not None), None)
    if meta is None:
        return ""
    steps = f", a multiple of {meta.multiple_of}" if meta.multiple_of else ""
    low, high = (meta.gt if meta.ge is None else meta.ge), (meta.lt if meta.le is None else meta.le)
    if high is None:
        return (f" above {low}" if meta.ge is None else f" of at least {low}") + steps
    return f" in {'(' if meta.ge is None else '['}{low}, {high}{')' if meta.le is None else ']'}{steps}"


def to_toml(config: RunConfig) -> str:
    """The canonical run.toml: every field, in the order of the dataclasses. load(to_toml(c)) == c."""
    import tomlkit

    values = _without_empty(dataclasses.asdict(config))
    for role in LISTED:
        values[role] = values[role][0] if len(values[role]) == 1 else list(values[role])
    return tomlkit.dumps(values)


def _without_empty(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _without_empty(value) for key, value in values.items() if value is not None and value != {}}
    return tuple(map(_without_empty, values)) if isinstance(values, tuple) else values


def flat(config: RunConfig) -> dict[str, Any]:
    """{'train.steps': 40000, ...}: every value of the configuration by its dotted key."""
    return dict(_leaves(config, ""))


def _leaves(table: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for item in dataclasses.fields(table):
        value = getattr(table, item.name)
        tables = value if item.name in LISTED else (value,) if dataclasses.is_dataclass(value) else ()
        for number, inside in enumerate(tables):
            yield from _leaves(inside, f"{prefix}{item.name}.{number}." if len(tables) > 1 else f"{prefix}{item.name}.")
        if not tables and value is not None:
            yield prefix + item.name, value


def difference(ours: RunConfig, theirs: RunConfig) -> list[str]:
    """'train.steps: 300 -> 400' for each value that differs, from `ours` to `theirs`."""
    before, after = flat(ours), flat(theirs)
    keys = list(before) + [key for key in after if key not in before]
    return [f"{k}: {before.get(k)!r} -> {after.get(k)!r}" for k in keys if before.get(k) != after.get(k)]


def with_settings(values: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """`values` with each 'dotted.key=value' applied; the value is TOML, or a bare word that stands for a string.

    Without a value, an optional table is left out.
    """
    result = copy.deepcopy(dict(values))
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals or not all(key.split(".")):
            raise InputError(f"--set {setting!r}: expected KEY=VALUE, for example train.steps=300")
        key, value = renewed(key, _value_of(text.strip()))
        *tables, leaf = key.split(".")
        if len(tables) > 1 and tables[0] in LISTED and tables[1] == "0" and isinstance(result.get(tables[0]), dict):
            del tables[1]  # the only source of its role
        node: Any = result
        for table in tables:
            node = _inside(node, table, setting=setting)
        if key in OPTIONAL and not text.strip():
            node.pop(leaf, None)
            continue
        if isinstance(node, list):
            raise InputError(f"--set {setting!r}: {len(node)} tables are there; name one of them, KEY.0.…")
        node[leaf] = value
    return result


def _inside(node: dict[str, Any] | list[dict[str, Any]], table: str, *, setting: str) -> Any:
    """The table called `table` in `node`, or the table at that position of a list of tables."""
    if isinstance(node, list):
        if not (table.isdecimal() and int(table) < len(node)):
            raise InputError(f"--set {setting!r}: {table} is no number of a source; expected 0 to {len(node) - 1}")
        return node[int(table)]
    inside = node.setdefault(table, {})
    if not isinstance(inside, dict | list):
        raise InputError(f"--set {setting!r}: {table} is a value, not a table")
    return inside


def _value_of(text: str) -> Any:
    try:
        values = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return values["value"] if len(values) == 1 else text
