"""The teacher as an auto-annotation function of CVAT; with cvat-sdk installed, also through its own driver."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_teacher import SIZE, tiny_onnx

from export.cvat import polygons, segments
from export.teacher import Teacher
from selfsyn.labels import CLASSES


def test_segments_hold_the_sure_pixels_of_each_class() -> None:
    label = np.array([[3, 3, 7], [7, 7, 5]], np.uint8)
    confidence = np.array([[255, 100, 204], [203, 255, 10]], np.uint8)
    found = {train_id: (pixels.tolist(), score) for train_id, pixels, score in segments(label, confidence, threshold=0.8)}
    assert found == {
        3: ([[True, False, False], [False, False, False]], 1.0),
        7: ([[False, False, True], [False, True, False]], 0.9),
    }
    assert [train_id for train_id, *_ in segments(label, confidence, threshold=0.0)] == [3, 5, 7]


def test_polygons_cover_the_mask() -> None:
    mask = np.zeros((60, 80), np.uint8)
    cv2.rectangle(mask, (5, 5), (20, 30), 1, -1)
    cv2.circle(mask, (55, 30), 15, 1, -1)
    drawn = np.zeros_like(mask)
    shapes = list(polygons(mask > 0))
    assert len(shapes) == 2
    for points in shapes:
        cv2.fillPoly(drawn, [np.array(points).reshape(-1, 2).round().astype(np.int32)], 1)
    assert (drawn != mask).sum() < 0.03 * mask.sum()


@pytest.mark.parametrize("threshold", [None, 0.06])
@pytest.mark.parametrize("as_polygons", [False, True])
def test_the_driver_of_cvat_runs_it(tmp_path: Path, threshold: float | None, as_polygons: bool, monkeypatch) -> None:
    driver = pytest.importorskip("cvat_sdk.auto_annotation.driver", reason="the package cvat-sdk is not installed")
    from cvat_sdk import models
    from cvat_sdk.masks import decode_mask

    from export import cvat

    (tmp_path / "model.onnx").write_bytes(tiny_onnx())
    function = cvat.create(str(tmp_path / "model.onnx"), device="cpu")
    picture = np.random.default_rng(0).integers(0, 256, (2 * SIZE[1], 2 * SIZE[0], 3), dtype=np.uint8)
    labels = [
        SimpleNamespace(name=name, id=100 + number, sublabels=[], attributes=[], type="any")
        for number, name in enumerate(CLASSES)
    ]
    media = SimpleNamespace(load_image=lambda: Image.fromarray(picture))
    sample = SimpleNamespace(frame_index=7, frame_name="a.png", media=media)
    monkeypatch.setattr(driver, "TaskDataset", lambda *_, **__: SimpleNamespace(labels=labels, samples=[sample]))
    sent = []
    api = SimpleNamespace(update_annotations=lambda task, labeled_data_request: sent.append(labeled_data_request))
    client = SimpleNamespace(logger=SimpleNamespace(info=print, warning=print), tasks=SimpleNamespace(api=api))
    driver.annotate_task(client, 1, function, clear_existing=True, conf_threshold=threshold, conv_mask_to_poly=as_polygons)
    (request,) = sent
    assert {shape.frame for shape in request.shapes} == {7} and all(
        isinstance(s, models.LabeledShapeRequest) for s in request.shapes
    )
    if as_polygons:
        assert {str(shape.type) for shape in request.shapes} == {"polygon"}
        return
    label, confidence = function._maps(picture)
    expected = np.where(confidence >= 255 * (threshold or 0), label, 255)
    found = np.full(label.shape, 255)
    for shape in request.shapes:
        mask = decode_mask(shape.points, image_width=label.shape[1], image_height=label.shape[0])
        found[mask] = shape.label_id - 100
        assert shape.score == pytest.approx(confidence[mask].mean() / 255, abs=1e-4)
    assert np.array_equal(found, expected) and Teacher(tiny_onnx(), device="cpu").digest == function.teacher.digest
