"""What two rounds' labels say about each other, and where the time of `selfsyn round` went."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_store import Maps, write_shard

from jobs.round import table_of_times
from selfsyn.pseudo_labels import LabelStore, no_counts
from selfsyn.rounds import change, mean_confidence


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


def test_mean_confidence_by_hand() -> None:
    counts = no_counts()
    counts[3, 255], counts[7, 51] = 1, 3
    assert mean_confidence(counts) == pytest.approx((1 + 3 * 0.2) / 4)
    assert mean_confidence(no_counts()) == 0.0


def test_where_the_time_went_by_hand() -> None:
    assert table_of_times({"world": 10.0, "train --round 0": 2.46, "report": 0.04}) == [
        "     10.0 s  80.0%  world",
        "      2.5 s  19.7%  train --round 0",
        "      0.0 s   0.3%  report",
        "     12.5 s         all phases",
    ]
