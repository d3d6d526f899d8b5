"""Inputs of the kinds that people report in public: each is read right, or refused in one line that says what was found.

The pictures are drawn here, on miniature trees; shared/cases beside the checkout has more of them.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import struct
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from malformed import bomb_png
from official_files import GREY, cityscapes_frame, gta5_frame, kitti_frame, photo, png, put
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tiny_run import selfsyn_here

from selfsyn.contents import Contents
from selfsyn.data.dataset import DataSet
from selfsyn.data.frames import LAYOUTS, complete, dataset, labelled, listing, verify
from selfsyn.data.passed_over import passed_over, words
from selfsyn.data.plain import PLAIN
from selfsyn.data.plausible import doubt
from selfsyn.doctor import ends as doctor_ends
from selfsyn.doctor.ends import ends_of
from selfsyn.doctor.facts import COPY_AGAIN, Facts, _refused, of_aspects
from selfsyn.doctor.findings import of_files
from selfsyn.doctor.pixels import pixels_of
from selfsyn.errors import InputError
from selfsyn.files import digest_bytes
from selfsyn.images import UnreadableError, decode_ids, decode_image, read_image
from selfsyn.labels import table_of
from selfsyn.phase import open_run

RNG = np.random.default_rng(0)
SHAPE = (48, 64)
STREET = np.kron(RNG.choice([7, 8, 11, 21, 23, 26], (6, 8)), np.ones((8, 8), int)).astype(np.uint8)
IDS = {str(k): "road" for k in range(34)}


def saved(image: Image.Image, *, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def plain(root: Path, label: bytes, *, image: bytes | None = None) -> Path:
    """A data set of one frame in the layout `plain`."""
    put(root / "images/0.png", photo(RNG, SHAPE) if image is None else image)
    put(root / "labels/0.png", label)
    return root


# Names that collide


@pytest.mark.parametrize("second", ["images/000.jpg", "images/000.PNG", "labels/000.jpeg"])
def test_two_files_of_one_name_are_refused_by_both_names(second: str, tmp_path: Path) -> None:
    for name in ("images/000.png", "labels/000.png", second):
        put(tmp_path / name, photo(RNG, SHAPE))
    with pytest.raises(InputError) as caught:
        labelled(tmp_path, layout="plain", ids=IDS)
    first = str(tmp_path / second.split(".")[0]) + ".png"
    assert {first, str(tmp_path / second)} <= set(str(caught.value).replace(":", " ").replace(";", " ").split())


@pytest.mark.parametrize("layout", ["cityscapes", "synthia-sf"])
def test_equal_numbers_in_two_folders_are_never_paired_across(layout: str, tmp_path: Path) -> None:
    if layout == "cityscapes":
        for city in ("day", "night"):
            put(tmp_path / f"leftImg8bit/val/{city}/0000_leftImg8bit.png", photo(RNG, SHAPE))
        with pytest.raises(InputError, match=r"night/0000_leftImg8bit\.png: has the name of .*day/0000_leftImg8bit\.png"):
            listing(tmp_path, layout=layout, split="val")
    else:
        for sequence in ("SEQ1", "SEQ2"):
            put(tmp_path / f"{sequence}/RGBLeft/0000.png", photo(RNG, SHAPE))
        assert [frame.name for frame in listing(tmp_path, layout=layout)] == ["SEQ1_0000", "SEQ2_0000"]


# Files that are no frames, and endings


def test_what_macos_writes_beside_a_file_is_passed_over(tmp_path: Path) -> None:
    cityscapes_frame(tmp_path / "city", "val", "bonn_000000_000019", STREET, rng=RNG)
    kitti_frame(tmp_path / "kitti", 5, STREET, rng=RNG)
    gta5_frame(tmp_path / "gta5", 1, STREET, rng=RNG)
    for path in [*tmp_path.rglob("*.png")]:
        put(path.with_name(f"._{path.name}"), b"\0\5\x16\7Mac OS X")
    for layout, root, split in (("cityscapes", "city", "val"), ("kitti", "kitti", "val"), ("gta5", "gta5", "train")):
        assert len(labelled(tmp_path / root, layout=layout, split=split)) == 1


def test_endings_in_upper_case_are_endings(tmp_path: Path) -> None:
    cityscapes_frame(tmp_path / "city", "val", "bonn_000000_000019", STREET, rng=RNG)
    gta5_frame(tmp_path / "gta5", 1, STREET, rng=RNG)
    for path in [*tmp_path.rglob("*.png")]:
        path.rename(path.with_suffix(".PNG"))
    assert len(labelled(tmp_path / "city", layout="cityscapes", split="val")) == 1
    assert len(labelled(tmp_path / "gta5", layout="gta5")) == 1


# A split does not depend on what is missing


def test_kittis_split_is_by_number_and_names_the_frame_without_a_label(tmp_path: Path) -> None:
    for number in range(12):
        kitti_frame(tmp_path, number, STREET, rng=RNG)
    assert [frame.name for frame in labelled(tmp_path, layout="kitti", split="val")] == ["000000_10", "000005_10", "000010_10"]
    (tmp_path / "training/image_2/000003_10.png").unlink()
    assert [frame.name for frame in labelled(tmp_path, layout="kitti", split="val")] == ["000000_10", "000005_10", "000010_10"]
    (tmp_path / "training/semantic/000005_10.png").unlink()
    with pytest.raises(InputError, match=r"1 of 3 images have no label, first .*000005_10\.png"):
        labelled(tmp_path, layout="kitti", split="val")


# Geometry


def turned(orientation: int) -> bytes:
    told = Image.Exif()
    told[0x0112] = orientation
    return saved(Image.fromarray(np.asarray(Image.open(io.BytesIO(photo(RNG, SHAPE))))), kind="JPEG", exif=told)


@pytest.mark.parametrize("orientation", [2, 3, 4, 6, 8])
def test_a_turned_photo_with_a_label_on_stored_pixels_is_refused(orientation: int, tmp_path: Path) -> None:
    put(tmp_path / "images/0.jpg", turned(orientation))
    put(tmp_path / "labels/0.png", png(STREET, colour=0))
    with pytest.raises(InputError, match=rf"images/0\.jpg: an image turned by EXIF, .*\(EXIF orientation {orientation}, label "):
        labelled(tmp_path, layout="plain", ids=IDS)


def test_a_turned_photo_with_a_label_on_upright_pixels_is_read(tmp_path: Path) -> None:
    put(tmp_path / "images/0.jpg", turned(6))
    put(tmp_path / "labels/0.png", png(np.ascontiguousarray(STREET.T), colour=0))
    (frame,) = labelled(tmp_path, layout="plain", ids=IDS)
    assert read_image(frame.image).shape[:2] == frame.read_label().shape == SHAPE[::-1]


def late(chunk: bytes, *, image: bytes) -> bytes:
    """A PNG with a chunk behind its pixels."""
    return image[:-12] + chunk + image[-12:]


def exif_chunk(orientation: int) -> bytes:
    told = Image.Exif()
    told[0x0112] = orientation
    body = b"eXIf" + told.tobytes()[6:]
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def xmp(orientation: int) -> PngInfo:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", f'<x xmlns:tiff="a" tiff:Orientation="{orientation}"/>')
    return info


@pytest.mark.parametrize("where", ["behind the pixels", "in XMP"])
def test_a_png_says_in_many_places_that_it_is_turned(where: str, tmp_path: Path) -> None:
    image = Image.open(io.BytesIO(photo(RNG, SHAPE)))
    put(tmp_path / "images/0.png", late(exif_chunk(3), image=saved(image)) if where[0] == "b" else saved(image, pnginfo=xmp(3)))
    assert (read_image(tmp_path / "images/0.png") == np.asarray(image)[::-1, ::-1]).all()
    put(tmp_path / "labels/0.png", png(STREET, colour=GREY))
    with pytest.raises(InputError, match="images/0.png: an image turned by EXIF"):
        labelled(tmp_path, layout="plain", ids=IDS)


def test_a_label_that_exif_turns_is_refused(tmp_path: Path) -> None:
    told = Image.Exif()
    told[0x0112] = 6
    with pytest.raises(InputError, match="0.png: a label that EXIF turns; expected pixels as they are stored"):
        labelled(plain(tmp_path, saved(Image.fromarray(STREET), exif=told)), layout="plain", ids=IDS)


# Encodings of labels


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_labels_of_few_bits_hold_their_ids(bits: int) -> None:
    ids = RNG.integers(0, 2**bits, SHAPE).astype(np.uint8)
    assert np.array_equal(decode_ids(png(ids, colour=0, bits=bits)), ids)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "JPEG": (lambda: saved(Image.fromarray(STREET), kind="JPEG"), "saved as JPEG holds ids that nobody drew"),
    "colours": (lambda: saved(Image.fromarray(STREET).convert("RGB")), "a label of colours; expected grey or palette ids"),
    "1-bit": (lambda: saved(Image.fromarray(STREET > 11)), r"a label of two values \(1 bit\)"),
    "16-bit": (lambda: saved(Image.fromarray(STREET.astype(np.uint16))), "a label of 16 bits"),
    "grey with alpha": (lambda: saved(Image.fromarray(STREET).convert("LA")), "grey with alpha"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_labels_that_hold_no_ids_are_refused_with_their_kind(kind: str, tmp_path: Path) -> None:
    make, message = REFUSED[kind]
    with pytest.raises(InputError, match=rf"labels/0\.png: .*{message}"):
        labelled(plain(tmp_path, make()), layout="plain", ids=IDS)


def palette_of_greys(greys: list[int]) -> bytes:
    """Indices 0, 1, 2, ... for the ids of STREET, with `greys` as entries."""
    image = Image.fromarray(np.searchsorted(np.unique(STREET), STREET).astype(np.uint8))
    image.putpalette([value for grey in greys for value in (grey,) * 3])
    return saved(image)


def test_a_palette_of_other_numbers_is_refused(tmp_path: Path) -> None:
    data = palette_of_greys([int(k) for k in np.unique(STREET)])
    with pytest.raises(InputError, match=r"a palette whose entry 0 is the grey 7, so index and grey are two ids"):
        labelled(plain(tmp_path, data), layout="plain", ids=IDS)


def test_palettes_of_colours_and_of_their_own_numbers_are_read_by_index() -> None:
    wanted = np.searchsorted(np.unique(STREET), STREET)
    assert np.array_equal(decode_ids(palette_of_greys(list(range(6)))), wanted)
    coloured = Image.fromarray(STREET)
    coloured.putpalette(RNG.integers(0, 256, 768).tolist())
    assert np.array_equal(decode_ids(saved(coloured)), STREET)


@pytest.mark.parametrize(
    "ids",
    [
        [0, 1, 2, 8, 10, 13],  # train ids
        [0, 1, 2, 8, 10, 13, 19],  # with 19 for void
        [1, 2, 3, 9, 11, 14],  # behind 0 for void
        [0, 1, 2, 3, 9, 11, 20],
        [0, 10, 13],  # few classes in view
        [0, 1, 2, 8, 10, 13, 255],
    ],
)
@pytest.mark.parametrize("layout", ["cityscapes", "kitti", "gta5"])
def test_train_ids_under_a_layout_of_label_ids_are_refused(ids: list[int], layout: str, tmp_path: Path) -> None:
    label = np.kron(RNG.choice(ids, (6, 8)), np.ones((8, 8), int))
    label.flat[: len(ids)] = ids
    if layout == "cityscapes":
        cityscapes_frame(tmp_path, "val", "bonn_000000_000019", label, rng=RNG)
    elif layout == "kitti":
        kitti_frame(tmp_path, 0, label, rng=RNG)
    else:
        gta5_frame(tmp_path, 1, label, rng=RNG)
    with pytest.raises(InputError, match="look like train ids"):
        labelled(tmp_path, layout=layout, split="val")


# Photos


def test_grey_photos_of_sixteen_bits_have_the_levels_of_eight() -> None:
    grey = RNG.integers(0, 256, SHAPE).astype(np.uint8)
    grey[0, 0] = 255
    wide = saved(Image.fromarray(grey.astype(np.uint16) * 257))
    assert np.array_equal(decode_image(wide), decode_image(saved(Image.fromarray(grey))))


def test_twelve_bits_in_sixteen_are_refused() -> None:
    dark = saved(Image.fromarray(RNG.integers(0, 4096, SHAPE).astype(np.uint16)))
    with pytest.raises(
        UnreadableError, match=r"street\.png: not a readable image \(16-bit grey with levels up to \d+, so 12 bits"
    ):
        decode_image(dark, name="street.png")


def test_a_photo_with_a_lot_of_text_beside_it_is_read() -> None:
    pixels = RNG.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    told = PngInfo()
    told.add_text("Comment", "street " * 400_000, zip=True)
    assert np.array_equal(decode_image(saved(Image.fromarray(pixels), pnginfo=told)), pixels)


@pytest.mark.parametrize("stray", [b"\0" * 100, b"\r\n" * 400, bytes(range(256)) * 9])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_bytes_behind_the_end_of_a_photo_do_not_make_it_truncated(stray: bytes, kind: str, tmp_path: Path) -> None:
    whole = saved(Image.fromarray(RNG.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)), kind=kind)
    put(tmp_path / "images/0.png", whole + stray)
    put(tmp_path / "images/1.png", whole[:-20] + stray)
    frames = listing(tmp_path, layout="plain")
    assert [frame.name for frame in complete(frames, spoiled=1)] == ["0"]
    ends = ends_of([frame.image for frame in frames], contents=Contents(tmp_path / "inputs"))
    assert [bool(file.fault) for file in ends] == [False, True]


def test_a_large_file_and_a_small_one_are_checked_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = saved(Image.fromarray(RNG.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)), kind="PNG")
    photos = {"whole": whole, "turned": turned(6), "cut": whole[:-20], "damaged": whole[:16] + whole[17:], "empty": b""}
    for name, data in photos.items():
        put(tmp_path / name, data)
    paths = [tmp_path / name for name in (*photos, "gone")]
    small = list(ends_of(paths, contents=Contents(tmp_path / "inputs")))
    monkeypatch.setattr(doctor_ends, "SMALL", -1)
    assert list(ends_of(paths, contents=Contents(tmp_path / "inputs"))) == small
    assert [bool(file.fault) for file in small] == [False, False, True, True, True, True]
    assert [file.digest for file in small] == [*(digest_bytes(data) for data in photos.values()), ""]
    assert [file.orientation for file in small[:2]] == [1, 6]


def test_a_photo_of_two_hundred_megapixels_is_refused_in_one_line(tmp_path: Path) -> None:
    put(tmp_path / "images/0.png", bomb_png(20_000, 10_000))
    put(tmp_path / "labels/0.png", png(STREET, colour=0))
    with pytest.raises(UnreadableError, match=r"images/0\.png: not a readable image \(.*pixels"):
        labelled(tmp_path, layout="plain", ids=IDS)


# Label sets without a class


def test_doctor_is_not_ready_for_labels_without_a_single_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        gta5_frame(tmp_path / "gta5", number, np.full(SHAPE, 1), rng=RNG)
        cityscapes_frame(tmp_path / "city", "train", f"ulm_{number:06d}_000019", None, rng=RNG, shape=SHAPE)
    sets = (f"synthetic.root={tmp_path}/gta5", f"real.root={tmp_path}/city", "held_out=", "task.weights=scratch")
    settings = [
        part for setting in (*sets, "real.border=[0, 0, 0, 0]", "size=[64, 48]", "adapter.crop=32") for part in ("--set", setting)
    ]
    code, said = selfsyn_here("init", "gta5-cityscapes", "--run", tmp_path / "run", *settings)
    assert code == 0, said
    code, said = selfsyn_here("doctor", "--run", tmp_path / "run")
    assert code == 2 and "3 labels in which no pixel has a class" in said + capsys.readouterr().out
    code, said = selfsyn_here("train", "--run", tmp_path / "run", "--bound", "source-only")
    assert code == 2 and "have no pixel of any class; expected labels of the layout" in said


# Lists of frames


READ_RIGHT = ("utf-8", "utf-8-sig", "utf-16", "utf-32")
BIG_ENDIAN = codecs.BOM_UTF16_BE + "straße\r\nb\r\n".encode("utf-16-be")
UNKNOWN = {
    "latin-1": "straße\n".encode("latin-1"),
    "utf-16 without a mark": "straße\n".encode("utf-16-le"),
    "utf-16 that ends too early": "straße\n".encode("utf-16")[:-1],
    "nul bytes": b"b\n\0\0\0",
    "shift-jis": "道路\n".encode("shift-jis"),
    "an image": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
}


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", READ_RIGHT)
def test_a_list_of_frames_is_read_in_every_encoding_that_it_tells(encoding: str, ending: str, tmp_path: Path) -> None:
    for name in ("straße", "b", "c"):
        put(tmp_path / f"images/{name}.png", photo(RNG, SHAPE))
    (tmp_path / "files.txt").write_bytes(f"straße{ending}{ending} b {ending}".encode(encoding))
    assert [frame.name for frame in listing(tmp_path, layout="plain", files=tmp_path / "files.txt")] == ["b", "straße"]
    (tmp_path / "files.txt").write_bytes(BIG_ENDIAN)
    assert [frame.name for frame in listing(tmp_path, layout="plain", files=tmp_path / "files.txt")] == ["b", "straße"]


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_list_of_frames_in_another_encoding_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    put(tmp_path / "images/b.png", photo(RNG, SHAPE))
    (tmp_path / "files.txt").write_bytes(UNKNOWN[kind])
    with pytest.raises(InputError, match=r"^[^\n]*files\.txt: not text \([^\n]*\); expected UTF-8; save the file in it$"):
        listing(tmp_path, layout="plain", files=tmp_path / "files.txt")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", READ_RIGHT)
def test_a_configuration_is_read_in_every_encoding_that_it_tells(encoding: str, ending: str, tmp_path: Path) -> None:
    code, said = selfsyn_here("init", "demo", "--run", tmp_path / "run", "--set", "real.root=straße")
    assert code == 0, said
    path = tmp_path / "run/run.toml"
    path.write_bytes(path.read_text(encoding="utf-8").replace("\n", ending).encode(encoding))
    code, said = selfsyn_here("train", "--run", tmp_path / "run", "--bound", "source-only", "--dry-run")
    assert code == 0, said
    assert open_run(tmp_path / "run")[1].real[0].root == "straße"


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_configuration_in_another_encoding_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    code, said = selfsyn_here("init", "demo", "--run", tmp_path / "run")
    assert code == 0, said
    path = tmp_path / "run/run.toml"
    path.write_bytes(UNKNOWN[kind])
    code, said = selfsyn_here("doctor", "--run", tmp_path / "run")
    assert code == 2 and len(said.splitlines()) == 1
    assert said.startswith(f"selfsyn: {path}: not text (") and said.endswith("; expected UTF-8; save the file in it\n")


def test_a_broken_link_among_photos_is_named(tmp_path: Path) -> None:
    put(tmp_path / "images/0.png", photo(RNG, SHAPE))
    (tmp_path / "images/1.png").symlink_to(tmp_path / "annex/none.png")
    frames = listing(tmp_path, layout="plain")
    assert [frame.name for frame in complete(frames, spoiled=1)] == ["0"]
    with pytest.raises(InputError, match=r"images/1\.png: cannot be read \(No such file or directory\)"):
        complete(frames, spoiled=0)


# Names


def test_composed_and_decomposed_names_pair_up(tmp_path: Path) -> None:
    put(tmp_path / f"images/{unicodedata.normalize('NFD', 'straße-é')}.png", photo(RNG, SHAPE))
    put(tmp_path / f"labels/{unicodedata.normalize('NFC', 'straße-é')}.png", png(STREET, colour=0))
    (tmp_path / "files.txt").write_text(unicodedata.normalize("NFD", "straße-é"))
    assert len(labelled(tmp_path, layout="plain", ids=IDS, files=tmp_path / "files.txt")) == 1


def test_a_name_that_is_not_utf8_is_refused_in_one_line(tmp_path: Path) -> None:
    put(tmp_path / "images/0.png", photo(RNG, SHAPE))
    (tmp_path / "images/0.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/images/stra\xdfe.png"))
    with pytest.raises(InputError, match=r"^b'.*stra\\xdfe\.png': a name that is not UTF-8; rename the file$"):
        listing(tmp_path, layout="plain")


@pytest.mark.parametrize(("length", "is_read"), [(229, True), (230, False), (251, False)])
def test_a_name_that_leaves_no_room_for_ours_is_refused(length: int, is_read: bool, tmp_path: Path) -> None:
    put(tmp_path / f"images/{'a' * length}.png", photo(RNG, SHAPE))
    if is_read:
        assert len(listing(tmp_path, layout="plain")) == 1
        return
    with pytest.raises(InputError, match=rf"a name of {length} bytes; expected at most 229"):
        listing(tmp_path, layout="plain")


def test_doctors_remedy_for_labels_without_ids_is_not_to_copy_them_again(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        decode_ids(REFUSED["JPEG"][0](), name="label")
    reason = str(caught.value).removeprefix("label: ")
    (found,) = _refused("synthetic plain", {reason: [tmp_path / "labels/0.png"]})
    assert "unreadable files (a label saved as JPEG holds ids that nobody drew; expected PNG)" in found.what
    assert found.remedy == "make the labels again"
    assert _refused("real", {"truncated": [tmp_path / "a.png"]})[0].remedy == COPY_AGAIN


# Pictures that are no frames


def lost(layout: str, root: Path, *, split: str = "train") -> dict[str, list[str]]:
    """{reason: file names} of the pictures that the layout does not read."""
    return {why: [path.name for path in paths] for why, paths in passed_over(LAYOUTS[layout], root, split=split).items()}


def test_pictures_that_are_no_frames_are_counted_by_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path / "images/0.png", photo(RNG, SHAPE))
    put(tmp_path / "labels/0.png", png(STREET, colour=GREY))
    for name in ("1.tif", "2.WEBP", "night/0.png", "._0.png", "Thumbs.db", "notes.txt"):
        put(tmp_path / "images" / name, b"anything")
    assert lost("plain", tmp_path) == {
        "with the ending .WEBP": ["2.WEBP"],
        "with the ending .tif": ["1.tif"],
        "in a folder that the layout does not read": ["0.png"],
    }
    labelled(tmp_path, layout="plain", ids=IDS)
    assert "1 in a folder that the layout does not read, first " in capsys.readouterr().err


def test_names_that_a_layout_does_not_use_are_counted(tmp_path: Path) -> None:
    gta5_frame(tmp_path, 1, STREET, rng=RNG)
    for name in ("00001_mask.png", "00001_color.png", "00002.jpg"):
        put(tmp_path / "images" / name, photo(RNG, SHAPE))
    assert lost("gta5", tmp_path) == {
        "with a name that the layout does not use": ["00001_color.png", "00001_mask.png"],
        "with the ending .jpg": ["00002.jpg"],
    }


def test_cityscapes_in_other_formats_and_deeper_folders_are_counted(tmp_path: Path) -> None:
    cityscapes_frame(tmp_path, "train", "aachen_000000_000019", STREET, rng=RNG)
    city = tmp_path / "leftImg8bit/train/aachen"
    for name in ("aachen_000001_000019_leftImg8bit.jpg", "more/aachen_000002_000019_leftImg8bit.png", "aachen_000003_000019.png"):
        put(city / name, photo(RNG, SHAPE))
    assert lost("cityscapes", tmp_path) == {
        "with the ending .jpg": ["aachen_000001_000019_leftImg8bit.jpg"],
        "in a folder that the layout does not read": ["aachen_000002_000019_leftImg8bit.png"],
        "with a name that the layout does not use": ["aachen_000003_000019.png"],
    }


def test_kittis_pairs_and_halves_and_unrectified_drives_are_no_losses_without_a_word(tmp_path: Path) -> None:
    for number in (0, 1, 5):
        kitti_frame(tmp_path, number, STREET, rng=RNG)
    put(tmp_path / "training/image_2/000000_11.png", photo(RNG, SHAPE))
    for split in ("train", "val", "all"):
        assert lost("kitti", tmp_path, split=split) == {"of the second moment of a pair, which has no label": ["000000_11.png"]}
    for drive in ("sync", "extract"):
        put(tmp_path / f"raw/d/d_drive_0001_{drive}/image_02/data/0000000000.png", photo(RNG, SHAPE))
        put(tmp_path / f"raw/d/d_drive_0001_{drive}/image_03/data/0000000000.png", photo(RNG, SHAPE))
    assert lost("kitti-raw", tmp_path / "raw") == {"of an unrectified drive (_extract)": ["0000000000.png"]}


def test_a_data_set_without_a_frame_says_which_pictures_are_there(tmp_path: Path) -> None:
    put(tmp_path / "images/0.tiff", b"anything")
    with pytest.raises(InputError, match="no image of layout plain .*; the pictures there are no frames: 1 .*0.tiff"):
        listing(tmp_path, layout="plain")


def test_a_folder_that_links_to_itself_is_looked_through_once(tmp_path: Path) -> None:
    put(tmp_path / "images/0.png", photo(RNG, SHAPE))
    (tmp_path / "images/again").symlink_to(tmp_path / "images")
    put(tmp_path / "elsewhere/1.png", photo(RNG, SHAPE))
    (tmp_path / "images/drive").symlink_to(tmp_path / "elsewhere")
    assert lost("plain", tmp_path) == {"in a folder that the layout does not read": ["1.png"]}


# Ids that mean their neighbour


def street_of(ids: dict[str, int]) -> np.ndarray:
    """A street of 48x64 in the given ids: sky above, houses, and the road below with a pavement beside it."""
    label = np.full(SHAPE, ids["sky"], np.uint8)
    label[12:30] = ids["building"]
    label[30:] = ids["road"]
    label[30:, :12] = ids["sidewalk"]
    return label


@pytest.mark.parametrize("offset", [0, 1])
def test_camvids_ids_counted_from_one_are_refused(offset: int, tmp_path: Path) -> None:
    ids = {name: number + offset for name, number in {"sky": 0, "building": 1, "road": 3, "sidewalk": 4}.items()}
    for number in range(4):
        put(tmp_path / f"train/images/{number}.png", photo(RNG, SHAPE))
        put(tmp_path / f"train/labels/{number}.png", png(street_of(ids), colour=GREY))
    if offset == 0:
        assert len(labelled(tmp_path, layout="camvid")) == 4
        return
    with pytest.raises(InputError, match=r"train/labels/0.png: .* so the ids are counted from 1; expected sky 0 to bicyclist 10"):
        labelled(tmp_path, layout="camvid")


@pytest.mark.parametrize("shift", [0, 1])
def test_doctor_doubts_a_table_of_ones_own_that_is_shifted(shift: int) -> None:
    ids = {"sky": 4, "building": 3, "road": 1, "sidewalk": 2}
    table = table_of({number - shift: name for name, number in ids.items()})
    sample = [(Path("0.png"), street_of(ids))] * 3
    assert bool(doubt(sample, table=table)) == bool(shift)
    assert not doubt(sample[:2], table=table), "two labels are no evidence"


# `ready` that is not


@pytest.mark.parametrize(
    ("size", "words", "stops"),
    [
        ((128, 64), "", False),
        ((64, 128), r"64x128 \(width, height\) squeezes the pictures: those of a 4.0 times.*did you mean \[128, 64\]", True),
        ((64, 64), "those of a 2.0 times.*; choose a size of their shape", False),
    ],
)
def test_a_size_that_squeezes_the_pictures_is_said(size: tuple[int, int], words: str, stops: bool) -> None:
    facts = [Facts(where, "plain", "/", True, sizes={"1914x1052" if where == "b" else "200x100": 5}) for where in "ab"]
    found = of_aspects(facts, size=size)
    assert [finding.stops for finding in found] == [stops] * bool(words)
    assert all(re.search(words, finding.line) for finding in found)


def test_doctor_names_labels_beside_the_photos(tmp_path: Path) -> None:
    put(tmp_path / "0.png", photo(RNG, SHAPE))
    put(tmp_path / "0_mask.png", saved(Image.fromarray(np.dstack([STREET] * 3))))
    put(tmp_path / "dark.png", saved(Image.fromarray(np.zeros((*SHAPE, 3), np.uint8))))
    frames = {path.stem: (path, None) for path in tmp_path.iterdir()}
    assert {frame.name for frame in pixels_of(frames, kind=PLAIN) if frame.mask} == {"0_mask"}


@pytest.mark.parametrize("most", [4095, 65535])
def test_colour_photos_of_twelve_bits_in_sixteen_are_refused(most: int) -> None:
    levels = RNG.integers(0, most + 1, (*SHAPE, 3)).astype(np.uint16)
    data = cv2.imencode(".png", levels[..., ::-1])[1].tobytes()
    if most > 4095:
        assert (decode_image(data) == levels >> 8).all()
        return
    with pytest.raises(InputError, match="16 bits a channel with levels up to 4095, so 12 bits in 16"):
        decode_image(data)


# Files that are no pictures, and pictures that say something else than they hold


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["folder", "pipe", "device"]
)
def test_what_is_no_file_is_refused_before_it_is_opened(make: Callable[[Path], None], tmp_path: Path) -> None:
    put(tmp_path / "images/0.png", photo(RNG, SHAPE))
    make(tmp_path / "images/1.png")
    with pytest.raises(InputError, match=r"images/1\.png: a .* with the name of a picture; expected a file"):
        listing(tmp_path, layout="plain")


def test_a_folder_that_is_not_utf8_and_a_name_of_two_lines_are_refused_in_one_line(tmp_path: Path) -> None:
    cityscapes_frame(tmp_path / "city", "train", "ulm_000000_000019", None, rng=RNG, shape=SHAPE)
    folder = tmp_path / "city/leftImg8bit/train"
    (folder / "ulm").rename(os.fsdecode(os.fsencode(folder) + b"/K\xf6ln"))
    with pytest.raises(InputError, match=r"K\\xf6ln/.*: a name that is not UTF-8"):
        listing(tmp_path / "city", layout="cityscapes")
    put(tmp_path / "images/a\nb.png", photo(RNG, SHAPE))
    with pytest.raises(InputError, match=r"^'[^\n]*a\\nb\.png': a name with control characters"):
        listing(tmp_path, layout="plain")


def test_a_picture_without_a_readable_name_is_counted_in_words_that_can_be_printed(tmp_path: Path) -> None:
    put(tmp_path / "images/0.png", photo(RNG, SHAPE))
    with open(os.fsencode(tmp_path / "images") + b"/stra\xdfe.tif", "wb"):
        pass
    by_reason = passed_over(LAYOUTS["plain"], tmp_path, split="train")
    told = [words(by_reason), *(finding.line for paths in by_reason.values() for finding in of_files("a", "b", paths, remedy=""))]
    assert [line.encode().decode().endswith(r"stra\xdfe.tif") for line in told] == [True, True]


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_exif_does_not_define_turns_nothing(orientation: int, tmp_path: Path) -> None:
    put(tmp_path / "images/0.jpg", data := turned(orientation))
    put(tmp_path / "labels/0.png", png(STREET, colour=0))
    (frame,) = labelled(tmp_path, layout="plain", ids=IDS)
    assert (read_image(frame.image) == np.asarray(Image.open(io.BytesIO(data)))).all()


@pytest.mark.parametrize("layout", ["plain", "synthia-rand-cityscapes", "carla-0.9.11"])
@pytest.mark.parametrize("where", ["behind the pixels", "in XMP"])
def test_a_label_that_is_turned_in_other_words_is_refused_in_every_layout(where: str, layout: str, tmp_path: Path) -> None:
    label = Image.fromarray(STREET)
    data = late(exif_chunk(6), image=saved(label)) if where[0] == "b" else saved(label, pnginfo=xmp(6))
    with pytest.raises(InputError, match=r"0\.png: a label that EXIF turns"):
        LAYOUTS[layout].read(put(tmp_path / "0.png", data))


@pytest.mark.parametrize("layout", ["synthia-sf", "carla-0.9.11", "synthia-rand-cityscapes"])
@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_a_jpeg_is_no_label_in_any_layout(kind: str, layout: str, tmp_path: Path) -> None:
    data = saved(Image.fromarray(np.dstack([STREET % 23] * 3)), kind=kind, **({"save_all": True} if kind == "MPO" else {}))
    with pytest.raises(InputError, match=r"0\.png: a label saved as JPEG"):
        LAYOUTS[layout].read(put(tmp_path / "0.png", data))


def test_carlas_labels_of_four_bits_hold_their_tags_and_sixteen_bits_are_refused(tmp_path: Path) -> None:
    read = LAYOUTS["carla-0.9.11"].read
    assert (read(put(tmp_path / "0.png", png(STREET % 13, colour=0, bits=4))) == STREET % 13).all()
    with pytest.raises(InputError, match="a label of 16 bits"):
        read(put(tmp_path / "1.png", png(np.dstack([STREET] * 3), colour=2, bits=16)))


@pytest.mark.parametrize("colour", [0, 2])
def test_labels_in_colours_of_sixteen_bits_are_refused(colour: int, tmp_path: Path) -> None:
    values = STREET.astype(np.uint16) * 1000
    put(tmp_path / "images/0.png", photo(RNG, SHAPE))
    put(tmp_path / "labels/0.png", png(np.dstack([values] * 3) if colour else values, colour=colour, bits=16))
    with pytest.raises(InputError, match=r"labels/0\.png: a label of 16 bits"):
        labelled(tmp_path, layout="plain", colours={"#ffffff": "road"})[0].read_label()


def test_the_picture_of_an_animation_is_the_one_that_viewers_show(tmp_path: Path) -> None:
    shown, *others = (Image.fromarray(RNG.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)) for _ in range(3))
    data = saved(shown, save_all=True, default_image=True, append_images=others)
    assert (decode_image(data) == np.asarray(shown)).all()


def test_a_list_without_a_name_says_so(tmp_path: Path) -> None:
    put(tmp_path / "images/0.png", photo(RNG, SHAPE))
    put(tmp_path / "files.txt", b"\n \r\n")
    with pytest.raises(InputError, match=r"files\.txt: no name in it; expected names of frames, one a line, such as '0'"):
        listing(tmp_path, layout="plain", files=tmp_path / "files.txt")


# Labels of one encoding under the layout of another

ENCODINGS: dict[str, dict[str, int]] = {
    "cityscapes": {"sky": 23, "building": 11, "road": 7, "sidewalk": 8},
    "bdd100k": {"sky": 10, "building": 2, "road": 0, "sidewalk": 1},
    "idd": {"sky": 25, "building": 22, "road": 0, "sidewalk": 2},
    "carla-0.9.11": {"sky": 13, "building": 1, "road": 7, "sidewalk": 8},
    "carla-0.9.14": {"sky": 11, "building": 3, "road": 1, "sidewalk": 2},
}


def encoded(layout: str, ids: dict[str, int], *, step: int = 0, count: int = 3) -> tuple[list[tuple[Path, np.ndarray]], DataSet]:
    return [(Path(f"{number}.png"), street_of(ids) + np.uint8(step)) for number in range(count)], dataset(layout)


@pytest.mark.parametrize("layout", ENCODINGS)
@pytest.mark.parametrize("drawn", ENCODINGS)
def test_labels_in_the_ids_of_another_layout_are_refused(drawn: str, layout: str) -> None:
    sample, kind = encoded(layout, ENCODINGS[drawn])
    if drawn == layout:
        verify(sample, kind=kind)
        return
    with pytest.raises(InputError, match=r"^0\.png: [^\n]*(train ids|ids|tags|numbering)[^\n]*expected [^\n]*$"):
        verify(sample, kind=kind)


@pytest.mark.parametrize("layout", ENCODINGS)
def test_ids_that_are_larger_by_one_are_refused_in_every_layout(layout: str) -> None:
    sample, kind = encoded(layout, ENCODINGS[layout], step=1)
    with pytest.raises(InputError, match="0.png: "):
        verify(sample, kind=kind)
    verify(sample[:2], kind=kind)  # two labels are no evidence


def test_ids_that_are_smaller_by_one_are_refused() -> None:
    ids = {name: number - 1 for name, number in ENCODINGS["cityscapes"].items()}
    sample, kind = encoded("cityscapes", ids)
    with pytest.raises(InputError, match=r"as ids that are smaller by 1, .*expected road as id 7, sky as 23"):
        verify(sample, kind=kind)


# What stands beside the frames


@pytest.mark.parametrize("data", ["2011 drive_sync ü".encode("latin-1"), b"", b"<html>Not found</html>"])
def test_a_mapping_of_kittis_drives_that_says_nothing_is_refused(data: bytes, tmp_path: Path) -> None:
    put(tmp_path / "d/d_drive_0001_sync/image_02/data/0000000000.png", photo(RNG, SHAPE))
    mapping = put(tmp_path / "train_mapping.txt", data)
    with pytest.raises(InputError, match=r"train_mapping\.txt: [^\n]*expected [^\n]*$"):
        listing(tmp_path, layout="kitti-raw")
    mapping.write_text("d d_drive_0002_sync 0000000000\n", encoding="utf-16")
    assert len(listing(tmp_path, layout="kitti-raw")) == 1


def test_endings_in_upper_case_are_endings_of_acdc_and_idd_too(tmp_path: Path) -> None:
    put(tmp_path / "rgb_anon/night/val/G/1_rgb_anon.PNG", photo(RNG, SHAPE))
    put(tmp_path / "leftImg8bit/val/7/1_leftImg8bit.JPG", turned(1))
    for layout, name in (("acdc", "1"), ("idd", "7_1")):
        assert [frame.name for frame in listing(tmp_path, layout=layout, split="val")] == [name]


def test_carlas_splits_are_those_that_it_has_and_its_other_folder_is_counted(tmp_path: Path) -> None:
    for name in ("images/000001.png", "CameraRGB/000002.png"):
        put(tmp_path / name, photo(RNG, SHAPE))
    with pytest.raises(InputError, match="split 'valid' of CARLA's layouts; expected one of train, val, all"):
        listing(tmp_path, layout="carla-0.9.11", split="valid")
    assert lost("carla-0.9.11", tmp_path) == {"in a folder that the layout does not read": ["000002.png"]}


# Files of other formats


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"II*\0", "a TIFF; expected PNG or JPEG; convert the file or remove the frame"),
        (b"RIFF\0\0\0\0WEBP", "a WebP; expected PNG or JPEG; convert"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer; expected PNG or JPEG; fetch the file with `git lfs pull`",
        ),
        (b"404", "neither PNG nor JPEG; expected a whole PNG or JPEG; copy the file again"),
    ],
)
def test_a_file_of_another_format_is_named_with_its_remedy(head: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"images/0.png: {words}"):
        labelled(plain(tmp_path, png(STREET, colour=GREY), image=head + bytes(100)), layout="plain", ids=IDS)
