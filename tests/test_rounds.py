"""When the rounds end by themselves: what two rounds' labels say about each other, and what `selfsyn round` makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_run import make, selfsyn_here
from tiny_store import Maps, write_shard

from jobs import round as rounding
from jobs.round import table_of_times
from selfsyn.config import Rounds
from selfsyn.errors import InputError
from selfsyn.flow import Phase
from selfsyn.pseudo_labels import LabelStore, no_counts
from selfsyn.rounds import change, mean_confidence, settled


def maps(*classes: int, confidence: int) -> Maps:
    """One row of pixels."""
    label = np.array([classes], dtype=np.uint8)
    return label, np.full_like(label, confidence)


def stores(root: Path, before: dict[str, Maps], after: dict[str, Maps]) -> tuple[LabelStore, LabelStore]:
    for round_, frames in ((1, before), (2, after)):
        write_shard(root / f"round-{round_}/labels/shard-00000-of-00001", frames)
    return LabelStore(root / "round-1/labels"), LabelStore(root / "round-2/labels")


def test_change_by_hand(tmp_path: Path) -> None:
    before = {"a": maps(0, 0, 1, 1, confidence=102), "b": maps(0, 0, 0, 0, confidence=153)}
    after = {"a": maps(0, 1, 0, 1, confidence=204), "b": maps(0, 0, 0, 2, confidence=204)}
    found = change(*stores(tmp_path, before, after))
    assert found.agreement == 5 / 8
    assert found.confidence == pytest.approx((0.5, 0.8))
    # Shares 6/8, 2/8, 0 -> 5/8, 2/8, 1/8: an eighth has moved, though three pixels have changed.
    assert found.drift == pytest.approx(1 / 8)
    assert str(found) == ("62.5% of the pixels keep their class, mean confidence 0.500 → 0.800, class shares drift by 12.5%")


def test_mean_confidence_by_hand() -> None:
    counts = no_counts()
    counts[3, 255], counts[7, 51] = 1, 3
    assert mean_confidence(counts) == pytest.approx((1 + 3 * 0.2) / 4)
    assert mean_confidence(no_counts()) == 0.0


def test_the_rule(tmp_path: Path) -> None:
    pair = {"a": maps(0, 0, 1, 1, confidence=102)}, {"a": maps(0, 0, 1, 2, confidence=102)}
    found = change(*stores(tmp_path, *pair))
    limits = {0.0: False, 0.74: True, 0.75: True, 0.76: False}
    assert {limit: settled(found, stop_agreement=limit) for limit in limits} == limits


@pytest.mark.parametrize(
    ("limit", "refit", "expected"),
    [
        (0.75, "false", ["pseudo-label 2", "report"]),
        (0.75, "true", ["pseudo-label 2", "report"]),  # no adapter is fitted for a round that will not be
        (0.8, "false", ["pseudo-label 2", "train 2", "export-teacher 2", "evaluate 2", "report"]),
        (0.8, "true", ["pseudo-label 2", "fit-adapter 2", "adapt 2", "train 2", "export-teacher 2", "evaluate 2", "report"]),
        (0.0, "false", ["pseudo-label 2", "train 2", "export-teacher 2", "evaluate 2", "report"]),
    ],
)
def test_round_ends_where_the_labels_are_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float, refit: str, expected: list[str]
) -> None:
    root = make(tmp_path / "run", f"rounds.stop_agreement={limit}", f"rounds.refit={refit}")
    stores(root, {"a": maps(0, 0, 1, 1, confidence=102)}, {"a": maps(0, 0, 1, 2, confidence=102)})
    done: list[str] = []

    def finished(_: object, phase: Phase) -> bool:
        return phase.verb != "report" and "2" not in phase.arguments[1:2]

    monkeypatch.setattr(rounding, "is_current", finished)
    monkeypatch.setattr(rounding, "start_server", lambda todo: None)
    named = lambda phase: " ".join((phase.verb, *phase.arguments[1:2]))  # noqa: E731
    monkeypatch.setattr(rounding, "run_phase", lambda root, phase, **_: done.append(named(phase)))
    code, said = selfsyn_here("round", "--run", root, "--rounds", 2)
    assert code == 0, said
    assert done == expected
    if limit:
        assert "labels of round 2 against round 1: 75.0% of the pixels keep their class" in said
        assert ("stop before round 2" if limit == 0.75 else "go on (stop at 80.0%)") in said


def test_where_the_time_went_by_hand() -> None:
    assert table_of_times({"world": 10.0, "train --round 0": 2.46, "report": 0.04}) == [
        "     10.0 s  80.0%  world",
        "      2.5 s  19.7%  train --round 0",
        "      0.0 s   0.3%  report",
        "     12.5 s         all phases",
    ]


def test_a_share_beyond_one_is_refused() -> None:
    with pytest.raises(InputError, match=r"rounds\.stop_agreement is 1\.1; expected a share in \[0, 1\]"):
        Rounds(stop_agreement=1.1)
