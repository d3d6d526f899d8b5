"""The rows of a label store: found by name, in the order of names, and in little memory."""

from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path

import pytest

from selfsyn import label_rows
from selfsyn.errors import InputError
from selfsyn.label_rows import INDEX, Rows, row_at


def write(folder: Path, shards: list[list[dict[str, object]]]) -> list[Path]:
    """The indices of shards, as `pseudo-label` writes them."""
    paths = []
    for number, rows in enumerate(shards):
        path = folder / f"shard-{number:05}-of-{len(shards):05}"
        path.mkdir(parents=True)
        (path / INDEX).write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths.append(path)
    return paths


def naive(shards: list[list[dict[str, object]]]) -> list[str]:
    return [line for _, line in sorted((str(row["name"]), json.dumps(row)) for rows in shards for row in rows)]


NAMES = [f"straße-{number}" for number in range(40)] + ["a", "z", "\u4e2d", "\U0001f6a6", "A b", 'quo"te', "latin-\udce9"]


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
@pytest.mark.parametrize("most_runs", [10_000, 3])
def test_lines_come_in_the_order_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, most_runs: int) -> None:
    monkeypatch.setattr(label_rows, "MOST_RUNS", most_runs)
    monkeypatch.setattr(label_rows, "BLOCK", 7)  # far less than a line
    names = sorted(NAMES)
    if order == "shuffled":
        random.Random(0).shuffle(names)
    rows: list[dict[str, object]] = [{"name": name, "image": f"x/{name}", "mean_confidence": 0.1} for name in names]
    shards = [rows[number::3] for number in range(3)] + [[]]
    assert list(Rows(write(tmp_path, shards)).sorted_lines()) == naive(shards)


@pytest.mark.parametrize("collide", [False, True])
def test_a_row_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collide: bool) -> None:
    if collide:
        monkeypatch.setattr(label_rows, "_key", lambda name: bytes(8))
    shards: list[list[dict[str, object]]] = [
        [{"name": "b", "n": 0}, {"name": "a", "n": 1}],
        [{"name": "d", "skipped": "truncated"}, {"name": "c", "n": 3}, {"name": "a", "n": 4}],
    ]
    paths = write(tmp_path, shards)
    rows = Rows(paths)
    assert len(rows) == 5 and rows.skipped == {"d": "truncated"} and sorted(rows.names()) == ["a", "a", "b", "c"]
    places = {name: rows.place(name) for name in "abcd"}
    assert {name: (place.shard, place.number) for name, place in places.items() if place} == {
        "a": (paths[1], 2),  # the last of two
        "b": (paths[0], 0),
        "c": (paths[1], 1),
        "d": (paths[1], 0),
    }
    assert [row_at(place)["name"] for place in places.values() if place] == list("abcd")
    assert rows.place("e") is None
    assert rows.missing("abc") is None
    assert rows.missing([]) is None
    if not collide:
        assert rows.missing(["a", "x", "b", "y"]) == "x"


def test_an_empty_and_a_damaged_index(tmp_path: Path) -> None:
    (empty,) = write(tmp_path / "empty", [[]])
    assert Rows([empty]).missing(["a"]) == "a" and Rows([empty]).place("a") is None
    (damaged,) = write(tmp_path / "damaged", [[{"name": "a"}]])
    for text in ('{"name": "a"', '{"names": "a"}', "\n"):
        (damaged / INDEX).write_text(text)
        with pytest.raises(InputError, match="index.jsonl: cannot be read"):
            Rows([damaged])
    (damaged / INDEX).unlink()
    with pytest.raises(InputError, match="index.jsonl: cannot be read"):
        Rows([damaged])


def test_memory_is_some_bytes_a_row(tmp_path: Path) -> None:
    """Names of 100 letters: as strings in a dictionary they would take over 250 bytes each."""
    shards = [[{"name": f"{number:0100}", "label": "x" * 200} for number in range(part, 40_000, 4)] for part in range(4)]
    paths = write(tmp_path, shards)  # type: ignore[arg-type]
    tracemalloc.start()
    rows = Rows(paths)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    assert sum(1 for _ in rows.sorted_lines()) == 40_000
    merging = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kept < 30 * 40_000 and peak < 80 * 40_000
    assert merging - kept < 4 * 4 * label_rows.BLOCK  # of the 15 MB of the indices


@pytest.mark.parametrize("damage", [b"\xff", b"\xe9 "])
def test_a_row_that_is_no_utf8_is_refused_in_one_line(damage: bytes, tmp_path: Path) -> None:
    (shard,) = write(tmp_path, [[{"name": "a", "label": "x" * 20}]])
    index = shard / label_rows.INDEX
    index.write_bytes(index.read_bytes().replace(b"xxx", damage, 1))
    with pytest.raises(InputError, match=r"^[^\n]*index\.jsonl: cannot be read \([^\n]*\); label the shard again"):
        list(Rows([shard]).sorted_lines())
