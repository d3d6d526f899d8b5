"""Our scores and prediction files against cityscapesScripts, the official evaluation of Cityscapes."""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official
from cityscapesscripts.helpers.labels import id2label, name2label
from onnx import helper
from PIL import Image
from tiny_run import selfsyn_here
from tiny_teacher import SIZE, model_of, tiny_onnx, write_teacher

from selfsyn.data.frames import dataset
from selfsyn.errors import InputError
from selfsyn.images import encode_png, read_ids, read_image, to_train_ids
from selfsyn.labels import CLASS_COUNT, CLASSES, IGNORE, LABEL_ID_OF_TRAIN_ID, TRAIN_ID_OF_CAMVID_ID
from selfsyn.world import render

CAMVID = Path(__file__).parents[2] / "shared/data/camvid/val"
EVALUATION = Path("round-0/evaluation")
TOLERANCE = 1e-12
RUN = f"""
recipe = "test"
seed = 0
size = {list(SIZE)}
synthetic = {{ layout = "gta5", root = "unused" }}
real = {{ layout = "cityscapes", root = "data" }}
held_out = {{ layout = "cityscapes", root = "data", split = "val", protocol = "cityscapes-19" }}
adapter = {{ crop = 32 }}
"""

Image8 = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with a finished teacher that reads classes off its images, one training image, and no held-out frames yet."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    (tmp_path / "run.toml").write_text(RUN)
    write_teacher(tmp_path / "round-0" / "teacher", reader_onnx())
    write_frame(tmp_path, "ulm_000000_000000", image=np.zeros((8, 8, 3), np.uint8), split="train")
    return tmp_path


def reader_onnx() -> bytes:
    """A teacher whose answer is the brightest channel: a grey picture of train ids is what it predicts."""
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["label"], axes=[3], keepdims=0),
        helper.make_node("Max", ["label", "sure"], ["confidence"]),
    ]
    return model_of(nodes, {"sure": np.array(200, np.uint8)})


def guessed(label: Image8, *, seed: int) -> Image8:
    """Train ids -> a picture of them with blocks of wrong classes and some noise, for the teacher to read."""
    draw = np.random.default_rng(seed)
    guess = np.where(label == IGNORE, 0, label)
    for _ in range(12):
        top, left = draw.integers(label.shape[0]), draw.integers(label.shape[1])
        guess[top : top + label.shape[0] // 4, left : left + label.shape[1] // 4] = draw.integers(CLASS_COUNT)
    guess = np.where(draw.random(label.shape) < 0.05, draw.integers(0, CLASS_COUNT, label.shape), guess)
    return np.repeat(guess.astype(np.uint8)[..., None], 3, axis=-1)


def write_frame(run: Path, name: str, *, image: Image8, ids: Image8 | None = None, split: str = "val") -> None:
    """One frame in Cityscapes' layout, with its label ids if it has any."""
    for folder, ending, array in (("leftImg8bit", "leftImg8bit", image), ("gtFine", "gtFine_labelIds", ids)):
        if array is not None:
            path = run / "data" / folder / split / name.split("_")[0] / f"{name}_{ending}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(array))


def write_random(run: Path, *, frames: int = 3, size: tuple[int, int] = (83, 61)) -> None:
    """Frames of noise, not of the teacher's size; the labels hold every id of Cityscapes, ignored ones too."""
    draw = np.random.default_rng(0)
    for number in range(frames):
        image = draw.integers(0, CLASS_COUNT, (size[1], size[0], 3), dtype=np.uint8)
        ids = draw.integers(0, 34, (size[1], size[0]), dtype=np.uint8)
        write_frame(run, f"bonn_{number:06d}_000019", image=image, ids=ids)


def evaluate(run: Path, *arguments: object) -> dict[str, Any]:
    """`selfsyn evaluate --write-predictions` -> metrics.json."""
    verb = ("evaluate", "--run", run, "--round", 0, "--device", "cpu", "--workers", 0)
    code, said = selfsyn_here(*verb, "--write-predictions", *arguments)
    assert code == 0, said
    metrics: dict[str, Any] = json.loads((run / EVALUATION / "metrics.json").read_text())
    return metrics


def officially(run: Path) -> dict[str, Any]:
    """The official evaluation of the files that `evaluate` wrote, which it finds by their names."""
    changes = {"quiet": True, "JSONOutput": False, "evalInstLevelScore": False}
    changes |= {"predictionPath": str(run / EVALUATION / "predictions"), "predictionWalk": None}
    args = argparse.Namespace(**(vars(official.args) | changes))
    truths = sorted(map(str, (run / "data/gtFine/val").rglob("*_gtFine_labelIds.png")))
    result: dict[str, Any] = official.evaluateImgLists([official.getPrediction(args, path) for path in truths], truths, args)
    return result


def assert_equal(metrics: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Class IoU, mIoU and pixel accuracy agree to 1e-12; a class without ground truth has no score of ours."""
    counts = np.array(theirs["confMatrix"], dtype=np.int64)
    ids = [name2label[name].id for name in CLASSES]
    assert metrics["confusion_19"] == counts[np.ix_(ids, ids)].tolist()
    present = [name for name, label_id in zip(CLASSES, ids, strict=True) if counts[label_id].any()]
    assert [name for name in CLASSES if metrics["class_iou"][name] is not None] == present
    for name in present:
        assert abs(metrics["class_iou"][name] - theirs["classScores"][name]) < TOLERANCE
    scored = [theirs["classScores"][name] for name in present]
    assert abs(metrics["miou"] - sum(scored) / len(scored)) < TOLERANCE
    counted = [label_id for label_id in range(len(counts)) if not id2label[label_id].ignoreInEval]
    assert counted == ids
    assert abs(metrics["pixel_accuracy"] - counts[counted, counted].sum() / counts[counted].sum()) < TOLERANCE


def test_random_maps_score_as_officially(run: Path) -> None:
    write_random(run)
    metrics, theirs = evaluate(run), officially(run)
    assert_equal(metrics, theirs)
    assert abs(metrics["miou"] - theirs["averageScoreClasses"]) < TOLERANCE


@pytest.mark.parametrize("size", [SIZE, (81, 55)], ids=["the teacher's size", "another size"])
def test_maps_of_the_street_world_score_as_officially(run: Path, size: tuple[int, int]) -> None:
    for index in (0, 1, 14):  # with every class between them
        label = render("camera", seed=1, index=index, size=size)[1]
        write_frame(run, f"world_000001_{index:06d}", image=guessed(label, seed=index), ids=LABEL_ID_OF_TRAIN_ID[label])
    metrics, theirs = evaluate(run), officially(run)
    assert_equal(metrics, theirs)
    assert abs(metrics["miou"] - theirs["averageScoreClasses"]) < TOLERANCE
    assert len({iou for iou in metrics["class_iou"].values() if 0 < iou < 1}) > 15 and 0.1 < metrics["miou"] < 0.9


@pytest.mark.skipif(not CAMVID.is_dir(), reason=f"{CAMVID}: no CamVid photos and labels here")
@pytest.mark.parametrize("reads", ["photo", "label"])
def test_real_camvid_labels_score_as_officially(run: Path, reads: str) -> None:
    """A teacher of photos, whose answers are poor, and one that is shown most of the label."""
    if reads == "photo":
        write_teacher(run / "round-0" / "teacher", tiny_onnx())
    for number, path in enumerate(sorted((CAMVID / "labels").glob("*.png"))[::20]):
        label = TRAIN_ID_OF_CAMVID_ID[read_ids(path)]
        photo = read_image(CAMVID / "images" / f"{path.stem}.jpg")
        image = photo if reads == "photo" else guessed(label, seed=number)
        write_frame(run, f"camvid_{number:06d}_000000", image=image, ids=LABEL_ID_OF_TRAIN_ID[label])
    metrics, theirs = evaluate(run), officially(run)
    assert_equal(metrics, theirs)
    assert metrics["class_iou"]["terrain"] is metrics["class_iou"]["train"] is None


def test_a_class_without_ground_truth_is_where_the_official_average_differs(run: Path) -> None:
    """Officially it is nan if nobody predicts it and 0, in the average, if somebody does; ours is absent either way."""
    label = np.full(SIZE[::-1], CLASSES.index("road"), np.uint8)
    image = np.zeros((*label.shape, 3), np.uint8)
    image[:9] = CLASSES.index("sidewalk")  # nine of 48 rows
    write_frame(run, "bonn_000000_000019", image=image, ids=LABEL_ID_OF_TRAIN_ID[label])
    metrics, theirs = evaluate(run), officially(run)
    assert_equal(metrics, theirs)
    assert theirs["classScores"]["sidewalk"] == 0.0 and math.isnan(theirs["classScores"]["building"])
    assert metrics["class_iou"]["sidewalk"] is metrics["class_iou"]["building"] is None
    assert (metrics["miou"], theirs["averageScoreClasses"]) == (39 / 48, 39 / 48 / 2)


def test_predictions_are_grey_label_ids_at_the_labels_size(run: Path) -> None:
    write_random(run, frames=2)
    evaluate(run)
    files = sorted((run / EVALUATION / "predictions").iterdir())
    assert [path.name for path in files] == ["bonn_000000_000019.png", "bonn_000001_000019.png"]
    for path in files:
        assert Image.open(path).mode == "L" and Image.open(path).size == (83, 61)
        assert set(np.unique(read_ids(path)).tolist()) <= {name2label[name].id for name in CLASSES}
    manifest = json.loads((run / EVALUATION / "manifest.json").read_text())
    assert manifest["counts"]["predictions"] == 2 and list(manifest["outputs"]) == ["metrics.json", "frames.json"]


def test_a_finished_evaluation_without_predictions_writes_them_when_asked(run: Path) -> None:
    write_random(run, frames=2)
    assert selfsyn_here("evaluate", "--run", run, "--round", 0, "--device", "cpu")[0] == 0
    folder = run / EVALUATION
    before, manifest = (folder / "metrics.json").read_bytes(), json.loads((folder / "manifest.json").read_text())
    assert not (folder / "predictions").exists() and "predictions" not in manifest["counts"]
    evaluate(run)
    assert len(list((folder / "predictions").iterdir())) == 2
    assert (folder / "metrics.json").read_bytes() == before
    assert json.loads((folder / "manifest.json").read_text())["digest"] == manifest["digest"]  # so the report stays current


def test_help_names_the_option(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert selfsyn_here("evaluate", "--help")[0] == 0
    assert "--write-predictions" in capsys.readouterr().out


def test_predictions_that_are_there_are_not_written_again(run: Path) -> None:
    write_random(run, frames=2)
    evaluate(run)
    times = {path: path.stat().st_mtime_ns for path in (run / EVALUATION).rglob("*.*")}
    for more in ([], ["--write-predictions"]):
        code, said = selfsyn_here("evaluate", "--run", run, "--round", 0, *more)
        assert code == 0 and "already done" in said
    assert {path: path.stat().st_mtime_ns for path in (run / EVALUATION).rglob("*.*")} == times


def test_other_held_out_frames_are_refused_even_when_predictions_are_asked_for(run: Path) -> None:
    write_random(run, frames=2)
    assert selfsyn_here("evaluate", "--run", run, "--round", 0, "--device", "cpu")[0] == 0
    write_random(run, frames=3)
    code, said = selfsyn_here("evaluate", "--run", run, "--round", 0, "--device", "cpu", "--write-predictions")
    assert code == 2 and "held_out changed" in said
    assert (run / EVALUATION / "manifest.json").exists()


def test_an_id_that_cityscapes_does_not_define_is_named(run: Path) -> None:
    write_frame(run, "bonn_000000_000019", image=np.zeros((9, 9, 3), np.uint8), ids=np.full((9, 9), 77, np.uint8))
    code, said = selfsyn_here("evaluate", "--run", run, "--round", 0, "--device", "cpu", "--workers", 0)
    assert code == 2 and "bonn_000000_000019_gtFine_labelIds.png: label id 77" in said


def test_predictions_are_written_where_torch_is_not_installed(run: Path) -> None:
    write_random(run, frames=1)
    code = "import sys; sys.modules['torch'] = None; from jobs.__main__ import main; main()"
    verb = ["evaluate", "--run", str(run), "--round", "0", "--device", "cpu", "--write-predictions"]
    shown = subprocess.run([sys.executable, "-c", code, *verb], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert shown.returncode == 0, shown.stderr
    assert len(list((run / EVALUATION / "predictions").iterdir())) == 1


OFFICIAL_KITTI = Path(__file__).parents[2] / "shared/data/official/kitti/data_semantics/training"


@pytest.mark.skipif(not OFFICIAL_KITTI.is_dir(), reason=f"no {OFFICIAL_KITTI}: label files of KITTI's makers")
@pytest.mark.parametrize("number", range(5))
def test_kittis_own_labels_have_the_classes_of_the_official_table(number: int) -> None:
    path = OFFICIAL_KITTI / f"semantic/{number:06d}_10.png"
    ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    official_ids, counts = np.unique([id2label[int(k)].trainId for k in ids.ravel()], return_counts=True)
    kind = dataset("kitti")
    ours = to_train_ids(kind.read(path), table=kind.table, known=kind.known, path=path)
    expected: Counter[int] = Counter()
    for train_id, count in zip(official_ids, counts, strict=True):
        expected[IGNORE if train_id in (255, -1) else int(train_id)] += int(count)
    assert dict(zip(*(part.tolist() for part in np.unique(ours, return_counts=True)), strict=True)) == dict(expected)


@pytest.mark.skipif(not OFFICIAL_KITTI.is_dir(), reason=f"no {OFFICIAL_KITTI}: label files of KITTI's makers")
def test_kittis_instance_files_are_no_labels() -> None:
    with pytest.raises(InputError, match="instance/000000_10.png: a label of 16 bits; expected grey or palette ids"):
        read_ids(OFFICIAL_KITTI / "instance/000000_10.png")
