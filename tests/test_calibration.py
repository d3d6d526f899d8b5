"""Calibration against numbers computed by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from selfsyn.calibration import BINS, calibration, calibration_error, joint_counts, reliability
from selfsyn.labels import CLASS_COUNT, CLASSES, IGNORE, protocol

ROAD, SIDEWALK, CAR = (CLASSES.index(name) for name in ("road", "sidewalk", "car"))


def levels(counts: dict[int, int]) -> NDArray[np.int64]:
    found = np.zeros(256, np.int64)
    for level, pixels in counts.items():
        found[level] = pixels
    return found


def test_error_of_a_hand_made_table() -> None:
    # 0.2 (level 51): 4 pixels, 2 right.  0.6 (153): 5 pixels, 3 right.  1.0 (255): 11 pixels, 10 right.
    pixels, right = levels({51: 4, 153: 5, 255: 11}), levels({51: 2, 153: 3, 255: 10})
    assert calibration_error(pixels, right) == pytest.approx((4 * 0.3 + 5 * 0.0 + 11 * (1 - 10 / 11)) / 20)  # 0.11
    assert calibration_error(pixels, right) == pytest.approx(0.11)


def test_error_compares_means_inside_a_bin() -> None:
    # 0.94118 (240) and 1.0 (255) share the last bin (14/15, 1]: mean confidence 0.97059, all right.
    pixels = levels({240: 1, 255: 1})
    assert calibration_error(pixels, pixels) == pytest.approx(1 - (240 / 255 + 1) / 2)
    # 0.93333 (238) = 14/15 belongs to the bin below: each bin errs by itself.
    pixels, right = levels({238: 1, 255: 1}), levels({238: 0, 255: 1})
    assert calibration_error(pixels, right) == pytest.approx((238 / 255) / 2)


def test_error_without_pixels_is_none_and_of_the_perfect_is_zero() -> None:
    assert calibration_error(levels({}), levels({})) is None
    assert calibration_error(levels({255: 3}), levels({255: 3})) == 0.0


def test_reliability_has_a_row_for_each_bin() -> None:
    rows = reliability(levels({0: 2, 255: 8}), levels({0: 1, 255: 6}))
    assert len(rows) == BINS == 15
    assert rows[0] == {"pixels": 2, "confidence": 0.0, "accuracy": 0.5}
    assert rows[-1] == {"pixels": 8, "confidence": 1.0, "accuracy": 0.75}
    assert rows[7] == {"pixels": 0, "confidence": None, "accuracy": None}


def test_joint_counts_by_truth_prediction_and_confidence() -> None:
    label = np.array([[ROAD, ROAD], [IGNORE, CAR]], np.uint8)
    prediction = np.array([[ROAD, CAR], [ROAD, CAR]], np.uint8)
    confidence = np.array([[255, 100], [90, 100]], np.uint8)
    counts = joint_counts(label, prediction, confidence)
    assert counts.shape == (CLASS_COUNT, CLASS_COUNT, 256) and counts.sum() == 3
    assert counts[ROAD, ROAD, 255] == counts[ROAD, CAR, 100] == counts[CAR, CAR, 100] == 1


def hand_made() -> NDArray[np.int64]:
    """Road: 10 pixels, 8 predicted as road at 255, 2 as sidewalk at 51. Car: 4, all predicted as car at 204. Sidewalk: none."""
    counts = np.zeros((CLASS_COUNT, CLASS_COUNT, 256), np.int64)
    counts[ROAD, ROAD, 255], counts[ROAD, SIDEWALK, 51], counts[CAR, CAR, 204] = 8, 2, 4
    return counts


def test_summary_of_a_hand_made_table() -> None:
    found = calibration(hand_made(), protocol=protocol("cityscapes-19"), portion=1.0)
    assert found["ece"] == pytest.approx((8 * 0 + 2 * 0.2 + 4 * 0.2) / 14)
    assert found["class_ece"]["road"] == 0 and found["class_ece"]["car"] == pytest.approx(0.2)
    assert found["class_ece"]["sidewalk"] == pytest.approx(0.2) and found["class_ece"]["sky"] is None
    assert found["class_coverage"]["road"] == {"labelled": 1.0, "rightly": 0.8}
    assert found["class_coverage"]["car"] == {"labelled": 1.0, "rightly": 1.0}
    assert found["class_coverage"]["sidewalk"] is None  # no ground truth
    assert sum(row["pixels"] for row in found["reliability"]) == 14
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_coverage_counts_what_reaches_its_predicted_classs_threshold() -> None:
    counts = hand_made()
    counts[CAR, CAR, 204], counts[CAR, CAR, 102], counts[ROAD, CAR, 230] = 1, 2, 1
    found = calibration(counts, protocol=protocol("cityscapes-19"), portion=0.5)
    # Predicted as car: 230, 204, 102, 102; half of them, the first two, count: one is road, one of three cars is found.
    assert found["class_coverage"]["car"] == {"labelled": pytest.approx(1 / 3), "rightly": pytest.approx(1 / 3)}
    # Road: all eight at 255 tie and count; of the two taken for sidewalk one rank counts, and both tie; the one taken for car.
    assert found["class_coverage"]["road"] == {"labelled": 1.0, "rightly": pytest.approx(8 / 11)}


def test_protocol_decides_what_is_right() -> None:
    counts = np.zeros((CLASS_COUNT, CLASS_COUNT, 256), np.int64)
    counts[CAR, CLASSES.index("truck"), 255] = 5  # one class in CamVid's eleven
    assert calibration(counts, protocol=protocol("camvid-11"), portion=1.0)["ece"] == 0
    assert calibration(counts, protocol=protocol("cityscapes-19"), portion=1.0)["ece"] == 1
    counts[CLASSES.index("terrain"), CAR, 255] = 5
    variants = protocol("synthia-16").variants
    assert [calibration(counts, protocol=one, portion=1.0)["ece"] for one in variants[:2]] == [1, 1]
    pixels = [sum(row["pixels"] for row in calibration(counts, protocol=one, portion=1.0)["reliability"]) for one in variants[:2]]
    assert pixels == [10, 5]  # B does not count the classes that the synthetic data lacks
