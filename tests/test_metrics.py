"""Scores against tables computed by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from merging import merged

from selfsyn.errors import InputError
from selfsyn.labels import CLASSES, IGNORE, PROTOCOLS, Protocol
from selfsyn.metrics import confusion, folded, joint_counts, scores

TOY = Protocol("toy", ("a", "b", "c"), np.arange(3))
LABEL = np.array([[0, 0, 1], [1, IGNORE, 2]], dtype=np.uint8)
PREDICTION = np.array([[0, 1, 1], [1, 0, 0]], dtype=np.uint8)


def test_confusion_counts_rows_true_columns_predicted_without_ignore() -> None:
    counts = confusion(LABEL, PREDICTION, classes=3)
    assert counts.dtype == np.int64
    assert counts.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_confusion_of_ignored_pixels_alone_is_zero() -> None:
    assert not confusion(np.full((2, 2), IGNORE, np.uint8), np.zeros((2, 2), np.uint8), classes=3).any()


@pytest.mark.parametrize(
    ("label", "prediction"),
    [([3], [0]), ([0], [3]), ([0], [IGNORE]), ([0, 1], [0])],
    ids=["unknown label", "unknown prediction", "ignored prediction", "other shape"],
)
def test_confusion_refuses_what_it_cannot_count(label: list[int], prediction: list[int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        confusion(np.array(label, np.uint8), np.array(prediction, np.uint8), classes=3)


def test_joint_counts_are_of_both_ids_wherever_the_runs_end() -> None:
    counts = joint_counts(np.array([[7, 7, 7], [7, 255, 0]], np.uint8), np.array([[1, 1, 2], [2, 2, 255]], np.uint8))
    assert counts.dtype == np.int64 and counts.sum() == 6
    assert counts[7, 1] == 2 and counts[7, 2] == 2 and counts[255, 2] == 1 and counts[0, 255] == 1


def test_joint_counts_agree_with_counting_pixel_by_pixel() -> None:
    draw = np.random.default_rng(0)
    for ids, shape in ((256, (37, 41)), (2, (37, 41)), (1, (5, 7)), (256, (1, 1))):
        label, prediction = draw.integers(0, ids, (2, *shape), dtype=np.uint8)
        expected = np.zeros((256, 256), int)
        np.add.at(expected, (label, prediction), 1)
        assert np.array_equal(joint_counts(label, prediction), expected)
        turned = np.ascontiguousarray(label.T).T, np.ascontiguousarray(prediction.T).T
        assert np.array_equal(joint_counts(*turned), expected)


def test_folding_adds_what_has_the_same_class_and_drops_what_has_none() -> None:
    counts = np.array([[1, 2], [3, 4], [5, 6]])
    rows, columns = np.array([0, 0, IGNORE]), np.array([1, 0])
    assert folded(counts, rows=rows, columns=columns, classes=2).tolist() == [[2 + 4, 1 + 3], [0, 0]]


def test_scores_are_those_computed_by_hand() -> None:
    result = scores(confusion(LABEL, PREDICTION, classes=3), protocol=TOY)
    assert list(result) == ["protocol", "miou", "pixel_accuracy", "class_iou", "confusion", "confusion_19"]
    assert result["class_iou"] == pytest.approx({"a": 1 / 3, "b": 2 / 3, "c": 0.0})
    assert result["miou"] == pytest.approx(1 / 3)
    assert result["pixel_accuracy"] == pytest.approx(3 / 5)
    assert result["confusion"] == result["confusion_19"] == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert json.loads(json.dumps(result)) == result


def test_class_without_ground_truth_has_no_iou_and_no_part_in_the_mean() -> None:
    result = scores(np.array([[3, 0, 1], [0, 4, 0], [0, 0, 0]]), protocol=TOY)
    assert result["class_iou"] == {"a": 0.75, "b": 1.0, "c": None}
    assert result["miou"] == 0.875


def test_scores_of_a_data_set_are_not_the_mean_of_its_images() -> None:
    first, second = np.array([[9, 0, 0], [1, 0, 0], [0, 0, 0]]), np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert scores(first + second, protocol=TOY)["class_iou"] == {"a": 0.9, "b": 0.5, "c": None}


def test_scores_of_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="toy: no pixel has a scored class"):
        scores(np.zeros((3, 3), np.int64), protocol=TOY)


def test_merging_maps_train_ids_to_scored_classes_and_keeps_ignore() -> None:
    camvid = PROTOCOLS["camvid-11"]
    names = ["road", "wall", "truck", "motorcycle", "traffic light"]
    ids = np.array([CLASSES.index(name) for name in names] + [IGNORE], dtype=np.uint8)
    positions = merged(camvid, ids)
    assert [camvid.names[k] for k in positions[:-1]] == ["road", "fence", "car", "bicyclist", "sign"]
    assert positions[-1] == IGNORE and positions.dtype == np.uint8


def test_merging_under_cityscapes_changes_nothing() -> None:
    ids = np.array([*range(19), IGNORE], dtype=np.uint8)
    assert np.array_equal(merged(PROTOCOLS["cityscapes-19"], ids), ids)
