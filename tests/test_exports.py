"""`labels export` through the command line: each format, decoded by other means than ours."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import click
import numpy as np
import pytest
from cityscapesscripts.helpers.labels import id2label
from PIL import Image
from tiny_run import selfsyn_here
from tiny_store import write_shard

from export import delivery
from export.formats import FORMATS
from export.formats.item import Classes
from export.formats.rle import brush_mask, brush_rle, coco_counts, coco_mask
from jobs.labels import command as labels_command
from selfsyn.errors import InputError
from selfsyn.images import encode_png, resize_label
from selfsyn.labels import CLASSES, IGNORE, PALETTE
from selfsyn.pseudo_labels import LabelStore

SIZE = (44, 32)  # of the labels; the images are twice as large
NAMES = ("a", "b", "c", "d")
RUN = f"""
recipe = "test"
seed = 0
size = {list(SIZE)}
synthetic = {{ layout = "gta5", root = "unused" }}
real = {{ layout = "plain", root = "data" }}
adapter = {{ crop = 32 }}
"""
Export = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with the labels of four images, the first the least confident."""
    draw = np.random.default_rng(0)
    maps = {}
    for number, name in enumerate(NAMES):
        picture = draw.integers(0, 256, (2 * SIZE[1], 2 * SIZE[0], 3), dtype=np.uint8)
        path = tmp_path / "data" / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(picture))
        label = draw.integers(0, len(CLASSES), SIZE[::-1], dtype=np.uint8)
        maps[name] = (label, draw.integers(60 * number, 60 * number + 60, SIZE[::-1], dtype=np.uint8))
    write_shard(tmp_path / "round-1" / "labels" / "shard-00000-of-00001", maps)
    (tmp_path / "run.toml").write_text(RUN)
    return tmp_path


@pytest.fixture
def export(run: Path) -> Export:
    """Export the run's labels, -> the folder."""

    def exported(kind: str, *arguments: object, to: str = "out", code: int = 0) -> Path:
        found, said = selfsyn_here("labels", "export", "--run", run, "--to", run / to, "--as", kind, *arguments)
        assert found == code, said
        return run / to

    return exported


def expected(run: Path, name: str, *, portion: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """The label as training reads it, and its confidence, at the size of the image."""
    store, size = LabelStore(run / "round-1" / "labels"), (2 * SIZE[0], 2 * SIZE[1])
    return resize_label(store.read(name, portion=portion), size=size), resize_label(store.maps(name)[1], size=size)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def scores(label: np.ndarray, confidence: np.ndarray) -> dict[str, float]:
    return {CLASSES[k]: pytest.approx(confidence[label == k].mean() / 255, abs=1e-4) for k in np.unique(label) if k != IGNORE}


def mean_of(label: np.ndarray, confidence: np.ndarray) -> float:
    given = confidence[label != IGNORE]
    return pytest.approx(given.mean() / 255 if given.size else 0.0, abs=1e-4)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_datumaro(run: Path, export: Export) -> None:
    folder = export("datumaro", "--kept-fraction", 0.7)
    meta = json.loads((folder / "dataset_meta.json").read_text())
    assert meta["label_map"] == {str(k): name for k, name in enumerate(["background", *CLASSES])}
    assert meta["segmentation_colors"] == [[0, 0, 0], *PALETTE.tolist()]
    for name in NAMES:
        label, confidence = expected(run, name)
        mask = pixels(folder / "masks" / f"{name}.png")
        assert np.array_equal(np.where(mask == 0, IGNORE, mask - 1), label)
        colours = np.asarray(Image.open(folder / "masks" / f"{name}.png").convert("RGB"))
        assert np.array_equal(colours, np.array(meta["segmentation_colors"])[mask])
        assert np.array_equal(pixels(folder / "confidence" / f"{name}.png"), confidence)
        assert (folder / "images" / f"{name}.png").samefile(run / "data/images" / f"{name}.png")


def test_cvat(run: Path, export: Export) -> None:
    folder = export("cvat", "--kept-fraction", 0.7)
    lines = (folder / "labelmap.txt").read_text().splitlines()
    assert lines[:3] == ["# label:color_rgb:parts:actions", "background:0,0,0::", "road:128,64,128::"]
    assert (folder / "ImageSets/Segmentation/default.txt").read_text().split() == list(NAMES)
    names = {tuple(map(int, line.split(":")[1].split(","))): line.split(":")[0] for line in lines[1:]}
    for name in NAMES:
        colours = np.asarray(Image.open(folder / "SegmentationClass" / f"{name}.png").convert("RGB"))
        found = [["background", *CLASSES].index(names[tuple(colour)]) for colour in colours.reshape(-1, 3).tolist()]
        label = expected(run, name)[0]
        assert np.array_equal(np.array(found).reshape(label.shape), np.where(label == IGNORE, 0, label.astype(int) + 1))


def test_label_studio(run: Path, export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.formats.label_studio.TASKS", 3)
    folder = export("label-studio", "--kept-fraction", 0.7)
    assert sorted(path.name for path in folder.glob("*.json")) == ["selfsyn.json", "tasks-00000.json", "tasks-00001.json"]
    assert '<Label value="traffic light" background="#faaa1e"/>' in (folder / "label_config.xml").read_text()
    tasks = [task for path in sorted(folder.glob("tasks-*")) for task in json.loads(path.read_text())]
    for name, task in zip(NAMES, tasks, strict=True):
        label, confidence = expected(run, name)
        assert task["data"]["image"] == f"/data/local-files/?d=images/{name}.png"
        (prediction,) = task["predictions"]
        assert prediction["score"] == mean_of(label, confidence)
        found, told = np.full(label.shape, IGNORE), {}
        for part in prediction["result"]:
            (kind,) = part["value"]["brushlabels"]
            picture = unpacked(part["value"]["rle"]).reshape(part["original_height"], part["original_width"], 4)
            assert (picture == picture[..., :1]).all()
            found[picture[..., 3] > 0] = CLASSES.index(kind)
            told[kind] = part["score"]
        assert np.array_equal(found, label) and told == scores(label, confidence)


def unpacked(rle: list[int]) -> np.ndarray:
    """Bit by bit, as @thi.ng/rle-pack describes its format."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    place = 0

    def read(count: int) -> int:
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    total, word, sizes = read(32), read(5) + 1, [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        repeated = read(1)
        count = read(sizes[read(2)]) + 1
        values += [read(word)] * count if repeated else [read(word) for _ in range(count)]
    return np.array(values)


def test_fiftyone(run: Path, export: Export) -> None:
    folder = export("fiftyone", "--kept-fraction", 0.7)
    targets = json.loads((folder / "metadata.json").read_text())["info"]["default_mask_targets"]
    samples = json.loads((folder / "samples.json").read_text())["samples"]
    for name, sample in zip(NAMES, samples, strict=True):
        label, confidence = expected(run, name)
        mask = pixels(folder / sample["segmentation"]["mask_path"])
        named = np.array(["", *targets.values()])[mask]
        assert np.array_equal(named, np.where(label == IGNORE, "", np.array([*CLASSES, ""])[np.minimum(label, len(CLASSES))]))
        assert np.array_equal(pixels(folder / sample["confidence_map"]["map_path"]), confidence)
        assert (folder / sample["filepath"]).samefile(run / "data/images" / f"{name}.png")
        assert sample["mean_confidence"] == mean_of(label, confidence)


def test_coco(run: Path, export: Export) -> None:
    folder = export("coco", "--kept-fraction", 0.7)
    found = json.loads((folder / "annotations/instances_default.json").read_text())
    kinds = {one["id"]: one["name"] for one in found["categories"]}
    assert [one["id"] for one in found["annotations"]] == list(range(1, len(found["annotations"]) + 1))
    for name, image in zip(NAMES, found["images"], strict=True):
        label, confidence = expected(run, name)
        assert image["file_name"] == f"{name}.png" and (image["height"], image["width"]) == label.shape
        picture, told = np.full(label.shape, IGNORE), {}
        for one in (one for one in found["annotations"] if one["image_id"] == image["id"]):
            mask = counted(one["segmentation"]["counts"], label.shape)
            ys, xs = np.nonzero(mask)
            assert one["area"] == mask.sum()
            assert one["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            picture[mask] = CLASSES.index(kinds[one["category_id"]])
            told[kinds[one["category_id"]]] = one["score"]
        assert np.array_equal(picture, label) and told == scores(label, confidence)


def counted(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """COCO's compressed counts, character by character as maskApi.c reads them."""
    counts: list[int] = []
    place = 0
    while place < len(text):
        value, step, more = 0, 0, True
        while more:
            digit = ord(text[place]) - 48
            value |= (digit & 31) << 5 * step
            more, place, step = bool(digit & 32), place + 1, step + 1
            if not more and digit & 16:
                value |= -1 << 5 * step
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    flat = [bit for bit, count in zip(cycle([False, True]), counts, strict=False) for _ in range(count)]
    return np.array(flat).reshape(shape, order="F")


def test_cityscapes(run: Path, export: Export) -> None:
    folder = export("cityscapes", "--kept-fraction", 0.7)
    for name in NAMES:
        label, confidence = expected(run, name)
        ids = pixels(folder / f"gtFine/train/real/{name}_gtFine_labelIds.png")
        assert np.array_equal(np.vectorize(lambda number: id2label[number].trainId % 256)(ids), label)
        assert np.array_equal(pixels(folder / f"confidence/train/real/{name}_confidence.png"), confidence)
        assert (folder / f"leftImg8bit/train/real/{name}_leftImg8bit.png").exists()


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_bytes_after_a_kill_and_with_other_threads(kind: str, run: Path, export: Export, monkeypatch) -> None:
    whole = contents(export(kind, "--workers", 3))
    written, calls = delivery._write, []

    def fails(made, to) -> None:
        calls.append(made)
        if len(calls) == 3:
            raise KeyboardInterrupt
        written(made, to)

    monkeypatch.setattr(delivery, "_write", fails)
    export(kind, "--workers", 1, to="killed", code=130)
    assert not (run / "killed" / delivery.DONE).exists()
    journal = run / "killed" / delivery.JOURNAL
    journal.write_text(journal.read_text() + '{"half a li')
    export(kind, "--workers", 1, to="killed")
    assert contents(run / "killed") == whole and len(calls) < 3 + len(NAMES)


@pytest.mark.parametrize("kind", FORMATS)
def test_its_own_folder_is_read_back(kind: str, run: Path, export: Export) -> None:
    folder = export(kind, "--kept-fraction", 0.7)
    if kind == "label-studio":  # as if a person had submitted the predictions
        for path in folder.glob("tasks-*"):
            tasks = json.loads(path.read_text())
            path.write_text(json.dumps([{"data": t["data"], "annotations": t["predictions"]} for t in tasks]))
    masks = dict(FORMATS[kind].masks(folder, Classes(CLASSES, PALETTE)))
    assert sorted(masks) == (["b", "c", "d"] if kind == "label-studio" else list(NAMES))  # `a` has no pixel left: no brush
    for name, read in masks.items():
        assert np.array_equal(read(), expected(run, name)[0])


def test_the_command_line_offers_every_format() -> None:
    (option,) = [parameter for parameter in labels_command.commands["export"].params if parameter.name == "kind"]
    assert isinstance(option.type, click.Choice) and list(option.type.choices) == list(FORMATS)


def test_a_second_export_is_done_and_another_is_refused(run: Path, export: Export) -> None:
    folder = export("coco")
    before = (folder / delivery.DONE).stat().st_mtime_ns
    export("coco")
    assert (folder / delivery.DONE).stat().st_mtime_ns == before
    code, said = selfsyn_here("labels", "export", "--run", run, "--to", folder, "--as", "coco", "--min-confidence", 0.5)
    assert code == 2 and "min_confidence differ" in said
    code, said = selfsyn_here("labels", "export", "--run", run, "--to", run / "data", "--as", "coco")
    assert code == 2 and "holds other files" in said


def test_the_choice_of_images_and_pixels(run: Path, export: Export) -> None:
    (run / "only.txt").write_text("d\nb\n")
    assert listed(export("cvat", "--only", run / "only.txt", to="only")) == ["d", "b"]
    assert listed(export("cvat", "--worst", 2, to="worst")) == ["a", "b"]
    assert listed(export("cvat", "--limit", 3, to="limit")) == ["a", "b", "c"]
    (run / "only.txt").write_text("e\n")
    code, said = selfsyn_here("labels", "export", "--run", run, "--to", run / "no", "--as", "cvat", "--only", run / "only.txt")
    assert code == 2 and "'e'" in said and "nearest" in said
    folder = export("datumaro", "--min-confidence", 0.5, to="sure")
    label, confidence = expected(run, "c", portion=1.0)
    mask = pixels(folder / "masks/c.png")
    assert np.array_equal(mask > 0, confidence >= 127.5) and np.array_equal(mask[mask > 0] - 1, label[mask > 0])
    everything = pixels(export("datumaro", to="all") / "masks/c.png")
    assert np.array_equal(everything - 1, label)


def listed(folder: Path) -> list[str]:
    return (folder / "ImageSets/Segmentation/default.txt").read_text().split()


def test_an_image_that_is_gone(run: Path, export: Export) -> None:
    (run / "data/images/c.png").unlink()
    code, said = selfsyn_here("labels", "export", "--run", run, "--to", run / "out", "--as", "coco")
    assert code == 2 and "'c'" in said
    shutil.rmtree(run / "round-1")
    export("coco", code=3)


def test_files_of_one_name_in_two_folders_keep_their_folder(tmp_path: Path) -> None:
    images = {"x__1": Path("/d/x/1.png"), "y__1": Path("/d/y/1.jpg"), "y__2": Path("/d/y/2.jpg")}
    order = delivery.Order("cvat", Classes(CLASSES, PALETTE), list(images), images, lambda name: ..., "m")
    assert delivery._stems(order) == {"x__1": "x/1", "y__1": "y/1", "y__2": "y/2"}


def test_classes_of_the_user(tmp_path: Path) -> None:
    names, colours = ("field", "crop"), np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)
    label = np.array([[0, 1], [IGNORE, 1]], dtype=np.uint8)
    (tmp_path / "p.png").write_bytes(encode_png(np.zeros((2, 2, 3), dtype=np.uint8)))
    images = {"p": tmp_path / "p.png"}
    for kind, form in FORMATS.items():
        order = delivery.Order(kind, Classes(names, colours), ["p"], images, lambda name: (label, label), "m")
        assert list(delivery.deliver(order, tmp_path / kind)) == ["p"]
        if kind != "label-studio":
            assert np.array_equal(dict(form.masks(tmp_path / kind, order.classes))["p"](), label)
    alike = Classes(names, colours[[0, 0]])
    with pytest.raises(InputError, match="'field' and 'crop' have the colour"):
        list(delivery.deliver(delivery.Order("cvat", alike, ["p"], images, lambda name: (label, label), "m"), tmp_path / "alike"))


def test_a_class_that_is_called_background(tmp_path: Path) -> None:
    names, colours = ("background", "floor"), np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)
    label = np.array([[0, 1], [IGNORE, 1]], dtype=np.uint8)
    (tmp_path / "p.png").write_bytes(encode_png(np.zeros((2, 2, 3), dtype=np.uint8)))
    classes = Classes(names, colours)
    for kind in ("datumaro", "cvat", "fiftyone", "coco"):
        order = delivery.Order(kind, classes, ["p"], {"p": tmp_path / "p.png"}, lambda name: (label, label), "m")
        assert list(delivery.deliver(order, tmp_path / kind)) == ["p"]
        assert np.array_equal(dict(FORMATS[kind].masks(tmp_path / kind, classes))["p"](), label), kind
    assert "unlabeled:0,0,0::" in (tmp_path / "cvat/labelmap.txt").read_text()


def test_a_colon_in_a_class_has_no_place_in_cvats_label_map(tmp_path: Path) -> None:
    classes = Classes(("lane: left", "floor"), np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8))
    label = np.zeros((2, 2), dtype=np.uint8)
    (tmp_path / "p.png").write_bytes(encode_png(np.zeros((2, 2, 3), dtype=np.uint8)))
    order = delivery.Order("cvat", classes, ["p"], {"p": tmp_path / "p.png"}, lambda name: (label, label), "m")
    with pytest.raises(InputError, match=r"class 'lane: left' cannot be written to CVAT's labelmap\.txt"):
        list(delivery.deliver(order, tmp_path / "cvat"))


@pytest.mark.parametrize("seed", range(8))
def test_run_lengths_of_random_masks(seed: int) -> None:
    draw = np.random.default_rng(seed)
    height, width = draw.integers(1, 400, 2)
    mask = np.cumsum(draw.random((height, width)) < draw.choice([0.5, 0.01, 0.0001]), axis=1) % 2 == 1
    counts, brush = coco_counts(mask), brush_rle(mask)
    assert np.array_equal(counted(counts, mask.shape), mask)
    assert np.array_equal(coco_mask(counts, height=height, width=width), mask)
    assert np.array_equal(unpacked(brush).reshape(*mask.shape, 4)[..., 3] > 0, mask)
    assert np.array_equal(brush_mask(brush, height=height, width=width), mask)


def test_run_lengths_longer_than_a_chunk() -> None:
    mask = np.ones((300, 400), dtype=bool)
    mask[0, 0] = False
    assert coco_counts(mask) == "1oUe3"  # 1 and 119,999 = 3 * 32**3 + 21 * 32**2 + 5 * 32 + 31
    assert np.array_equal(brush_mask(brush_rle(mask), height=300, width=400), mask)
    with pytest.raises(ValueError, match="run lengths"):
        coco_mask("1", height=2, width=2)


def test_a_brush_with_words_that_are_not_repeated() -> None:
    """Label Studio's own encoder writes values one by one: the header for 8 values, then 8 words in a chunk of size 3."""
    values = [0, 0, 0, 0, 9, 9, 9, 255]
    bits = f"{8:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16)) + "0" + "00" + f"{7:03b}"
    bits += "".join(f"{value:08b}" for value in values)
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]
    assert brush_mask(rle, height=1, width=2).tolist() == [[False, True]]
    with pytest.raises(ValueError, match="brush of 8 values"):
        brush_mask(rle, height=2, width=2)


def test_images_on_another_file_system_are_linked_by_name(run: Path, export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", fails)
    folder = export("coco")
    assert (folder / "images/a.png").is_symlink() and (folder / "images/a.png").samefile(run / "data/images/a.png")
