"""The results of a part: rows in a JSON file that is written atomically after each row, and their table."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from selfsyn.files import write_json

Row = Mapping[str, Any]
OK, FAILED = "ok", "FAILED"


class Record:
    """The rows of a part. A killed part keeps its rows. A part that runs again replaces rows with the same key."""

    def __init__(self, folder: Path, part: str, *, key: tuple[str, ...] = ("what",)) -> None:
        """folder: of the results.  key: the columns that identify a row."""
        self.path, self.key, self.began = folder / f"{part}.json", key, time.monotonic()
        self.rows: list[dict[str, Any]] = _rows_of(self.path)

    def add(self, **row: Any) -> None:
        """Store a row and print it."""
        self.rows = [other for other in self.rows if self._key(other) != self._key(row)] + [row]
        write_json(self.path, {**machine(), "rows": self.rows})
        print(
            f"[{time.monotonic() - self.began:6.1f} s] " + ", ".join(f"{name} {shown(value)}" for name, value in row.items()),
            flush=True,
        )

    def has(self, **key: Any) -> bool:
        """Whether there is a row with this key that has not failed."""
        return any(self._key(row) == self._key(key) and row.get("verdict") != FAILED for row in self.rows)

    def _key(self, row: Row) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in self.key)


def _rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of an earlier run. SystemExit if they come from another machine or other versions."""
    if not path.exists():
        return []
    before = json.loads(path.read_text())
    changed = [f"{key} {before.get(key)}, here {value}" for key, value in machine().items() if before.get(key) != value]
    if changed:
        raise SystemExit(f"{path}: the rows come from another machine ({'; '.join(changed)}); use another folder")
    rows: list[dict[str, Any]] = before["rows"]
    return rows


def machine() -> dict[str, str]:
    """The device and the versions with which figures are measured."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return {
        "device": device,
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "none",
        "python": platform.python_version(),
    }


def markdown(path: Path) -> str:
    """The Markdown table of a part's JSON file; a line without a table if there is no file."""
    if not path.exists():
        return f"{path.stem}: no finished row\n"
    found = json.loads(path.read_text())
    columns = list(dict.fromkeys(name for row in found["rows"] for name in row))
    lines = [f"## {path.stem} ({found['device']}, torch {found['torch']}, CUDA {found['cuda']})", ""]
    lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(shown(row.get(name, "")) for name in columns) + " |" for row in found["rows"]]
    return "\n".join(lines) + "\n"


def shown(value: object) -> str:
    """A float with three significant digits, or as an integer from 100; other values as text."""
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    print(markdown(Path(sys.argv[1])))
