"""A run with seven classes of somebody's own, from `init` to `serve`: labels in colours for training, in ids for the score."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from official_files import RGB, png
from own_data import SEVEN, recipe, scene, written
from PIL import Image
from serving import PREDICT, server
from tiny_run import selfsyn_here

from export import contract
from export.teacher import Teacher
from selfsyn.config import load
from selfsyn.flow import phases
from selfsyn.pseudo_labels import LabelStore

NAMES = tuple(SEVEN)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder after every phase to round 1."""
    root = tmp_path_factory.mktemp("own")
    path = recipe(root / "mine.toml", written(root / "data", SEVEN), SEVEN)
    assert selfsyn_here("init", path, "--run", root / "run")[0] == 0
    for phase in phases(load(root / "run/run.toml"), rounds=1):
        code, said = selfsyn_here(phase.verb, "--run", root / "run", *phase.arguments)
        assert code == 0, (phase.name, said)
    return root / "run"


def test_teacher_and_manifests_name_the_classes(run: Path) -> None:
    teacher = Teacher(run / "round-1/teacher" / contract.MODEL_FILE, device="cpu")
    assert teacher.metadata.classes == NAMES and teacher.metadata.colours == tuple(SEVEN.values())
    labels, confidences = teacher.predict(np.full((1, 48, 64, 3), 90, np.uint8))
    assert labels.max() < 7 and confidences.min() >= 255 // 7
    for folder in ("source-only/task", "adapted", "round-0/evaluation", "round-1/task"):
        manifest = json.loads((run / folder / "manifest.json").read_text())
        assert manifest["classes"] == list(NAMES) and manifest["configuration"]["classes.names"] == list(NAMES), folder
    assert 'names = ["road", "lane"' in (run / "sealed.toml").read_text()


def test_the_store_counts_their_ids(run: Path) -> None:
    store = LabelStore(run / "round-1/labels", load(run / "run.toml").class_list)
    assert store.counts.shape == (7, 256) and store.counts.sum() == 6 * 64 * 48
    pixels = sum(np.bincount(store.maps(name)[0].ravel(), minlength=7) for name in store.names)
    assert np.array_equal(pixels, store.counts.sum(axis=1))


def test_each_class_is_scored_against_labels_that_hold_ids(run: Path) -> None:
    metrics = json.loads((run / "round-1/evaluation/metrics.json").read_text())
    assert metrics["protocol"] == "every-class" and tuple(metrics["class_iou"]) == NAMES
    rng, pixels = np.random.default_rng(2), np.zeros(8, int)
    for _ in range(3):
        label = scene(rng, 7)
        pixels += np.bincount(label.ravel(), minlength=8)
        rng.normal(0, 8, (*label.shape, 3))  # the noise of the picture
    assert np.array(metrics["confusion"]).sum(axis=1).tolist() == pixels[:7].tolist()
    assert set(metrics["calibration"]["class_ece"]) == set(NAMES)


def test_predictions_for_other_programs_are_train_ids_in_the_colours(run: Path) -> None:
    code, said = selfsyn_here("evaluate", "--run", run, "--round", 0, "--write-predictions", "--device", "cpu")
    assert code == 0, said
    drawn = Image.open(run / "round-0/evaluation/predictions/000.png")
    assert np.asarray(drawn).max() < 7 and drawn.getpalette("RGB")[:6] == [128, 64, 128, 255, 255, 255]  # type: ignore[index]


def test_the_report_has_their_legend(run: Path) -> None:
    code, said = selfsyn_here("report", "--run", run)
    assert code == 0, said
    page = (run / "report/index.html").read_text()
    assert all(name in page for name in NAMES) and "vegetation" not in page and "7: road, lane, parking" in page
    assert "rgb(255 255 255)" in page


def test_the_service_answers_in_them(run: Path, tmp_path: Path) -> None:
    assert selfsyn_here("publish", "--run", run, "--round", 1, "--to", tmp_path / "models")[0] == 0
    with server(tmp_path / "models") as running:
        described = running.get("/v2/models/segmenter").json()["parameters"]
        assert described["classes"] == list(NAMES) and described["colours"] == list(SEVEN.values())
        picture = png(np.random.default_rng(0).integers(0, 256, (48, 64, 3)), colour=RGB)
        answer = running.post(f"{PREDICT}?view=json", picture).json()
        assert {row["name"] for row in answer["classes"]} <= set(NAMES)
        assert all(row["colour"] == SEVEN[row["name"]] for row in answer["classes"])
        label = Image.open(io.BytesIO(running.post(f"{PREDICT}?view=label", picture).body))
        assert label.size == (64, 48) and np.asarray(label).max() < 7
        assert "19 classes" not in running.get("/").body.decode()
