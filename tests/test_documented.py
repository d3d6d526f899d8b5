"""Every command of ours that a document shows is one that the real command line takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from jobs.__main__ import cli
from selfsyn.verbs import VERBS

ROOT = Path(__file__).parent.parent
# How many commands there are at least: a document that is written otherwise must not pass because none was found.
DOCUMENTS = {
    "README.md": 12,
    "docs/commands.md": 16,
    "docs/configuration.md": 4,
    "docs/data.md": 4,
    "docs/labels.md": 5,
    "docs/operations.md": 8,
    "docs/serving.md": 3,
    "docker/README.md": 13,
    "k8s/README.md": 2,
    "benchmarks/RESULTS.md": 4,
}
WHOLE = re.compile(r"^(?:selfsyn|python -m jobs|phase (?P<image>\w+)) +(?P<words>.*)$")


def commands(text: str) -> Iterator[tuple[str, bool]]:
    """Each command in code, and whether it is in a block, where it must be complete; in the text it may be a mere mention."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            yield from ((part, True) for part in _parts(line.split(" #")[0]))
    for mention in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
        yield from ((part, False) for part in _parts(mention))


def _parts(line: str) -> list[str]:
    """The commands of a line of shell; in a table a pipe is escaped."""
    return [part.strip() for part in re.split(r"\\?\||&&|;", line)]


def parsed(words: list[str], *, complete: bool) -> None:
    """Parse as the program does; click's error for what it does not take."""
    command: click.Command = cli
    context = click.Context(cli, info_name="selfsyn")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"{words[0]} is no command"
        command, words = found, words[1:]
    if isinstance(command, click.Group) and not words and not complete:
        return
    try:
        command.make_context(command.name, _values(words), parent=context)
    except click.exceptions.Exit:  # --help and --version
        pass
    except click.MissingParameter:
        if complete and "..." not in words:
            raise


def _values(words: list[str]) -> list[str]:
    """In a document N, K and I stand for numbers, and three dots for a value, or for whatever a reader adds."""
    before = ["", *words]
    kept = [word for i, word in enumerate(words) if word != "..." or before[i].startswith("--")]
    return ["1" if re.fullmatch("[A-Z]", word) else word for word in kept]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_that_is_shown_is_taken(name: str) -> None:
    found = 0
    for text, complete in commands((ROOT / name).read_text()):
        match = WHOLE.match(text)
        if match is None:
            continue
        words = shlex.split(match["words"])
        try:
            parsed(words, complete=complete)
        except (AssertionError, click.UsageError) as error:
            pytest.fail(f"{name}: {text}: {error}")
        if match["image"]:
            needs_torch = VERBS[words[0]].needs_torch
            assert needs_torch == (match["image"] == "train"), f"{name}: {text}: another image"
        found += 1
    assert found >= DOCUMENTS[name]
