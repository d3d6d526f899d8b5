"""Statistics of data sets: hand-counted labels and images."""

from __future__ import annotations

import numpy as np
import pytest

from selfsyn.data.statistics import NO_COLOURS, NO_LABELS, of_image, of_label, total
from selfsyn.labels import IGNORE

ROAD, CAR, SKY = 0, 13, 10

FIRST = np.array(
    [
        [SKY, SKY, SKY, SKY, SKY, SKY, SKY, SKY],
        [ROAD, ROAD, CAR, ROAD, ROAD, ROAD, ROAD, IGNORE],
        [ROAD, ROAD, ROAD, CAR, ROAD, ROAD, CAR, IGNORE],
    ],
    dtype=np.uint8,
)
SECOND = np.full((4, 4), ROAD, dtype=np.uint8)


def test_shares_are_of_the_pixels_with_a_class() -> None:
    shares = (of_label(FIRST) + of_label(SECOND)).shares
    assert shares[[ROAD, CAR, SKY]] == pytest.approx([(11 + 16) / 38, 3 / 38, 8 / 38])
    assert shares.sum() == pytest.approx(1)


def test_classes_that_occur_together_are_counted_by_frame() -> None:
    given = total([FIRST, SECOND], of_label, nothing=NO_LABELS).given
    assert given[ROAD, CAR] == 0.5  # of two frames with road, one has a car
    assert given[CAR, ROAD] == given[CAR, SKY] == given[CAR, CAR] == 1
    assert np.isnan(given[1]).all()  # no pavement anywhere
    assert given[CAR, 1] == 0


def test_the_size_of_a_class_is_that_of_the_segment_of_its_middle_pixel() -> None:
    # Cars: two pixels that touch at a corner, and one alone: the middle one of three is in the segment of two.
    assert of_label(FIRST).sides[CAR] == pytest.approx(np.sqrt(2), rel=0.1)
    block = np.full((64, 64), ROAD, dtype=np.uint8)
    block[8:40, 8:40] = CAR
    block[50, ::2] = CAR  # 32 specks
    assert of_label(block).sides[CAR] == pytest.approx(32, rel=0.1)
    assert np.isnan(of_label(block).sides[SKY])


def test_labels_without_a_class_count_as_frames() -> None:
    nothing = of_label(np.full((4, 4), IGNORE, dtype=np.uint8))
    assert nothing.frames == 1 and not nothing.pixels.any() and not nothing.shares.any()


def test_levels_of_each_channel() -> None:
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    image[0] = (10, 20, 255)
    colours = total([image, image], of_image, nothing=NO_COLOURS)
    assert colours.frames == 2
    assert colours.levels[0, 10] == colours.levels[1, 20] == colours.levels[2, 255] == 4
    assert (colours.levels[:, 0] == 4).all() and colours.levels.sum() == 24
