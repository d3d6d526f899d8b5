"""Readers of UrbanSyn, Synscapes, CARLA, BDD100K, ACDC, IDD: files of an independent encoder, real ones where there are some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from official_files import GREY, RGB, RGBA, photo, png, put

from selfsyn.classes import CAMVID_11, CITYSCAPES_19, IDD_LITE_7
from selfsyn.data import frames
from selfsyn.data.carla import clips_of
from selfsyn.errors import InputError

SHARED = Path(__file__).parents[2] / "shared/data"
RNG = np.random.default_rng(0)
SHAPE = (12, 16)
# cityscapesScripts' helpers/labels.py, written down again: id -> train id.
LABEL_IDS = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15}
LABEL_IDS |= {31: 16, 32: 17, 33: 18}
TRAIN_IDS = {k: k for k in range(19)}
# CARLA's documentation, written down again: the tags up to 0.9.11, and the newer ones, with Cityscapes' train ids.
CARLA_OLD = {1: 2, 2: 4, 4: 11, 5: 5, 6: 0, 7: 0, 8: 1, 9: 8, 10: 13, 11: 3, 12: 7, 13: 10, 18: 6, 22: 9}
CARLA_NEW = {k + 1: k for k in range(19)} | {24: 0}
# AutoNUE's level 3: id -> train id where Cityscapes has the class.
IDD = {0: 0, 2: 1, 4: 11, 5: 12, 6: 17, 7: 18, 9: 13, 10: 14, 11: 15, 14: 3, 15: 4, 18: 7, 19: 6, 20: 5, 22: 2, 24: 8, 25: 10}


def every_id(count: int, *more: int) -> np.ndarray:
    """Every id below `count`, and some more, several times."""
    ids = np.array([*range(count), *more])
    return ids[np.arange(SHAPE[0] * SHAPE[1]) % len(ids)].reshape(SHAPE)


def expected(ids: np.ndarray, table: dict[int, int]) -> np.ndarray:
    return np.vectorize(lambda k: table.get(int(k), 255))(ids).astype(np.uint8)


def only(root: Path, **options: object) -> np.ndarray:
    (frame,) = frames.labelled(root, **options)  # type: ignore[arg-type]
    return frame.read_label()


def frame(root: Path, image: str, label: str, ids: np.ndarray, *, colour: int = GREY) -> None:
    put(root / image, photo(RNG, SHAPE))
    channels = {GREY: ids, RGB: np.dstack([ids, ids * 0, ids * 0]), RGBA: np.dstack([ids, ids * 0, ids * 0, ids * 0 + 255])}
    put(root / label, png(channels[colour], colour=colour))


CASES = {
    "urbansyn": ("rgb/rgb_0001.png", "ss/ss_0001.png", every_id(20, 255), TRAIN_IDS, "train"),
    "synscapes": ("img/rgb/1.png", "img/class/1.png", every_id(34), LABEL_IDS, "train"),
    "bdd100k": ("images/10k/val/a-1.png", "labels/sem_seg/masks/val/a-1.png", every_id(19, 255), TRAIN_IDS, "val"),
    "acdc": (
        "rgb_anon/fog/train/GOPR0475/GOPR0475_frame_000041_rgb_anon.png",
        "gt/fog/train/GOPR0475/GOPR0475_frame_000041_gt_labelIds.png",
        every_id(34, 255),
        LABEL_IDS,
        "train",
    ),
    "idd": (
        "leftImg8bit/train/118/frame0000_leftImg8bit.png",
        "gtFine/train/118/frame0000_gtFine_labellevel3Ids.png",
        every_id(27, 255),
        IDD,
        "train",
    ),
}


@pytest.mark.parametrize("layout", CASES)
def test_ids_become_the_train_ids_of_cityscapes(layout: str, tmp_path: Path) -> None:
    image, label, ids, table, split = CASES[layout]
    frame(tmp_path, image, label, ids)
    assert np.array_equal(only(tmp_path, layout=layout, split=split), expected(ids, table))


@pytest.mark.parametrize("colour", [GREY, RGB, RGBA], ids=["8-bit", "red channel", "red channel and alpha"])
@pytest.mark.parametrize(("layout", "count", "table"), [("carla-0.9.11", 23, CARLA_OLD), ("carla-0.9.14", 29, CARLA_NEW)])
def test_carla_in_both_numberings(layout: str, count: int, table: dict[int, int], colour: int, tmp_path: Path) -> None:
    ids = every_id(count)
    frame(tmp_path, "images/1.png", "labels/1.png", ids, colour=colour)
    assert np.array_equal(only(tmp_path, layout=layout, split="all"), expected(ids, table))


def test_carlas_own_folders_and_a_tag_of_no_numbering(tmp_path: Path) -> None:
    frame(tmp_path, "CameraRGB/1.png", "CameraSeg/1.png", every_id(13), colour=RGB)
    assert np.array_equal(only(tmp_path, layout="carla-0.9.11", split="all"), expected(every_id(13), CARLA_OLD))
    frame(tmp_path, "CameraRGB/1.png", "CameraSeg/1.png", every_id(29), colour=RGB)
    with pytest.raises(InputError, match="label id 23 is not in this data set's table"):
        only(tmp_path, layout="carla-0.9.11", split="all")


@pytest.mark.parametrize(("layout", "road", "other"), [("carla-0.9.11", 1, "carla-0.9.14"), ("carla-0.9.14", 7, "carla-0.9.11")])
def test_the_other_numbering_is_recognised_by_the_road(layout: str, road: int, other: str, tmp_path: Path) -> None:
    ids = every_id(9)
    ids[6:] = road
    frame(tmp_path, "images/1.png", "labels/1.png", ids)
    with pytest.raises(InputError, match=f"road in the other numbering .* set layout = '{other}'"):
        only(tmp_path, layout=layout, split="all")


def test_carlas_splits_keep_clips_together(tmp_path: Path) -> None:
    names = [f"{clip}{number:02d}" for clip in (1, 3, 5, 7, 9, 11) for number in (1, 2, 5)]
    clips = clips_of(names)
    assert [clips[name] for name in names] == [clip for clip in range(6) for _ in range(3)]
    for name in names:
        frame(tmp_path, f"images/{name}.png", f"labels/{name}.png", every_id(13))
    found = {
        split: {one.name for one in frames.listing(tmp_path, layout="carla-0.9.11", split=split)} for split in ("train", "val")
    }
    assert found["val"] == {"101", "102", "105", "1101", "1102", "1105"} and len(found["train"]) == 12


def test_one_recording_has_no_train_split_and_the_message_says_where_it_is(tmp_path: Path) -> None:
    for number in range(3):
        frame(tmp_path, f"images/{number}.png", f"labels/{number}.png", every_id(13))
    with pytest.raises(InputError, match="but 3 in split 'val', 3 in split 'all'; set `split`"):
        frames.listing(tmp_path, layout="carla-0.9.11")
    assert frames.LAYOUTS["carla-0.9.12"] is frames.LAYOUTS["carla-0.9.14"]


def test_another_ending_is_called_by_its_name_where_no_frame_is_found(tmp_path: Path) -> None:
    put(tmp_path / "images/00001.jpg", photo(RNG, SHAPE))
    with pytest.raises(InputError, match=r"1 with the ending \.jpg"):
        frames.listing(tmp_path, layout="gta5")


def test_labels_in_colours_are_told_of_the_table(tmp_path: Path) -> None:
    frame(tmp_path, "images/00001.png", "labels/00001.png", every_id(9), colour=RGB)
    with pytest.raises(InputError, match="a label of colours; expected grey or palette ids; .*`colours` of the source"):
        only(tmp_path, layout="gta5")


def test_idd_lites_seven_ids_are_native_to_its_list_and_to_no_other(tmp_path: Path) -> None:
    ids = every_id(7, 255)
    frame(tmp_path, "leftImg8bit/train/0/024541_image.png", "gtFine/train/0/024541_label.png", ids)
    put(tmp_path / "gtFine/train/0/024541_inst_label.png", png(ids, colour=GREY))  # IDD Lite has instances beside
    assert np.array_equal(only(tmp_path, layout="idd-lite", classes=IDD_LITE_7), expected(ids, {k: k for k in range(7)}))
    assert set(np.unique(only(tmp_path, layout="idd-lite"))) == {10, 255}  # only the sky is a class of Cityscapes


def test_names_of_the_new_layouts_are_covered_by_the_built_in_lists() -> None:
    for layout in ("urbansyn", "synscapes", "bdd100k", "acdc", "idd", "carla-0.9.11", "carla-0.9.14"):
        for classes in (CITYSCAPES_19, CAMVID_11, IDD_LITE_7):
            names = frames.dataset(layout, classes=classes).name_of.values()
            assert [name for name in names if not classes.covers(name)] == [], (layout, classes.key)


def test_one_condition_of_acdc_and_its_images_without_labels(tmp_path: Path) -> None:
    for condition in ("fog", "night"):
        stem = f"{condition}/train/G1/{condition}_1"
        frame(tmp_path, f"rgb_anon/{stem}_rgb_anon.png", f"gt/{stem}_gt_labelIds.png", every_id(34))
        put(tmp_path / f"rgb_anon/{condition}/train_ref/G1/{condition}_1_rgb_ref_anon.png", photo(RNG, SHAPE))
    assert [one.name for one in frames.labelled(tmp_path, layout="acdc", split="night/train")] == ["night_1"]
    assert [one.name for one in frames.labelled(tmp_path, layout="acdc")] == ["fog_1", "night_1"]
    assert len(frames.listing(tmp_path, layout="acdc", split="train_ref")) == 2
    with pytest.raises(InputError, match="has no usable labels; choose another split"):
        frames.labelled(tmp_path, layout="acdc", split="night/train_ref")


def test_real_frames_of_carla_0_9_11() -> None:
    root = SHARED / "carla"
    if not root.is_dir():
        pytest.skip(f"{root} is missing: 850 frames of CARLA 0.9.11")
    found = frames.labelled(root, layout="carla-0.9.11", split="all")
    assert len(found) == 850 and len(set(clips_of([one.name for one in found]).values())) == 38
    counts = sum((np.bincount(one.read_label().ravel(), minlength=256) for one in found[::25]), np.zeros(256, int))
    shares = dict(zip(CITYSCAPES_19.names, counts / counts.sum(), strict=False))
    assert 0.4 < shares["road"] < 0.5 and 0.25 < shares["sky"] < 0.4 and shares["person"] < 0.01
    with pytest.raises(InputError, match="set layout = 'carla-0.9.11'"):
        frames.labelled(root, layout="carla-0.9.14", split="all")


def test_real_frames_of_the_lyft_challenge_whose_class_is_in_the_red_channel() -> None:
    root = SHARED / "official/lyft-carla"
    if not root.is_dir():
        pytest.skip(f"{root} is missing: six frames of the Lyft perception challenge")
    found = frames.labelled(root, layout="carla-0.9.11", split="all")
    ids = [one.dataset.read(one.label) for one in found]
    assert len(found) == 6 and set(np.unique(ids)) <= set(range(13))
    assert all((one.read_label() == 0)[400:].mean() > 0.3 for one in found)  # road below
    with pytest.raises(InputError, match="set layout = 'carla-0.9.11'"):
        frames.labelled(root, layout="carla-0.9.14", split="all")
