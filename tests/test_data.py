"""Labels, codecs and data sets: ids on disk become exactly the train ids, or the reason is named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsyn import images, labels
from selfsyn.data import frames
from selfsyn.errors import InputError

# Written down again from cityscapesScripts' table, so that a slip in ours shows.
CITYSCAPES = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15}
CITYSCAPES |= {31: 16, 32: 17, 33: 18}


def test_label_ids_to_train_ids_and_back() -> None:
    for label_id in range(256):
        assert labels.TRAIN_ID_OF_LABEL_ID[label_id] == CITYSCAPES.get(label_id, 255)
    for label_id, train_id in CITYSCAPES.items():
        assert labels.LABEL_ID_OF_TRAIN_ID[train_id] == label_id
    assert labels.LABEL_ID_OF_TRAIN_ID[labels.IGNORE] == 0


def test_camvid_training_ids_agree_with_its_protocol() -> None:
    protocol = labels.protocol("camvid-11")
    for camvid_id in range(11):
        assert protocol.merge[labels.TRAIN_ID_OF_CAMVID_ID[camvid_id]] == camvid_id
    assert labels.TRAIN_ID_OF_CAMVID_ID[11] == labels.IGNORE
    names = dict(zip(labels.CLASSES, protocol.merge, strict=True))
    assert names["traffic light"] == names["traffic sign"] == 6
    assert names["truck"] == names["train"] == names["car"] == 8


def test_an_unknown_protocol_names_the_known() -> None:
    with pytest.raises(InputError, match="expected one of cityscapes-19, camvid-11"):
        labels.protocol("voc")


def write(path: Path, image: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def palette_label(ids: np.ndarray) -> Image.Image:
    image = Image.fromarray(ids.astype(np.uint8), mode="P")
    image.putpalette([7 * i % 256 for i in range(768)])
    return image


def gta5(root: Path, count: int = 3) -> Path:
    for number in range(1, count + 1):
        write(root / f"images/{number:05d}.png", Image.new("RGB", (8, 6), (number, 2, 3)))
        write(root / f"labels/{number:05d}.png", palette_label(np.full((6, 8), 7 + number)))
    return root


def test_gta5_reads_the_palette_index(tmp_path: Path) -> None:
    found = frames.labelled(gta5(tmp_path), layout="gta5")
    assert [frame.name for frame in found] == ["00001", "00002", "00003"]
    assert [int(frame.read_label()[0, 0]) for frame in found] == [1, 255, 255]  # ids 8, 9, 10


def test_gta5_passes_over_files_of_other_tools(tmp_path: Path) -> None:
    gta5(tmp_path)
    write(tmp_path / "labels/00001_labelTrainIds.png", palette_label(np.zeros((6, 8))))
    assert len(frames.labelled(tmp_path, layout="gta5")) == 3


def test_cityscapes_reads_label_ids_and_splits(tmp_path: Path) -> None:
    for split, value in (("train", 26), ("val", 11)):
        stem = f"{split}/ulm/ulm_000001_000019"
        write(tmp_path / f"leftImg8bit/{stem}_leftImg8bit.png", Image.new("RGB", (8, 6)))
        write(tmp_path / f"gtFine/{stem}_gtFine_labelIds.png", Image.new("L", (8, 6), value))
    train, val = (frames.labelled(tmp_path, layout="cityscapes", split=split)[0] for split in ("train", "val"))
    assert train.name == "ulm_000001_000019"
    assert (int(train.read_label()[0, 0]), int(val.read_label()[0, 0])) == (13, 2)


def test_camvid_pairs_jpeg_with_png(tmp_path: Path) -> None:
    write(tmp_path / "train/images/a.jpg", Image.new("RGB", (8, 6)))
    write(tmp_path / "train/labels/a.png", Image.new("L", (8, 6), 10))
    assert int(frames.labelled(tmp_path, layout="camvid")[0].read_label()[0, 0]) == 12


def test_an_id_outside_the_table_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train/images/a.png", Image.new("RGB", (8, 6)))
    write(tmp_path / "train/labels/a.png", Image.new("L", (8, 6), 77))
    with pytest.raises(InputError, match=r"a\.png: label id 77 is not in this data set's table"):
        frames.labelled(tmp_path, layout="camvid")[0].read_label()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "labels/00002.png").unlink(), "1 of 3 images have no label, first .*00002.png"),
        (lambda root: write(root / "labels/00002.png", palette_label(np.zeros((6, 9)))), "9x6, but .* is 8x6"),
        (
            lambda root: (root / "images/00003.png").write_bytes((root / "images/00003.png").read_bytes()[:-20]),
            "00003.png: truncated",
        ),
        (
            lambda root: [path.unlink() for path in (root / "images").iterdir()],
            "no image of layout gta5 .* expected images/NNNNN.png",
        ),
    ],
)
def test_a_fault_of_the_folder_is_named(tmp_path: Path, spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    spoil(gta5(tmp_path))
    with pytest.raises(InputError, match=message):
        frames.labelled(tmp_path, layout="gta5")


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def test_grey_alpha_and_rotated_images_become_upright_rgb() -> None:
    grey = images.decode_image(encoded(Image.new("L", (4, 2), 9)))
    alpha = images.decode_image(encoded(Image.new("RGBA", (4, 2), (1, 2, 3, 0))))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned = images.decode_image(encoded(Image.new("RGB", (4, 2)), "JPEG", exif=exif))
    assert grey.shape == alpha.shape == (2, 4, 3)
    assert grey[0, 0].tolist() == [9, 9, 9]
    assert alpha[0, 0].tolist() == [1, 2, 3]
    assert turned.shape == (4, 2, 3)


def test_a_colour_image_is_no_label(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a label of colours; expected grey or palette ids"):
        images.read_ids(write(tmp_path / "x.png", Image.new("RGB", (2, 2))))


def test_a_broken_file_is_one_line(tmp_path: Path) -> None:
    data = encoded(Image.effect_noise((64, 64), 50))
    (tmp_path / "x.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"x\.png: not a readable image") as failure:
        images.read_image(tmp_path / "x.png")
    assert "\n" not in str(failure.value)


def test_label_png_keeps_every_id_and_shows_its_colour() -> None:
    label = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.open(io.BytesIO(images.encode_label_png(label)))
    assert np.array_equal(np.asarray(image), label)
    colours = np.asarray(image.convert("RGB"))
    assert colours[0, 13].tolist() == [0, 0, 142]
    assert colours[15, 15].tolist() == [0, 0, 0]


def test_labels_are_resized_without_blending() -> None:
    label = np.zeros((8, 8), dtype=np.uint8)
    label[:, 4:] = 18
    assert set(np.unique(images.resize_label(label, size=(5, 3)))) == {0, 18}
    assert images.resize_image(np.zeros((8, 8, 3), dtype=np.uint8), size=(5, 3)).shape == (3, 5, 3)
