"""Augmentation: geometry moves image and label alike, zeros switch it off, ClassMix cuts whole classes."""

from __future__ import annotations

import numpy as np
import pytest

from selfsyn.config import Augment
from selfsyn.data.augment import augmented, class_mixed, masked
from selfsyn.labels import IGNORE

OFF = Augment(flip=False, zoom=1.0, colour=0.0, blur=0.0, noise=0.0, cutout=0.0)
SIZE = (64, 48)
SHADES = np.array([40, 120, 200], dtype=np.uint8)


def blocks() -> tuple[np.ndarray, np.ndarray]:
    """An image whose grey level tells its class: blocks of 8x8 pixels of classes 0, 1, 2."""
    label = np.repeat(np.repeat(np.arange(48).reshape(6, 8) % 3, 8, axis=0), 8, axis=1).astype(np.uint8)
    return np.repeat(SHADES[label][..., None], 3, axis=2), label


def test_nothing_happens_when_everything_is_off() -> None:
    image, label = blocks()
    same_image, same_label = augmented(image, label, size=SIZE, augment=OFF, rng=np.random.default_rng(0))
    assert np.array_equal(same_image, image)
    assert np.array_equal(same_label, label)


@pytest.mark.parametrize("seed", range(5))
def test_image_and_label_move_together(seed: int) -> None:
    image, label = blocks()
    augment = Augment(flip=True, zoom=2.0, colour=0.0, blur=0.0, noise=0.0, cutout=0.0)
    moved, moved_label = augmented(image, label, size=SIZE, augment=augment, rng=np.random.default_rng(seed))
    assert not np.array_equal(moved_label, label)
    # Bilinear against nearest differ only where blocks meet.
    assert (np.abs(moved[..., 0].astype(int) - SHADES[moved_label]) < 2).mean() > 0.6


@pytest.mark.parametrize("what", ["colour", "blur", "noise"])
def test_changes_of_the_picture_leave_the_label(what: str) -> None:
    image, label = blocks()
    off = {"flip": False, "zoom": 1.0, "colour": 0.0, "blur": 0.0, "noise": 0.0, "cutout": 0.0}
    augment = Augment(**{**off, what: 1.0})  # type: ignore[arg-type]
    results = [augmented(image, label, size=SIZE, augment=augment, rng=np.random.default_rng(seed)) for seed in range(8)]
    assert all(np.array_equal(same, label) for _, same in results)
    assert any(not np.array_equal(changed, image) for changed, _ in results)


def test_what_is_cut_out_is_ignored() -> None:
    image, label = blocks()
    augment = Augment(flip=False, zoom=1.0, colour=0.0, blur=0.0, noise=0.0, cutout=0.8)
    touched = 0
    for seed in range(8):
        cut, cut_label = augmented(image, label, size=SIZE, augment=augment, rng=np.random.default_rng(seed))
        changed = (cut != image).any(axis=2)
        touched += int(changed.sum())
        assert (cut_label[changed] == IGNORE).all()
    assert touched


def test_the_output_has_the_size_asked_for_and_the_detail_of_the_file() -> None:
    fine = np.zeros((96, 128, 3), dtype=np.uint8)
    fine[:, ::2] = 200  # stripes that a frame shrunk to half its size has lost
    label = np.zeros((48, 64), dtype=np.uint8)  # smaller than its image, as pseudo-labels may be
    zoomed = Augment(flip=False, zoom=4.0, colour=0.0, blur=0.0, noise=0.0, cutout=0.0)
    contrast = []
    for seed in range(8):
        image, resized = augmented(fine, label, size=SIZE, augment=zoomed, rng=np.random.default_rng(seed))
        assert image.shape == (48, 64, 3) and resized.shape == (48, 64)
        contrast.append(float(image.std()))
    assert max(contrast) > 30


def test_noise_has_the_deviation_that_was_drawn() -> None:
    grey, label = np.full((600, 1000, 3), 128, dtype=np.uint8), np.zeros((600, 1000), dtype=np.uint8)
    noisy = Augment(flip=False, zoom=1.0, colour=0.0, blur=0.0, noise=20.0, cutout=0.0)
    images = [
        augmented(grey, label, size=(1000, 600), augment=noisy, rng=np.random.default_rng(seed))[0].astype(float)
        for seed in range(12)
    ]
    deviations = [image.std() for image in images if image.std() > 0]
    assert 3 <= len(deviations) <= 9  # half of them
    assert max(deviations) < 20.1 and max(deviations) > 10
    assert all(abs(image.mean() - 128) < 0.1 for image in images)


@pytest.mark.parametrize("seed", range(4))
def test_recolouring_depends_on_the_pixel_alone_and_keeps_the_order_of_greys(seed: int) -> None:
    image = np.random.default_rng(5).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    strong = Augment(flip=False, zoom=1.0, colour=0.4, blur=0.0, noise=0.0, cutout=0.0)
    changed = augmented(image, image[..., 0] % 19, size=SIZE, augment=strong, rng=np.random.default_rng(seed))[0]
    # A table for each channel and one matrix for all: what is equal stays equal, what is brighter does not get darker.
    twice = np.concatenate([image, image], axis=1)
    again = augmented(twice, twice[..., 0] % 19, size=(128, 48), augment=strong, rng=np.random.default_rng(seed))[0]
    assert np.array_equal(again[:, :64], changed) and np.array_equal(again[:, 64:], changed)
    grey = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 4, 3, axis=2).repeat(48, axis=0)
    ramp = augmented(grey, grey[..., 0] % 19, size=SIZE, augment=strong, rng=np.random.default_rng(seed))[0].astype(int)
    assert (np.diff(ramp.sum(axis=2), axis=1) >= 0).all()


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


def test_masking_hides_whole_blocks_by_the_share() -> None:
    image = np.full((40, 72, 3), 9, dtype=np.uint8)
    colour = np.array([1, 2, 3], dtype=np.uint8)
    hidden = 0.0
    for seed in range(60):
        seen = masked(image, share=0.7, block=16, colour=colour, rng=np.random.default_rng(seed))
        cut = (seen != image).any(axis=2)
        assert (seen[cut] == colour).all() and seen.shape == image.shape
        corners = cut[::16, ::16].repeat(16, axis=0).repeat(16, axis=1)[:40, :72]
        assert np.array_equal(cut, corners)  # blocks, those at the right and lower edge cut off
        hidden += corners[::16, ::16].mean() / 60
    assert abs(hidden - 0.7) < 0.03
    assert (image == 9).all()
