"""Each protocol's scores from one confusion of train ids, against tables computed by hand; SYNTHIA's two variants."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from merging import merged
from numpy.typing import NDArray
from tiny_run import selfsyn_here
from tiny_teacher import SIZE, tiny_onnx, write_teacher

from selfsyn.config import from_mapping
from selfsyn.images import encode_png, read_ids
from selfsyn.labels import CLASSES, IGNORE, LABEL_ID_OF_TRAIN_ID, PROTOCOLS, TRAIN_ID_OF_CAMVID_ID
from selfsyn.layout import Layout
from selfsyn.metrics import confusion, scores
from selfsyn.report.collect import Run, Score
from selfsyn.report.facts import meaning
from selfsyn.stage import Stage

CAMVID = Path(__file__).parents[2] / "shared/data/camvid"
SIXTEEN = [name for name in CLASSES if name not in ("terrain", "truck", "train")]
THIRTEEN = [name for name in SIXTEEN if name not in ("wall", "fence", "pole")]

# (true, predicted): pixels. Sums of true classes: road 10, building 4, wall 4, vegetation 10, terrain 5, car 7, truck 4, train 1.
PIXELS = {
    ("road", "road"): 8, ("road", "truck"): 2,
    ("building", "building"): 4,
    ("wall", "wall"): 2, ("wall", "building"): 2,
    ("vegetation", "vegetation"): 10,
    ("terrain", "vegetation"): 5,
    ("car", "car"): 6, ("car", "road"): 1,
    ("truck", "car"): 3, ("truck", "truck"): 1,
    ("train", "bus"): 1,
}  # fmt: skip

# True positives / (true + predicted - true positives).
ROAD, BUILDING, WALL = 8 / (10 + 9 - 8), 4 / (4 + 6 - 4), 2 / (4 + 2 - 2)
VEGETATION_A, VEGETATION_B = 10 / (10 + 15 - 10), 10 / (10 + 10 - 10)
CAR_A, CAR_B = 6 / (7 + 9 - 6), 6 / (7 + 6 - 6)
IOU_A = {"road": ROAD, "building": BUILDING, "wall": WALL, "vegetation": VEGETATION_A, "car": CAR_A}
IOU_B = {"road": ROAD, "building": BUILDING, "wall": WALL, "vegetation": VEGETATION_B, "car": CAR_B}
ACCURACY_A, ACCURACY_B = (8 + 4 + 2 + 10 + 6 + 1) / 45, (8 + 4 + 2 + 10 + 6) / (45 - 5 - 4 - 1)
FIGURES = {
    "synthia-16 A": (SIXTEEN, IOU_A, (ROAD + BUILDING + WALL + VEGETATION_A + CAR_A) / 5, ACCURACY_A),
    "synthia-16 B": (SIXTEEN, IOU_B, (ROAD + BUILDING + WALL + VEGETATION_B + CAR_B) / 5, ACCURACY_B),
    "synthia-13 A": (THIRTEEN, IOU_A, (ROAD + BUILDING + VEGETATION_A + CAR_A) / 4, ACCURACY_A),
    "synthia-13 B": (THIRTEEN, IOU_B, (ROAD + BUILDING + VEGETATION_B + CAR_B) / 4, ACCURACY_B),
}


def counts() -> NDArray[np.int64]:
    """PIXELS as a (19, 19) confusion."""
    table = np.zeros((19, 19), np.int64)
    for (true, predicted), pixels in PIXELS.items():
        table[CLASSES.index(true), CLASSES.index(predicted)] = pixels
    return table


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("key", ["synthia-16", "synthia-13"])
def test_each_variant_of_synthia_is_what_was_computed_by_hand(key: str, name: str) -> None:
    names, iou, miou, accuracy = FIGURES[name]
    variant = scores(counts(), protocol=PROTOCOLS[key])["variants"][name]
    assert variant["class_iou"] == {known: pytest.approx(iou[known]) if known in iou else None for known in names}
    assert list(variant["class_iou"]) == names
    assert (variant["miou"], variant["pixel_accuracy"]) == (pytest.approx(miou), pytest.approx(accuracy))


def test_the_hand_computed_variants_differ_where_they_should() -> None:
    assert FIGURES["synthia-16 B"][2] > FIGURES["synthia-16 A"][2] and ACCURACY_B > ACCURACY_A
    assert FIGURES["synthia-13 B"][2] > FIGURES["synthia-13 A"][2] > FIGURES["synthia-16 A"][2]


@pytest.mark.parametrize(("key", "names"), [("synthia-16", SIXTEEN), ("synthia-13", THIRTEEN)])
def test_the_score_under_synthia_is_variant_a(key: str, names: list[str]) -> None:
    result = scores(counts(), protocol=PROTOCOLS[key])
    assert result["protocol"] == key and len(names) == int(key[-2:])
    assert list(result["variants"]) == ["synthia-16 A", "synthia-16 B", "synthia-13 A", "synthia-13 B"]
    assert {name: result[name] for name in ("miou", "pixel_accuracy", "class_iou")} == result["variants"][f"{key} A"]
    positions = [CLASSES.index(name) for name in names]
    assert result["confusion"] == counts()[positions][:, positions].tolist()
    assert result["confusion_19"] == counts().tolist()
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_variants_agree_where_nothing_of_the_left_out_classes_is_true() -> None:
    table = counts()
    table[[CLASSES.index(name) for name in ("terrain", "truck", "train")]] = 0
    variants = scores(table, protocol=PROTOCOLS["synthia-16"])["variants"]
    assert variants["synthia-16 A"] == variants["synthia-16 B"]
    assert variants["synthia-16 A"]["class_iou"]["road"] == pytest.approx(8 / 11)  # two of ten pixels seen as trucks: wrong


def test_cityscapes_counts_all_nineteen() -> None:
    result = scores(counts(), protocol=PROTOCOLS["cityscapes-19"])
    iou = IOU_A | {"terrain": 0, "truck": 1 / (4 + 3 - 1), "train": 0}
    assert result["class_iou"] == {name: pytest.approx(iou[name]) if name in iou else None for name in CLASSES}
    assert result["miou"] == pytest.approx(sum(iou.values()) / 8)
    assert result["pixel_accuracy"] == pytest.approx(31 / 45)
    assert result["confusion"] == result["confusion_19"] == counts().tolist() and "variants" not in result


def test_camvid_merges_before_it_counts_what_is_right() -> None:
    result = scores(counts(), protocol=PROTOCOLS["camvid-11"])
    # car, truck and train are one class: true 12; predicted as car, truck or bus: 6 + 3 + 1 + 1, and 2 pixels of road.
    iou = {"road": ROAD, "building": BUILDING, "fence": WALL, "tree": 1, "car": 11 / (12 + 13 - 11)}
    assert {name: value for name, value in result["class_iou"].items() if value is not None} == pytest.approx(iou)
    assert result["miou"] == pytest.approx(sum(iou.values()) / 5)
    assert result["pixel_accuracy"] == pytest.approx((8 + 4 + 2 + 15 + 11) / 45)
    assert np.shape(result["confusion"]) == (11, 11) and result["confusion_19"] == counts().tolist()


def assert_merging_is_equal(label: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
    """Merging the confusion of train ids gives the confusion of the merged label maps."""
    camvid = PROTOCOLS["camvid-11"]
    maps_merged = confusion(merged(camvid, label), merged(camvid, prediction), classes=11)
    assert scores(confusion(label, prediction, classes=19), protocol=camvid)["confusion"] == maps_merged.tolist()


def test_merging_the_confusion_is_merging_the_label_maps() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        label = draw.choice([*range(19), IGNORE], (31, 43)).astype(np.uint8)
        assert_merging_is_equal(label, draw.integers(0, 19, label.shape, dtype=np.uint8))


@pytest.mark.skipif(not CAMVID.is_dir(), reason=f"{CAMVID}: no CamVid labels here")
def test_merging_is_equal_on_real_camvid_labels() -> None:
    draw = np.random.default_rng(0)
    for path in sorted((CAMVID / "val" / "labels").glob("*.png"))[::20]:
        label = TRAIN_ID_OF_CAMVID_ID[read_ids(path)]
        prediction = np.where(draw.random(label.shape) < 0.5, np.roll(label, 9, axis=1), draw.integers(0, 19, label.shape))
        assert_merging_is_equal(label, np.where(prediction == IGNORE, 0, prediction).astype(np.uint8))


RUN = f"""
recipe = "test"
seed = 0
size = {list(SIZE)}
synthetic = {{ layout = "gta5", root = "unused" }}
real = {{ layout = "cityscapes", root = "data" }}
held_out = {{ layout = "cityscapes", root = "data", split = "val", protocol = "synthia-13" }}
adapter = {{ crop = 32 }}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run under protocol synthia-13 with a teacher and two held-out frames of the classes before motorcycle."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    draw = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("ulm_000000_000001", "ulm_000000_000002"):
            label = LABEL_ID_OF_TRAIN_ID[draw.integers(0, CLASSES.index("motorcycle"), (61, 81))]
            for folder, ending, data in (
                ("leftImg8bit", "leftImg8bit", draw.integers(0, 256, (61, 81, 3), dtype=np.uint8)),
                ("gtFine", "gtFine_labelIds", label),
            ):
                path = tmp_path / "data" / folder / split / "ulm" / f"{name}_{ending}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode_png(data))
    (tmp_path / "run.toml").write_text(RUN)
    write_teacher(tmp_path / "round-0" / "teacher", tiny_onnx())
    return tmp_path


def test_evaluate_prints_both_variants_of_both(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = selfsyn_here("evaluate", "--run", run, "--round", 0, "--device", "cpu", "--workers", 0)
    assert code == 0, said
    lines = capsys.readouterr().out.splitlines()
    metrics = json.loads((run / "round-0/evaluation/metrics.json").read_text())
    variants = metrics["variants"]
    assert lines[0] == "synthia-13, percent; metrics.json gives variant A as its score"
    assert lines[1].split() == ["synthia-16", "A", "synthia-16", "B", "synthia-13", "A", "synthia-13", "B"]
    rows = {line[:16].strip(): line[16:].split() for line in lines[2:-1]}
    assert list(rows) == [*SIXTEEN, "mIoU", "pixel accuracy"]
    assert rows["mIoU"] == [f"{100 * variant['miou']:.1f}" for variant in variants.values()]
    assert rows["pixel accuracy"] == [f"{100 * variant['pixel_accuracy']:.1f}" for variant in variants.values()]
    assert rows["road"] == [f"{100 * variant['class_iou']['road']:.1f}" for variant in variants.values()]
    assert rows["wall"] == [f"{100 * variants[name]['class_iou']['wall']:.1f}" for name in ("synthia-16 A", "synthia-16 B")]
    assert rows["motorcycle"] == ["-"] * 4  # no ground truth: neither 0 nor 1
    assert lines[-1].startswith("A: true pixels of terrain, truck, train count") and "; B: they are ignored" in lines[-1]
    assert metrics["miou"] == variants["synthia-13 A"]["miou"] < variants["synthia-13 B"]["miou"]


def test_the_page_counts_every_labelled_pixel_and_names_the_variant(tmp_path: Path) -> None:
    held_out = {"layout": "cityscapes", "root": "data", "protocol": "synthia-16"}
    source = {"layout": "gta5", "root": "unused"}
    config = from_mapping({"recipe": "r", "seed": 0, "size": [64, 64], "synthetic": source, "real": source, "held_out": held_out,
                           "adapter": {"crop": 32}})  # fmt: skip
    score = Score(Stage("round-0"), scores(counts(), protocol=PROTOCOLS["synthia-16"]), {"counts": {"images": 2}})
    said = dict(meaning(Run(Layout(tmp_path), config, 0, (), (score,), {})))["Held out"]
    assert "protocol synthia-16, variant A: 2 images, 45 labelled pixels; the mean is over 5 classes" in said
