"""Every layout, from files of an independent encoder: exact train ids, and each published pitfall refused or read right."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from official_files import (
    GREY,
    PALETTE,
    RGB,
    cityscapes_frame,
    gta5_frame,
    kitti_frame,
    photo,
    png,
    put,
    synthia_rand_frame,
    synthia_sf_frame,
)
from PIL import Image

from selfsyn.data import frames
from selfsyn.errors import InputError

RNG = np.random.default_rng(0)
# cityscapesScripts' helpers/labels.py, written down again: id -> train id, every other id is ignored.
CITYSCAPES = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15}
CITYSCAPES |= {31: 16, 32: 17, 33: 18}
# The 16 classes of SYNTHIA-RAND-CITYSCAPES by their names in its README and in Cityscapes.
SYNTHIA = {1: 10, 2: 2, 3: 0, 4: 1, 5: 4, 6: 8, 7: 5, 8: 13, 9: 7, 10: 11, 11: 18, 12: 17, 15: 6, 17: 12, 19: 15, 21: 3}


def every_id(count: int, shape: tuple[int, int] = (12, 16)) -> np.ndarray:
    """Every id below `count`, some of them several times."""
    return np.arange(shape[0] * shape[1]).reshape(shape) % count


def expected(ids: np.ndarray, table: dict[int, int]) -> np.ndarray:
    return np.vectorize(lambda k: table.get(int(k), 255))(ids).astype(np.uint8)


def only(root: Path, **options: object) -> np.ndarray:
    """The train ids of a data set with one frame."""
    (frame,) = frames.labelled(root, **options)  # type: ignore[arg-type]
    return frame.read_label()


def naive_grey(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L"))


def test_gta5_is_the_palette_index(tmp_path: Path) -> None:
    ids = every_id(34)
    gta5_frame(tmp_path, 1, ids, rng=RNG)
    assert np.array_equal(only(tmp_path, layout="gta5"), expected(ids, CITYSCAPES))
    assert not np.array_equal(naive_grey(tmp_path / "labels/00001.png"), ids)  # what convert('L') makes of it


def test_gta5s_published_faults_are_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 15188, 17705):
        gta5_frame(tmp_path, number, every_id(34), rng=RNG)
    gta5_frame(tmp_path, 20803, every_id(34), rng=RNG, shape=(10, 16))
    gta5_frame(tmp_path, 20804, every_id(34), rng=RNG)  # one that somebody has mended
    assert [frame.name for frame in frames.labelled(tmp_path, layout="gta5")] == ["00001", "20804"]
    said = capsys.readouterr().err
    assert "15188 (a white image), 17705 (a black image)" in said
    assert "left out 1 frames that were published with labels of another size, first 20803" in said
    (tmp_path / "images/00001.png").write_bytes(b"not opened")
    assert [frame.name for frame in frames.labelled_listing(tmp_path, layout="gta5")] == ["00001", "20804"]


def test_any_other_frame_with_a_label_of_another_size_is_refused(tmp_path: Path) -> None:
    gta5_frame(tmp_path, 5, every_id(34), rng=RNG, shape=(10, 16))
    with pytest.raises(InputError, match=r"00005\.png: 16x12, but .*00005\.png is 16x10; remove the frame"):
        frames.labelled(tmp_path, layout="gta5")


def test_synthia_rand_keeps_sixteen_bits(tmp_path: Path) -> None:
    ids = every_id(23)
    synthia_rand_frame(tmp_path, 7, ids, rng=RNG)
    assert np.array_equal(only(tmp_path, layout="synthia-rand-cityscapes"), expected(ids, SYNTHIA))
    high_bytes = np.asarray(Image.open(tmp_path / "GT/LABELS/0000007.png"))[..., 0]
    assert high_bytes.max() == 0  # what Pillow makes of it


def test_synthia_colours_are_no_labels(tmp_path: Path) -> None:
    put(tmp_path / "RGB/0000001.png", photo(RNG, (4, 4)))
    put(tmp_path / "GT/LABELS/0000001.png", png(np.zeros((4, 4, 3)), colour=RGB))
    with pytest.raises(InputError, match="8 bits, 3 channels; expected a 16-bit RGB label"):
        frames.labelled(tmp_path, layout="synthia-rand-cityscapes")


def test_synthia_sf_ids_are_checked_against_its_colours(tmp_path: Path) -> None:
    ids = every_id(23)
    synthia_sf_frame(tmp_path, 3, 1, ids, rng=RNG)
    table = {k: k - 1 for k in range(1, 20)}
    assert np.array_equal(only(tmp_path, layout="synthia-sf"), expected(ids, table))
    assert np.array_equal(only(tmp_path, layout="synthia-sf", ids={"20": "road"}), expected(ids, table | {20: 0}))


def test_synthia_sf_in_another_order_is_refused(tmp_path: Path) -> None:
    ids = every_id(23)
    synthia_sf_frame(tmp_path, 1, 1, ids, rng=RNG)
    put(tmp_path / "SEQ1/GTLeft/0000001.png", png(np.dstack([(ids + 1) % 23] * 3), colour=RGB))
    with pytest.raises(InputError, match="its ids differ from the colours in .*GTLeftDebug"):
        frames.labelled(tmp_path, layout="synthia-sf")
    (tmp_path / "SEQ1/GTLeftDebug/0000001.png").unlink()
    with pytest.raises(InputError, match=r"GTLeftDebug/0000001\.png: not found"):
        frames.labelled(tmp_path, layout="synthia-sf")


def test_sequences_of_synthia_sf_have_frames_of_the_same_number(tmp_path: Path) -> None:
    for sequence in (1, 2):
        synthia_sf_frame(tmp_path, sequence, 4, every_id(23), rng=RNG)
    assert [frame.name for frame in frames.listing(tmp_path, layout="synthia-sf")] == ["SEQ1_0000004", "SEQ2_0000004"]


def test_cityscapes_label_ids(tmp_path: Path) -> None:
    ids = every_id(34)
    ids[0, 0] = 255  # the licence plate's -1 in eight bits
    cityscapes_frame(tmp_path, "val", "ulm_000001_000019", ids, rng=RNG)
    assert np.array_equal(only(tmp_path, layout="cityscapes", split="val"), expected(ids, CITYSCAPES))


def test_train_ids_under_a_label_ids_name_are_refused(tmp_path: Path) -> None:
    for i in range(3):
        cityscapes_frame(tmp_path, "train", f"ulm_{i:06d}_000019", expected(every_id(34), CITYSCAPES), rng=RNG)
    with pytest.raises(InputError, match="look like train ids; expected label ids"):
        frames.labelled(tmp_path, layout="cityscapes")


def test_cityscapes_test_has_images_and_no_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cityscapes_frame(tmp_path, "test", "bonn_000000_000019", every_id(1), rng=RNG)
    assert len(frames.listing(tmp_path, layout="cityscapes", split="test")) == 1
    with pytest.raises(InputError, match="split 'test' of layout cityscapes has no usable labels"):
        frames.labelled(tmp_path, layout="cityscapes", split="test")
    cityscapes_frame(tmp_path, "train_extra", "troisdorf_000000_000073", None, rng=RNG)
    cityscapes_frame(tmp_path, "train_extra", "troisdorf_000000_000074", None, rng=RNG)
    (extra,) = frames.listing(tmp_path, layout="cityscapes", split="train_extra")
    assert extra.name == "troisdorf_000000_000074"
    assert "troisdorf_000000_000073 (an all-black image)" in capsys.readouterr().err


def test_kittis_splits_are_ours_and_fixed(tmp_path: Path) -> None:
    for number in range(10):
        kitti_frame(tmp_path, number, every_id(34, (12, 16 + number)), rng=RNG)  # sizes vary
    val = frames.labelled(tmp_path, layout="kitti", split="val")
    assert [frame.name for frame in val] == ["000000_10", "000005_10"]
    assert len(frames.labelled(tmp_path, layout="kitti", split="train")) == 8
    assert np.array_equal(val[1].read_label(), expected(every_id(34, (12, 21)), CITYSCAPES))
    with pytest.raises(InputError, match="split 'dev' of layout kitti; expected one of train, val, all, test"):
        frames.listing(tmp_path, layout="kitti", split="dev")


def test_kitti_raw_keeps_the_labelled_drives_out_or_says_that_it_cannot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for drive in ("0005", "0009"):
        put(tmp_path / f"2011_09_26/2011_09_26_drive_{drive}_sync/image_02/data/0000000003.png", photo(RNG, (4, 4)))
    assert len(frames.listing(tmp_path, layout="kitti-raw")) == 2
    assert "drives of labelled frames may be among the unlabelled ones" in capsys.readouterr().err
    put(tmp_path / "train_mapping.txt", b"2011_09_26 2011_09_26_drive_0005_sync 0000000059\n\n")
    (frame,) = frames.listing(tmp_path, layout="kitti-raw")
    assert frame.name == "2011_09_26_drive_0009_sync_0000000003"


@pytest.mark.parametrize(
    ("images", "labels"), [("train/images", "train/labels"), ("train", "trainannot")], ids=["ours", "segnet"]
)
def test_camvid_in_both_layouts(tmp_path: Path, images: str, labels: str) -> None:
    ids = every_id(12)
    put(tmp_path / images / "0001TP_006690.png", photo(RNG, ids.shape))
    put(tmp_path / labels / "0001TP_006690.png", png(ids, colour=GREY))
    table = {0: 10, 1: 2, 2: 5, 3: 0, 4: 1, 5: 8, 6: 7, 7: 4, 8: 13, 9: 11, 10: 12}
    assert np.array_equal(only(tmp_path, layout="camvid"), expected(ids, table))


def test_a_folder_of_ones_own_needs_a_table_of_ids(tmp_path: Path) -> None:
    ids = every_id(3)
    put(tmp_path / "images/a.png", photo(RNG, ids.shape))
    put(tmp_path / "labels/a.png", png(ids, colour=PALETTE, palette=np.zeros((3, 3))))
    mine = {"0": "road", "1": "ignore", "2": "car"}
    assert np.array_equal(only(tmp_path, layout="plain", ids=mine), expected(ids, {0: 0, 2: 13}))
    with pytest.raises(InputError, match="has no table of ids; set `ids`"):
        frames.labelled(tmp_path, layout="plain")
    with pytest.raises(InputError, match="label id 2 is not in this data set's table"):
        only(tmp_path, layout="plain", ids={"0": "road", "1": "car"})


def test_a_list_chooses_the_frames(tmp_path: Path) -> None:
    for number in range(1, 6):
        gta5_frame(tmp_path, number, every_id(34), rng=RNG)
    names = put(tmp_path / "list.txt", b"00004\n00002\n\n")
    assert [frame.name for frame in frames.listing(tmp_path, layout="gta5", files=names)] == ["00002", "00004"]
    put(tmp_path / "list.txt", b"00004\n77777\n")
    with pytest.raises(InputError, match="1 of 2 names are not frames of the data set, first .'77777'.; a frame is '00001'"):
        frames.listing(tmp_path, layout="gta5", files=names)
    with pytest.raises(InputError, match=r"none\.txt: cannot be read"):
        frames.listing(tmp_path, layout="gta5", files=tmp_path / "none.txt")


def test_grey_alpha_and_rotated_photos_are_read_upright_in_rgb(tmp_path: Path) -> None:
    from selfsyn.images import read_image

    grey = read_image(put(tmp_path / "grey.png", png(np.full((2, 4), 9), colour=GREY)))
    rgba = np.dstack([np.full((2, 4), 7)] * 3 + [np.zeros((2, 4))])
    alpha = read_image(put(tmp_path / "alpha.png", png(rgba, colour=6)))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    buffer = io.BytesIO()
    Image.new("RGB", (4, 2)).save(buffer, "JPEG", exif=exif)
    turned = read_image(put(tmp_path / "turned.jpg", buffer.getvalue()))
    assert grey.shape == alpha.shape == (2, 4, 3) and turned.shape == (4, 2, 3)
    assert (grey == 9).all() and (alpha == 7).all()  # alpha is dropped, never blended with black
