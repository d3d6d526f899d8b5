"""Teachers that label, moved to the class shares of the labels: the factors by hand, and which teacher gets them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from official_files import gta5_frame
from safetensors.torch import save_file
from test_export import SIZE, TASK, TinyNet, pictures

import selfsyn.task
from export import prior
from export.prior import mean_probabilities, moved
from export.teacher import load
from export.to_onnx import Segmenter
from jobs.__main__ import main
from selfsyn.errors import InputError
from selfsyn.images import encode_png
from selfsyn.labels import CLASS_COUNT

torch.set_num_threads(1)


def shares(**of: float) -> NDArray[np.float64]:
    """(19,): of the classes c0, c1, ..."""
    found = np.zeros(CLASS_COUNT)
    for name, share in of.items():
        found[int(name[1:])] = share
    return found


def test_factors_by_hand() -> None:
    wanted, found = shares(c0=0.8, c1=0.2, c3=0.0), shares(c0=0.9, c1=0.05, c3=0.05)
    added = moved(wanted, found, strength=1.0)
    assert np.exp(added[:2]) == pytest.approx([0.8 / 0.9, 4.0])
    assert added[3] == 0  # a class that no label shows
    assert np.exp(moved(wanted, found, strength=0.5)[1]) == pytest.approx(2.0)
    assert not moved(wanted, found, strength=0.0).any()


def test_no_factor_is_larger_than_ten_or_smaller_than_a_tenth() -> None:
    added = moved(shares(c0=0.5, c1=0.001), shares(c0=0.0, c1=0.9), strength=1.0)
    assert np.exp(added[:2]) == pytest.approx([10.0, 0.1], rel=1e-5)


def test_a_moved_segmenter_multiplies_probabilities() -> None:
    net, image = TinyNet(), torch.from_numpy(pictures(1, 24, 32))
    added = np.linspace(-1, 1, CLASS_COUNT, dtype=np.float32)
    plain = Segmenter(net, task=TASK).scores(image).softmax(dim=1)
    weighted = plain * torch.exp(torch.tensor(added))[None, :, None, None]
    found = Segmenter(net, task=TASK, added=added).scores(image).softmax(dim=1)
    assert torch.allclose(found, weighted / weighted.sum(dim=1, keepdim=True), atol=1e-5)


def test_mean_probabilities_are_those_of_all_readable_images(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    seen = np.random.default_rng(1).integers(0, 256, (3, SIZE[1], SIZE[0], 3), dtype=np.uint8)
    for path, picture in zip(paths, seen, strict=True):
        path.write_bytes(encode_png(picture))
    segmenter = Segmenter(TinyNet(), task=TASK).eval()
    wanted = segmenter.scores(torch.from_numpy(seen)).softmax(dim=1).mean(dim=(0, 2, 3))
    assert mean_probabilities(segmenter, paths, size=SIZE) == pytest.approx(wanted.detach().numpy(), abs=1e-5)
    paths[1].write_bytes(b"no picture")
    wanted = segmenter.scores(torch.from_numpy(seen[[0, 2]])).softmax(dim=1).mean(dim=(0, 2, 3))
    assert mean_probabilities(segmenter, paths, size=SIZE) == pytest.approx(wanted.detach().numpy(), abs=1e-5)
    for path in paths:
        path.write_bytes(b"no picture")
    with pytest.raises(InputError, match="2.png"):
        mean_probabilities(segmenter, paths, size=SIZE)


@pytest.mark.parametrize(("stages", "moves"), [("[0.0, 0.5]", True), ("[0.0]", False)])
def test_a_teacher_that_labels_is_moved_and_the_last_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: str, moves: bool
) -> None:
    monkeypatch.setattr(selfsyn.task, "build", lambda task, *, pretrained: TinyNet())
    (tmp_path / "run.toml").write_text(
        f'recipe = "test"\nseed = 0\nsize = {list(SIZE)}\nsynthetic = {{ layout = "gta5", root = "gta" }}\n'
        'real = { layout = "camvid", root = "data" }\nadapter = { crop = 32 }\ntask = { architecture = "fcn" }\n'
        f"teacher = {{ prior = 1.0 }}\nrounds = {{ real_share = {stages} }}\n"
    )
    for number in range(4):
        path = tmp_path / f"data/train/images/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(pictures(50, 70)))
        gta5_frame(tmp_path / "gta", number + 1, np.full((48, 64), 7), rng=np.random.default_rng(number))  # road alone
    task = tmp_path / "round-0/task"
    task.mkdir(parents=True)
    save_file(TinyNet().state_dict(), task / "weights.safetensors")
    (task / "manifest.json").write_text(json.dumps({"digest": "sha256:1"}))
    monkeypatch.setattr(prior, "mean_probabilities", lambda *_, **__: np.full(CLASS_COUNT, 1 / CLASS_COUNT))
    monkeypatch.setattr(sys, "argv", ["selfsyn", "export-teacher", "--run", str(tmp_path), "--round", "0"])
    main()
    inputs = json.loads((tmp_path / "round-0/teacher/manifest.json").read_text())["inputs"]
    assert ("synthetic" in inputs) == moves  # other labels make another teacher
    image = pictures(48, 64)
    added = np.r_[np.log(10), np.zeros(CLASS_COUNT - 1)].astype(np.float32) if moves else None  # 19 times as often: ten
    wanted, _ = Segmenter(TinyNet(), task=TASK, added=added).eval()(torch.from_numpy(image)[None])
    label, _ = load(tmp_path / "round-0/teacher", device="cpu").predict(image[None])
    assert np.mean(label == wanted.numpy()) > 0.999
