"""How surely a row is ahead: the bootstrap against counts by hand and against the scores of metrics.py; its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_run import make

from selfsyn.classes import CITYSCAPES_19
from selfsyn.compare.lead import BLOCK, DRAWS, LEAST, Lead, drawn, lead, mious
from selfsyn.compare.plan import entry
from selfsyn.compare.results import Line, Result
from selfsyn.compare.rows import ROWS
from selfsyn.config import load
from selfsyn.errors import InputError
from selfsyn.files import digest_bytes, write_atomic
from selfsyn.frame_counts import FRAMES, cells, encode_frames, read_frames
from selfsyn.labels import PROTOCOLS, protocol
from selfsyn.layout import Layout
from selfsyn.metrics import figures

K = len(CITYSCAPES_19)


def counts_of(frames: int, *, hits: int, seed: int = 0) -> NDArray[np.int64]:
    """(frames, K, K) counts with noise, class 7 without ground truth; `hits`: more pixels on the diagonal are better."""
    counts = np.random.default_rng(seed).integers(0, 50, (frames, K, K))
    counts[:, np.arange(K), np.arange(K)] += hits
    counts[:, 7] = 0
    return counts


def test_a_draw_takes_blocks_of_neighbours_and_as_many_frames_as_there_are() -> None:
    weights = drawn(25, seed=0)
    assert weights.shape == (DRAWS, 25) and (weights.sum(axis=1) == 25).all()
    assert abs(weights.mean(axis=0) - 1).max() < 0.1
    assert (weights != 1).any(axis=1).mean() > 0.9
    many = drawn(BLOCK * LEAST, seed=0)
    changes = (many != np.roll(many, 1, axis=1)).sum(axis=1)  # ten blocks have at most twenty ends
    assert changes.max() <= 2 * LEAST < many.shape[1] / 2


@pytest.mark.parametrize("frames", [LEAST, 15, 30, 60, 100])
def test_two_rows_that_differ_by_chance_are_rarely_called_sure(frames: int, run: Path) -> None:
    sure = 0
    for trial in range(40):
        one, two = (line_of(run, row, {0: noise(frames, seed=2 * trial + k)}) for k, row in enumerate(("ours", "source-only")))
        found = lead(one, two)
        assert found is not None
        sure += found.words in ("ahead: P > 0.99", "ahead: P < 0.01")
    assert sure <= 6  # 2 % of 40 is 1; a bootstrap of ten units is too sure, and this allows for chance


def noise(frames: int, *, seed: int) -> NDArray[np.int64]:
    """(frames, K, K) counts of a net of two classes that is right on a random share of each frame."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((frames, K, K), np.int64)
    hits = rng.integers(300, 700, (frames, 2))
    counts[:, 0, 0], counts[:, 1, 1] = hits.T
    counts[:, 0, 1], counts[:, 1, 0] = 1000 - hits.T
    return counts


@pytest.mark.parametrize("key", PROTOCOLS)
def test_the_miou_of_a_draw_is_that_of_the_drawn_frames(key: str) -> None:
    counts, rules = counts_of(12, hits=100), protocol(key)
    for one in (rules, *rules.variants):
        weights = drawn(12, seed=3)[:4]
        expected = [figures((row[:, None, None] * counts).sum(axis=0), protocol=one)["miou"] for row in weights]
        assert mious(counts, weights, one) == pytest.approx(expected, abs=1e-12)


def line_of(run: Path, name: str, by_seed: dict[int, NDArray[np.int64]], *, digest: str = "sha256:0") -> Line:
    """A finished row with these counts of its frames, by seed."""
    layout, config = Layout(run), load(run / "run.toml")
    row = next(row for row in ROWS if row.name == name)
    results = []
    for seed, counts in by_seed.items():
        one = entry(layout, config, row=row, net="deeplabv3plus", seed=seed, rounds=1)
        frames = {f"{number:04d}": cells(frame) for number, frame in enumerate(counts)}
        data = encode_frames(frames, classes=K)
        write_atomic(one.layout.evaluation(one.stage) / FRAMES, data)
        metrics = figures(counts.sum(axis=0), protocol=config.protocol)
        manifest = {"inputs": {"held_out": digest}, "outputs": {FRAMES: digest_bytes(data)}}
        results.append(Result(one, metrics, manifest, 0.0))
    return Line(tuple(results))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make(tmp_path / "run")


def test_a_row_that_is_better_on_every_frame_is_ahead_in_every_draw(run: Path) -> None:
    better = line_of(run, "ours", {seed: counts_of(30, hits=200) for seed in (0, 1, 2)})
    worse = line_of(run, "source-only", {seed: counts_of(30, hits=100) for seed in (0, 1, 2)})
    found, turned = lead(better, worse), lead(worse, better)
    assert found is not None and turned is not None
    assert (found.probability, found.words, found.seeds, found.frames) == (1.0, "ahead: P > 0.99", 3, 30)
    assert 0 < found.low < found.difference < found.high
    assert (turned.probability, turned.words) == (0.0, "ahead: P < 0.01") and turned.difference == pytest.approx(
        -found.difference
    )
    assert found.difference == pytest.approx(better.mious[0] - worse.mious[0])


def test_equal_rows_are_ahead_of_each_other_half_the_time(run: Path) -> None:
    same = {seed: counts_of(30, hits=100) for seed in (0, 1)}
    found = lead(line_of(run, "ours", same), line_of(run, "source-only", same))
    assert found == Lead(0.0, 0.0, 0.0, 0.5, 30, 2) and found.words == "ahead: P 0.50"


def test_a_lead_on_half_of_the_seeds_is_not_sure(run: Path) -> None:
    ours = line_of(run, "ours", {0: counts_of(30, hits=200), 1: counts_of(30, hits=100)})
    other = line_of(run, "source-only", {0: counts_of(30, hits=100), 1: counts_of(30, hits=200)})
    found = lead(ours, other)
    # Two seeds of +d and -d: both are drawn in a quarter of the draws each, and one of each in half, which is a tie here.
    assert found is not None and found.probability == pytest.approx(0.5, abs=0.05) and abs(found.difference) < 1e-9


def test_a_lead_on_half_of_the_frames_is_not_sure(run: Path) -> None:
    mixed = np.concatenate([counts_of(20, hits=200), counts_of(20, hits=60)])
    found = lead(line_of(run, "ours", {0: mixed}), line_of(run, "source-only", {0: counts_of(40, hits=120)}))
    assert found is not None and 0.05 < found.probability < 0.95 and found.low < 0 < found.high


def test_no_probability_without_frames_with_other_frames_or_with_few(run: Path) -> None:
    ours = line_of(run, "ours", {0: counts_of(30, hits=100)})
    assert lead(ours, line_of(run, "source-only", {1: counts_of(30, hits=100)})) is None
    assert lead(ours, line_of(run, "source-only", {0: counts_of(29, hits=100)})) is None
    few = {0: counts_of(LEAST - 1, hits=100)}
    assert lead(line_of(run, "ours", few), line_of(run, "source-only", few)) is None
    old = Line((replace(ours.results[0], manifest={"inputs": {}, "outputs": {}}),))  # an evaluation of an earlier version
    assert lead(ours, old) is None


def test_no_probability_of_fewer_seeds_than_the_difference_has(run: Path) -> None:
    ours = line_of(run, "ours", {seed: counts_of(30, hits=100) for seed in (0, 1)})
    other = line_of(run, "source-only", {seed: counts_of(30, hits=90) for seed in (0, 1)})
    assert lead(ours, other) is not None
    first, second = other.results
    assert lead(ours, Line((first, replace(second, manifest={"inputs": {}, "outputs": {}})))) is None


@pytest.mark.parametrize("harm", ["gone", "cut", "folder"])
def test_a_file_that_is_not_the_one_that_was_written_gives_a_line_and_no_probability(
    harm: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, other = (line_of(run, row, {0: counts_of(30, hits=100)}) for row in ("ours", "source-only"))
    path = other.entry.layout.evaluation(other.entry.stage) / FRAMES
    data = path.read_bytes()
    path.unlink()
    if harm == "cut":
        path.write_bytes(data[:-9])
    elif harm == "folder":
        path.mkdir()
    assert lead(ours, other) is None and lead(ours, other) is None
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and str(path) in said[0] and "selfsyn evaluate --force" in said[0]


def test_the_file_keeps_the_counts_and_is_the_same_for_the_same_counts(tmp_path: Path) -> None:
    counts = {'a/ä"': counts_of(1, hits=3)[0], "empty": np.zeros((K, K), np.int64)}
    data = encode_frames({name: cells(frame) for name, frame in counts.items()}, classes=K)
    assert data == encode_frames({name: cells(frame) for name, frame in counts.items()}, classes=K)
    (tmp_path / FRAMES).write_bytes(data)
    found = read_frames(tmp_path / FRAMES)
    assert found is not None and list(found) == list(counts)
    assert all((found[name] == counts[name]).all() for name in counts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"classes": 1e999, "frames": {}}',
        '{"classes": 1, "frames": {"a": [[0, 0, 1e30]]}}',
        '{"classes": 2, "frames": {"a": [[0, 2, 1]]}}',
        '{"classes": 2, "frames": {"a": [[0, 1]]}}',
        '{"classes": "x"}',
    ],
)
def test_a_file_of_something_else_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FRAMES).write_text(text)
    with pytest.raises(InputError, match=FRAMES):
        read_frames(tmp_path / FRAMES)
