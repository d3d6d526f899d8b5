"""Rare-class sampling: the chances of the paper's formula, the frames that show a class, the crops that show it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tiny_training import Shown, tiny_config, tiny_fit, tiny_mixture

from selfsyn.config import Augment
from selfsyn.data.augment import augmented
from selfsyn.data.mixing import Mix
from selfsyn.data.sampling import LEAST_SHARE, class_chances, pixels_by_class, rare_classes
from selfsyn.labels import CLASSES, IGNORE
from selfsyn.task.examples import class_counts

# GTA5's shares in percent of all pixels, by train id, as counted by m-birke/automotive-segmentation-datasets.
GTA5 = np.array(
    [
        *(32.1046, 8.2764, 16.9, 1.8435, 0.6331, 1.06, 0.1342, 0.0807, 7.6, 2.2),
        *(13.5, 0.362, 0.031, 2.5154, 1.129, 0.368, 0.0648, 0.0315, 0.0054),
    ]
)
GTA5_CHANCES = {
    "bicycle": 0.120,
    "rider": 0.116,
    "motorcycle": 0.116,
    "train": 0.112,
    "traffic sign": 0.110,
    "traffic light": 0.104,
    "person": 0.080,
    "bus": 0.080,
    "fence": 0.059,
    "pole": 0.037,
    "truck": 0.034,
    "wall": 0.015,
    "terrain": 0.010,
    "car": 0.007,
}


def counts_of(*frames: dict[int, int], ignored: int = 0) -> np.ndarray:
    """(N, 20) counts from {train id: pixels} of each frame."""
    made = np.zeros((len(frames), 20), dtype=np.int64)
    for row, frame in zip(made, frames, strict=True):
        row[list(frame)] = list(frame.values())
        row[19] = ignored
    return made


def test_chances_on_gta5() -> None:
    chances = dict(zip(CLASSES, class_chances(GTA5 / GTA5.sum(), temperature=0.01), strict=True))
    assert sum(chances.values()) == pytest.approx(1)
    assert {name: chances[name] for name in GTA5_CHANCES} == pytest.approx(GTA5_CHANCES, abs=6e-4)
    assert all(chance < 6e-4 for name, chance in chances.items() if name not in GTA5_CHANCES)


def test_chances_by_hand_at_any_temperature() -> None:
    shares = np.array([0.5, 0.3, 0.2])
    raised = np.exp(np.array([0.5, 0.7, 0.8]) / 0.1)
    assert class_chances(shares, temperature=0.1) == pytest.approx(raised / raised.sum())
    assert class_chances(shares, temperature=1e9) == pytest.approx([1 / 3] * 3)
    assert class_chances(shares, temperature=1e-6) == pytest.approx([0, 0, 1])


def test_pixels_by_class() -> None:
    counts = pixels_by_class(np.array([[0, 0, 18], [IGNORE, 3, IGNORE]], dtype=np.uint8))
    assert counts.shape == (20,)
    assert {number: int(count) for number, count in enumerate(counts) if count} == {0: 2, 3: 1, 18: 1, 19: 2}


def test_only_frames_that_show_enough_of_a_class_are_taken_for_it() -> None:
    least = round(LEAST_SHARE * 100_000)
    rare = rare_classes(
        counts_of({0: 99_000, 7: 1000}, {0: 100_000 - least, 7: least}, {0: 99_000, 7: 1000, 5: 1}), temperature=0.1
    )
    assert rare is not None
    assert rare.classes == (0, 7)  # one pixel of class 5 does not show it
    assert [frames.tolist() for frames in rare.frames] == [[0, 1, 2], [0, 2]]  # more than the least, not as much


def test_draws_follow_the_chances_and_the_frames_own_frequencies() -> None:
    counts = counts_of({0: 800, 1: 200}, {0: 1000}, {0: 900, 1: 100})
    often = np.array([0.6, 0.1, 0.3])
    rare = rare_classes(counts, temperature=0.5, frequencies=often)
    assert rare is not None
    shares = often @ (counts[:, :2] / 1000)
    expected = np.exp((1 - shares) / 0.5)
    assert rare.chances == pytest.approx(expected / expected.sum())
    rng = np.random.default_rng(0)
    drawn = Counter(rare.draw(rng) for _ in range(4000))
    assert sum(count for (_, train_id), count in drawn.items() if train_id == 1) / 4000 == pytest.approx(
        rare.chances[1], abs=0.03
    )
    assert drawn[1, 1] == 0
    assert drawn[0, 1] / (drawn[0, 1] + drawn[2, 1]) == pytest.approx(0.6 / 0.9, abs=0.03)


def test_frames_without_labels_give_nothing_to_draw() -> None:
    assert rare_classes(counts_of({}, {}, ignored=50), temperature=0.01) is None


def test_ignored_pixels_count_as_pixels_of_the_frame() -> None:
    assert rare_classes(counts_of({3: 1}, ignored=999), temperature=0.01) is None
    assert rare_classes(counts_of({3: 1}, ignored=99), temperature=0.01) is not None


def test_how_often_a_mix_draws_each_item() -> None:
    assert Mix((2, 2)).frequencies().tolist() == [0.25] * 4
    assert Mix((1, 3), (0.7, 0.3)).frequencies() == pytest.approx([0.7, 0.1, 0.1, 0.1])


def test_a_crop_shows_the_class_that_is_wanted() -> None:
    label = np.zeros((400, 600), dtype=np.uint8)
    label[10:50, 20:60] = 7  # in a corner, which a crop at zoom 3 mostly misses
    image = np.zeros((400, 600, 3), dtype=np.uint8)
    augment = Augment(zoom=3.0)

    def shown(wanted: int | None) -> float:
        record = {"image": image, "label": label}
        made = [
            augmented(record, size=(96, 64), augment=augment, rng=np.random.default_rng(seed), wanted=wanted)["label"]
            for seed in range(60)
        ]
        return float(np.mean([(each == 7).mean() > LEAST_SHARE for each in made]))

    by_chance = shown(None)
    assert by_chance < 0.4 and shown(7) > 0.8


def test_of_ten_crops_that_do_not_show_it_one_is_taken() -> None:
    record = {"image": np.zeros((40, 60, 3), np.uint8), "label": np.zeros((40, 60), np.uint8)}
    made = augmented(record, size=(48, 32), augment=Augment(), rng=np.random.default_rng(0), wanted=9)["label"]
    assert made.shape == (32, 48) and not made.any()


def test_counts_are_kept(tmp_path: Path) -> None:
    examples = [Shown(number) for number in range(7)]
    counts = class_counts(examples, file=tmp_path / "counts.npy", workers=2)
    assert counts.tolist() == [pixels_by_class(example.read_label()).tolist() for example in examples]
    again = class_counts([], file=tmp_path / "counts.npy", workers=2)  # from the file: nothing is read
    assert np.array_equal(again, counts)


def test_the_mixture_draws_by_class_and_resumes(tmp_path: Path) -> None:
    config = tiny_config(classmix=0.5)
    counts = np.stack([pixels_by_class(Shown(number).read_label()) for number in range(5)])
    rare = rare_classes(counts * (np.arange(5) == 3)[:, None], temperature=0.1)  # as if frame 3 alone showed anything
    mixture = tiny_mixture(config, class_mix=0.5, rare=rare)
    assert {name for step in range(4) for name in mixture.read_batch(step).names[:2]} == {"3.png"}
    mixture = tiny_mixture(config, class_mix=0.5, rare=rare_classes(counts, temperature=0.1))
    whole = tiny_fit(tmp_path / "whole", config, mixture)
    tiny_fit(tmp_path / "twice", config, mixture, dies_at=3)
    tiny_fit(tmp_path / "twice", config, mixture)
    assert whole is not None
    names = ("weights.safetensors", "history.jsonl")
    assert [(tmp_path / "twice" / name).read_bytes() for name in names] == [(tmp_path / "whole" / n).read_bytes() for n in names]


def test_a_low_temperature_chooses_the_rarest_class_that_is_shown() -> None:
    counts = np.array([[100, 0, 0, 0], [80, 20, 0, 0]])  # the third class is in no frame
    chosen = rare_classes(counts, temperature=0.0002)
    assert chosen is not None and chosen.classes == (0, 1) and np.allclose(chosen.chances, (0, 1))
