"""Augmentation: geometry moves image and label alike, zeros switch it off, ClassMix cuts whole classes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image

from selfsyn.config import Augment
from selfsyn.data import augment as augmentation
from selfsyn.data.augment import augmented, class_mixed, disturbed, masked
from selfsyn.data.weather import EXTINCTION, FARTHEST, WEATHERS, blended, falling, guessed_depth, hazed, rained, snowed
from selfsyn.labels import IGNORE

OFF = Augment(flip=False, zoom=1.0, color_jitter=0.0, blur=0.0, noise=0.0, cutout=0.0)
SIZE = (64, 48)
SHADES = np.array([40, 120, 200], dtype=np.uint8)


def blocks() -> tuple[np.ndarray, np.ndarray]:
    """An image whose grey level tells its class: blocks of 8x8 pixels of classes 0, 1, 2."""
    label = np.repeat(np.repeat(np.arange(48).reshape(6, 8) % 3, 8, axis=0), 8, axis=1).astype(np.uint8)
    return np.repeat(SHADES[label][..., None], 3, axis=2), label


def changed_pair(image: np.ndarray, label: np.ndarray, **how: Any) -> tuple[np.ndarray, np.ndarray]:
    """The image and the label of what `augmented` makes of both."""
    made = augmented({"image": image, "label": label}, **how)
    return made["image"], made["label"]


def test_nothing_happens_when_everything_is_off() -> None:
    image, label = blocks()
    same_image, same_label = changed_pair(image, label, size=SIZE, augment=OFF, rng=np.random.default_rng(0))
    assert np.array_equal(same_image, image)
    assert np.array_equal(same_label, label)


@pytest.mark.parametrize("seed", range(5))
def test_image_and_label_move_together(seed: int) -> None:
    image, label = blocks()
    augment = Augment(flip=True, zoom=2.0, color_jitter=0.0, blur=0.0, noise=0.0, cutout=0.0)
    moved, moved_label = changed_pair(image, label, size=SIZE, augment=augment, rng=np.random.default_rng(seed))
    assert not np.array_equal(moved_label, label)
    # Bilinear against nearest differ only where blocks meet.
    assert (np.abs(moved[..., 0].astype(int) - SHADES[moved_label]) < 2).mean() > 0.6


@pytest.mark.parametrize(("what", "most"), [("color_jitter", 1.0), ("blur", 1.0), ("noise", 1.0), ("weather", 1.0), ("jpeg", 90)])
def test_changes_of_the_picture_leave_the_label(what: str, most: float) -> None:
    image, label = blocks()
    augment = replace(OFF, **{what: most})
    results = [changed_pair(image, label, size=SIZE, augment=augment, rng=np.random.default_rng(seed)) for seed in range(8)]
    assert all(np.array_equal(same, label) for _, same in results)
    assert any(not np.array_equal(changed, image) for changed, _ in results)


def test_what_is_cut_out_is_ignored() -> None:
    image, label = blocks()
    augment = Augment(flip=False, zoom=1.0, color_jitter=0.0, blur=0.0, noise=0.0, cutout=0.8)
    touched = 0
    for seed in range(8):
        cut, cut_label = changed_pair(image, label, size=SIZE, augment=augment, rng=np.random.default_rng(seed))
        changed = (cut != image).any(axis=2)
        touched += int(changed.sum())
        assert (cut_label[changed] == IGNORE).all()
    assert touched


def test_the_output_has_the_size_asked_for_and_the_detail_of_the_file() -> None:
    fine = np.zeros((96, 128, 3), dtype=np.uint8)
    fine[:, ::2] = 200  # stripes that a frame shrunk to half its size has lost
    label = np.zeros((48, 64), dtype=np.uint8)  # smaller than its image, as pseudo-labels may be
    zoomed = Augment(flip=False, zoom=4.0, color_jitter=0.0, blur=0.0, noise=0.0, cutout=0.0)
    contrast = []
    for seed in range(8):
        image, resized = changed_pair(fine, label, size=SIZE, augment=zoomed, rng=np.random.default_rng(seed))
        assert image.shape == (48, 64, 3) and resized.shape == (48, 64)
        contrast.append(float(image.std()))
    assert max(contrast) > 30


def test_noise_has_the_deviation_that_was_drawn() -> None:
    grey, label = np.full((600, 1000, 3), 128, dtype=np.uint8), np.zeros((600, 1000), dtype=np.uint8)
    noisy = Augment(flip=False, zoom=1.0, color_jitter=0.0, blur=0.0, noise=20.0, cutout=0.0)
    images = [
        changed_pair(grey, label, size=(1000, 600), augment=noisy, rng=np.random.default_rng(seed))[0].astype(float)
        for seed in range(12)
    ]
    deviations = [image.std() for image in images if image.std() > 0]
    assert 3 <= len(deviations) <= 9  # half of them
    assert max(deviations) < 20.1 and max(deviations) > 10
    assert all(abs(image.mean() - 128) < 0.1 for image in images)


@pytest.mark.parametrize("seed", range(4))
def test_recolouring_depends_on_the_pixel_alone_and_keeps_the_order_of_greys(seed: int) -> None:
    image = np.random.default_rng(5).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    strong = Augment(flip=False, zoom=1.0, color_jitter=0.4, blur=0.0, noise=0.0, cutout=0.0)
    changed = changed_pair(image, image[..., 0] % 19, size=SIZE, augment=strong, rng=np.random.default_rng(seed))[0]
    # A table for each channel and one matrix for all: what is equal stays equal, what is brighter does not get darker.
    twice = np.concatenate([image, image], axis=1)
    again = changed_pair(twice, twice[..., 0] % 19, size=(128, 48), augment=strong, rng=np.random.default_rng(seed))[0]
    assert np.array_equal(again[:, :64], changed) and np.array_equal(again[:, 64:], changed)
    grey = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 4, 3, axis=2).repeat(48, axis=0)
    ramp = changed_pair(grey, grey[..., 0] % 19, size=SIZE, augment=strong, rng=np.random.default_rng(seed))[0].astype(int)
    assert (np.diff(ramp.sum(axis=2), axis=1) >= 0).all()


def test_every_map_moves_with_the_label_and_none_but_the_label_is_cut_out() -> None:
    image, label = blocks()
    for seed in range(8):
        how = {"size": (32, 24), "augment": Augment(cutout=0.8), "wanted": 2}
        made = augmented({"image": image, "label": label, "more": label + 1}, rng=np.random.default_rng(seed), **how)
        assert made["more"].shape == (24, 32)
        assert np.array_equal(made["more"][made["label"] != IGNORE], made["label"][made["label"] != IGNORE] + 1)
        assert made["more"].max() <= 3


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


def picture() -> np.ndarray:
    """Blocks of every shade and hue, so that there is contrast everywhere."""
    return np.random.default_rng(7).integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)


@pytest.mark.parametrize("seed", range(6))
def test_without_jpeg_and_weather_nothing_else_changes_by_a_bit(seed: int) -> None:
    image, label = picture(), np.zeros((96, 128), dtype=np.uint8)
    augment = Augment(cutout=0.5)
    assert (augment.jpeg, augment.weather) == (0, 0)
    mine, plain = np.random.default_rng(seed), np.random.default_rng(seed)
    changed = disturbed(image, label, augment=augment, rng=mine)
    # The steps of before there were any other, in their order.
    expected = augmentation._recoloured(image, strength=augment.color_jitter, rng=plain)
    expected = augmentation._blurred(expected, most=augment.blur, rng=plain)
    expected = augmentation._noisy(expected, most=augment.noise, rng=plain)
    cut = augmentation._with_cutout(expected, label, most=augment.cutout, rng=plain)
    assert all(np.array_equal(one, other) for one, other in zip(changed, cut, strict=True))
    assert mine.bit_generator.state == plain.bit_generator.state


def test_a_compressed_image_is_what_pillow_makes_of_it_at_a_quality_that_may_be_drawn() -> None:
    image, label = picture(), np.zeros((96, 128), dtype=np.uint8)
    expected = {}
    for quality in range(60, 101):
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="JPEG", quality=quality, subsampling=0 if quality >= 90 else 2)
        expected[np.asarray(Image.open(file)).tobytes()] = quality
    seen = [disturbed(image, label, augment=replace(OFF, jpeg=40), rng=np.random.default_rng(seed))[0] for seed in range(60)]
    drawn = [expected[one.tobytes()] for one in seen if not np.array_equal(one, image)]
    assert 18 <= len(drawn) <= 42  # half of them
    assert min(drawn) < 66 and max(drawn) > 94


@pytest.mark.parametrize("weather", WEATHERS)
def test_weather_is_a_function_of_image_strength_and_generator(weather: Callable[..., np.ndarray]) -> None:
    image = picture()
    before = image.copy()
    one, again, other = (weather(image, strength=0.6, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert np.array_equal(image, before)
    assert one.dtype == np.uint8 and one.shape == image.shape


def test_the_thicker_the_haze_the_less_contrast_and_most_of_it_far_away() -> None:
    image = picture()
    seen = [hazed(image, strength=strength, rng=np.random.default_rng(3)).astype(float) for strength in (0.0, 0.25, 0.5, 1.0)]
    assert np.abs(seen[0] - image).max() <= 1
    contrast = [one.std() for one in seen]
    assert contrast == sorted(contrast, reverse=True) and contrast[-1] < 0.75 * contrast[0]
    # Koschmieder: of the contrast exp(-beta d) is left. The uppermost rows are at the farthest distance.
    assert seen[-1][:16].std() / image[:16].std() == pytest.approx(np.exp(-EXTINCTION * FARTHEST), rel=0.03)
    kept = [seen[-1][top : top + 8].std() / image[top : top + 8].std() for top in (0, 64, 88)]
    assert kept == sorted(kept)


def test_the_guessed_depth_is_that_of_a_flat_road() -> None:
    depth = guessed_depth(100, horizon=0.4)
    assert depth.dtype == np.float32 and np.allclose(depth[:43], FARTHEST)
    assert depth[99] == pytest.approx(2.2 / 0.595) and depth[69] == pytest.approx(2.2 / 0.295)
    assert (np.diff(depth) <= 0).all()


def test_a_blend_by_hand() -> None:
    image = np.array([[[100, 0, 200], [100, 0, 200], [100, 0, 200]]], dtype=np.uint8)
    opacity = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    seen = blended(image, colour=np.array([200.0, 100.0, 50.4]), opacity_HW=opacity)
    assert seen.tolist() == [[[100, 0, 200], [150, 50, 125], [200, 100, 50]]]


def test_more_falls_the_stronger_rain_and_snow_are() -> None:
    image = np.full((128, 256, 3), 60, dtype=np.uint8)
    for weather in (rained, snowed):
        # Haze alone is alike along a row; what differs there is what falls.
        uneven = [weather(image, strength=s, rng=np.random.default_rng(5)).std(axis=1).mean() for s in (0.0, 0.3, 1.0)]
        assert uneven[0] == 0 < uneven[1] < uneven[2]
    cover = falling((64, 96), count=20, length=0.2, width=0.01, rng=np.random.default_rng(0))
    assert cover.shape == (64, 96) and 0 <= cover.min() < cover.max() <= 1


def test_half_the_images_have_weather_and_every_kind_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    image, label = picture(), np.zeros((96, 128), dtype=np.uint8)
    seen: list[tuple[int, float]] = []

    def noted(image: np.ndarray, *, strength: float, rng: np.random.Generator, kind: int) -> np.ndarray:
        seen.append((kind, strength))
        return image

    monkeypatch.setattr(augmentation, "WEATHERS", [partial(noted, kind=kind) for kind in range(3)])
    for seed in range(60):
        disturbed(image, label, augment=replace(OFF, weather=0.4), rng=np.random.default_rng(seed))
    assert 18 <= len(seen) <= 42 and {kind for kind, _ in seen} == {0, 1, 2}
    assert all(0 <= strength <= 0.4 for _, strength in seen) and max(strength for _, strength in seen) > 0.3


def test_weather_comes_before_the_camera_and_compression_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def noted(*pictures: np.ndarray, name: str, **_: object) -> np.ndarray | tuple[np.ndarray, ...]:
        order.append(name)
        return pictures if len(pictures) > 1 else pictures[0]

    steps = ["_weathered", "_recoloured", "_blurred", "_noisy", "_compressed", "_with_cutout"]
    for name in steps:
        monkeypatch.setattr(augmentation, name, partial(noted, name=name))
    disturbed(*blocks(), augment=Augment(), rng=np.random.default_rng(0))
    assert order == steps
