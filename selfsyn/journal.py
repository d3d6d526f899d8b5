"""A journal: rows of JSON, written in order, with which an interrupted command goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from selfsyn.files import write_atomic


def begun(path: Path, head: Mapping[str, Any]) -> int:
    """The number of rows of an earlier attempt with the same head; begins a new journal without one, or with another head.

    head: what decides the rows. A last line that is not whole is cut off.
    """
    first = (json.dumps(head) + "\n").encode()
    if path.exists():
        with open(path, "rb+") as stream:
            if stream.readline() == first:
                lengths = [len(line) for line in stream if line.endswith(b"\n")]
                stream.truncate(len(first) + sum(lengths))
                return len(lengths)
    write_atomic(path, first)
    return 0


def head_of(path: Path) -> dict[str, Any]:
    """The head of a journal, or {} where it is not whole."""
    with open(path) as stream:
        line = stream.readline()
    return dict(json.loads(line)) if line.endswith("\n") else {}


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """The rows, one at a time."""
    with open(path) as stream:
        yield from map(json.loads, islice(stream, 1, None))
