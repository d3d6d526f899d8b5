"""Augmentation: geometry moves image and label alike, zeros switch it off, ClassMix cuts whole classes."""

from __future__ import annotations

import numpy as np
import pytest

from selfsyn.config import Augment
from selfsyn.data.augment import augmented, class_mixed
from selfsyn.labels import IGNORE

OFF = Augment(flip=False, zoom=1.0, colour=0.0, blur=0.0, noise=0.0, cutout=0.0)
SHADES = np.array([40, 120, 200], dtype=np.uint8)


def blocks() -> tuple[np.ndarray, np.ndarray]:
    """An image whose grey level tells its class: blocks of 8x8 pixels of classes 0, 1, 2."""
    label = np.repeat(np.repeat(np.arange(48).reshape(6, 8) % 3, 8, axis=0), 8, axis=1).astype(np.uint8)
    return np.repeat(SHADES[label][..., None], 3, axis=2), label


def test_nothing_happens_when_everything_is_off() -> None:
    image, label = blocks()
    same_image, same_label = augmented(image, label, augment=OFF, rng=np.random.default_rng(0))
    assert np.array_equal(same_image, image)
    assert np.array_equal(same_label, label)


@pytest.mark.parametrize("seed", range(5))
def test_image_and_label_move_together(seed: int) -> None:
    image, label = blocks()
    augment = Augment(flip=True, zoom=2.0, colour=0.0, blur=0.0, noise=0.0, cutout=0.0)
    moved, moved_label = augmented(image, label, augment=augment, rng=np.random.default_rng(seed))
    assert not np.array_equal(moved_label, label)
    # Bilinear against nearest differ only where blocks meet.
    assert (np.abs(moved[..., 0].astype(int) - SHADES[moved_label]) < 2).mean() > 0.6


@pytest.mark.parametrize("what", ["colour", "blur", "noise"])
def test_changes_of_the_picture_leave_the_label(what: str) -> None:
    image, label = blocks()
    off = {"flip": False, "zoom": 1.0, "colour": 0.0, "blur": 0.0, "noise": 0.0, "cutout": 0.0}
    augment = Augment(**{**off, what: 1.0})  # type: ignore[arg-type]
    results = [augmented(image, label, augment=augment, rng=np.random.default_rng(seed)) for seed in range(8)]
    assert all(np.array_equal(same, label) for _, same in results)
    assert any(not np.array_equal(changed, image) for changed, _ in results)


def test_what_is_cut_out_is_ignored() -> None:
    image, label = blocks()
    augment = Augment(flip=False, zoom=1.0, colour=0.0, blur=0.0, noise=0.0, cutout=0.8)
    touched = 0
    for seed in range(8):
        cut, cut_label = augmented(image, label, augment=augment, rng=np.random.default_rng(seed))
        changed = (cut != image).any(axis=2)
        touched += int(changed.sum())
        assert (cut_label[changed] == IGNORE).all()
    assert touched


def test_class_mix_lays_half_the_classes_over_the_other_frame() -> None:
    label = np.array([[0, 0, 1, 1], [2, 2, 3, IGNORE]], dtype=np.uint8)
    image = np.full((2, 4, 3), 9, dtype=np.uint8)
    below, below_label = np.full((2, 4, 3), 77, dtype=np.uint8), np.full((2, 4), 10, dtype=np.uint8)
    for seed in range(8):
        mixed, mixed_label, cut = class_mixed(image, label, onto=(below, below_label), rng=np.random.default_rng(seed))
        from_above = (mixed == 9).all(axis=2)
        assert np.array_equal(cut, from_above)
        assert np.array_equal(mixed_label[from_above], label[from_above])
        assert (mixed_label[~from_above] == 10).all()
        laid = set(label[from_above])
        assert len(laid) == 2
        assert IGNORE not in laid
        assert all(from_above[label == k].all() for k in laid)  # whole classes


def test_class_mix_of_a_frame_without_labels_changes_nothing() -> None:
    nothing = np.full((2, 2), IGNORE, dtype=np.uint8)
    below = np.zeros((2, 2, 3), dtype=np.uint8), np.ones((2, 2), dtype=np.uint8)
    mixed, label, cut = class_mixed(below[0] + 5, nothing, onto=below, rng=np.random.default_rng(0))
    assert not mixed.any() and not cut.any()
    assert np.array_equal(label, below[1])
