"""Thresholds against tables computed by hand, and the store that shards become."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_store import Maps, write_shard

from selfsyn.errors import InputError, NotReadyError
from selfsyn.images import encode_png
from selfsyn.labels import CLASS_COUNT, IGNORE
from selfsyn.pseudo_labels import (
    NEVER,
    LabelStore,
    encode_histogram,
    histogram,
    no_counts,
    read_histogram,
    select,
    thresholds,
    without_border,
)


def counts_of(confidences: dict[int, list[int]]) -> NDArray[np.int64]:
    counts = no_counts()
    for train_id, levels in confidences.items():
        np.add.at(counts, (train_id, levels), 1)
    return counts


def test_histogram_counts_class_and_confidence_together() -> None:
    label = np.array([[0, 0], [18, 0]], dtype=np.uint8)
    confidence = np.array([[255, 255], [13, 0]], dtype=np.uint8)
    counts = histogram(label, confidence)
    assert counts.shape == (19, 256) and counts.dtype == np.int64
    assert (counts[0, 255], counts[18, 13], counts[0, 0], counts.sum()) == (2, 1, 1, 4)


def test_threshold_is_the_level_at_the_portions_rank_in_each_class() -> None:
    counts = counts_of({0: [250, 240, 230, 220, 210, 200, 190, 180, 170, 160], 5: [90, 80, 70, 60]})
    assert thresholds(counts, portion=0.3)[[0, 5]].tolist() == [230, 90]  # ranks 3 and floor(1.2) = 1
    assert thresholds(counts, portion=0.5)[[0, 5]].tolist() == [210, 80]
    assert thresholds(counts, portion=1.0)[[0, 5]].tolist() == [160, 60]


def test_ties_at_the_threshold_all_count() -> None:
    counts = counts_of({0: [200, 150, 150, 150, 100]})
    assert thresholds(counts, portion=0.4)[0] == 150  # the second pixel is one of three alike: 4 of 5 count


def test_class_that_is_never_predicted_or_too_rare_gets_no_label() -> None:
    found = thresholds(counts_of({0: [255] * 10, 1: [255, 254]}), portion=0.4)
    assert found[0] == 255 and found[1] == NEVER and (found[2:] == NEVER).all()


def test_portion_is_the_decimal_that_was_written() -> None:
    assert 0.29 * 100 < 29
    assert thresholds(counts_of({0: list(range(100, 200))}), portion=0.29)[0] == 200 - 29


def test_thresholds_are_those_of_sorting_all_pixels() -> None:
    # The reference, as Zou et al. sort it: the last of the first floor(portion * N) values.
    draw = np.random.default_rng(0)
    label, confidence = draw.integers(0, 19, 5000, dtype=np.uint8), draw.integers(13, 256, 5000, dtype=np.uint8)
    for portion in (0.2, 0.35, 0.65, 1.0):
        found = thresholds(histogram(label, confidence), portion=portion)
        for train_id in range(CLASS_COUNT):
            ordered = np.sort(confidence[label == train_id])[::-1]
            assert found[train_id] == ordered[math.floor(portion * len(ordered)) - 1]


def test_select_keeps_what_reaches_its_own_classs_threshold() -> None:
    limits = np.full(CLASS_COUNT, NEVER)
    limits[[0, 3]] = [200, 100]
    label = np.array([[0, 0, 3, 3, 7]], dtype=np.uint8)
    confidence = np.array([[200, 199, 100, 99, 255]], dtype=np.uint8)
    kept = select(label, confidence, thresholds=limits)
    assert kept.tolist() == [[0, IGNORE, 3, IGNORE, IGNORE]] and kept.dtype == np.uint8


def test_histogram_file_has_the_same_bytes_for_the_same_counts(tmp_path: Path) -> None:
    counts = counts_of({0: [1, 2, 3]})
    data = encode_histogram(counts)
    assert data == encode_histogram(counts.copy())
    (tmp_path / "histogram.npz").write_bytes(data)
    assert np.array_equal(read_histogram(tmp_path / "histogram.npz"), counts)


def test_histogram_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "histogram.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"histogram\.npz: not a histogram"):
        read_histogram(path)
    path.write_bytes(encode_histogram(np.zeros((2, 2), np.int64)))
    with pytest.raises(InputError, match="expected .19, 256."):
        read_histogram(path)


def maps(*, seed: int) -> Maps:
    draw = np.random.default_rng(seed)
    return draw.integers(0, 4, (6, 8), dtype=np.uint8), draw.integers(13, 256, (6, 8), dtype=np.uint8)


def test_store_selects_by_the_histogram_of_all_shards_together(tmp_path: Path) -> None:
    frames = {name: maps(seed=seed) for seed, name in enumerate("abc")}
    write_shard(tmp_path / "shard-00000-of-00002", {"a": frames["a"], "c": frames["c"]})
    write_shard(tmp_path / "shard-00001-of-00002", {"b": frames["b"]})
    store = LabelStore(tmp_path)
    assert store.names == ("a", "b", "c") and store.teacher == "sha256:1"
    together = sum((histogram(*pair) for pair in frames.values()), no_counts())
    for portion in (0.25, 0.75):
        for name, (label, confidence) in frames.items():
            expected = select(label, confidence, thresholds=thresholds(together, portion=portion))
            assert np.array_equal(store.read(name, portion=portion), expected)


def test_store_can_be_sent_to_another_process(tmp_path: Path) -> None:
    write_shard(tmp_path / "shard-00000-of-00001", {"a": maps(seed=0)})
    store = LabelStore(tmp_path)
    again = pickle.loads(pickle.dumps(store))
    assert np.array_equal(again.read("a", portion=0.5), store.read("a", portion=0.5))


def test_store_of_two_teachers_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "shard-00000-of-00002", {"a": maps(seed=0)}, teacher="sha256:1")
    write_shard(tmp_path / "shard-00001-of-00002", {"b": maps(seed=1)}, teacher="sha256:2")
    with pytest.raises(InputError, match="different teachers"):
        LabelStore(tmp_path)


def test_store_that_lacks_a_shard_is_not_ready(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="no finished shard"):
        LabelStore(tmp_path)
    write_shard(tmp_path / "shard-00000-of-00002", {"a": maps(seed=0)})
    with pytest.raises(NotReadyError, match="1 finished shards"):
        LabelStore(tmp_path)


def test_store_names_an_image_that_it_lacks(tmp_path: Path) -> None:
    write_shard(tmp_path / "shard-00000-of-00001", {"a": maps(seed=0)})
    with pytest.raises(InputError, match="no pseudo-label for image 'z'"):
        LabelStore(tmp_path).read("z", portion=0.5)


def test_store_refuses_maps_that_do_not_belong_together(tmp_path: Path) -> None:
    shard = tmp_path / "shard-00000-of-00001"
    write_shard(shard, {"a": maps(seed=0)})
    (shard / "confidence" / "a.png").write_bytes(encode_png(np.zeros((2, 2), np.uint8)))
    with pytest.raises(InputError, match="does not belong to"):
        LabelStore(tmp_path).read("a", portion=0.5)


def test_a_border_gets_no_label_at_whatever_size_the_label_has() -> None:
    label = np.ones((10, 20), dtype=np.uint8)
    hidden = without_border(label, border=(1, 2, 3, 4), size=(20, 10))
    assert (hidden[1:7, 4:18] == 1).all() and (hidden != IGNORE).sum() == 6 * 14
    twice = without_border(np.ones((20, 40), np.uint8), border=(1, 2, 3, 4), size=(20, 10))
    assert (twice[2:14, 8:36] == 1).all() and (twice != IGNORE).sum() == 12 * 28
    assert np.array_equal(without_border(label, border=(0, 0, 0, 0), size=(20, 10)), label)
