"""probe-gap through the command line: the same labels and net, images before and after, and the two scores told apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from official_files import gta5_frame
from safetensors.torch import save_file
from tiny_run import make, selfsyn_here
from tiny_teacher import constant_onnx, tiny_onnx, write_teacher

from export.teacher import Teacher
from selfsyn import config as configuration
from selfsyn.adapter.ablation import ABLATIONS, without
from selfsyn.files import digest_bytes, write_json
from selfsyn.images import encode_label_png, encode_png, read_ids, read_image
from selfsyn.labels import PROTOCOLS
from selfsyn.metrics import confusion, scores
from selfsyn.task import build

SIZE = (64, 48)
NO_WORLD = ("world.engine=0", "world.camera=0", "world.held_out=0")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Four synthetic frames, their adapted images with other pixels, and an oracle that is a tiny random net."""
    rng = np.random.default_rng(0)
    for number in range(1, 5):
        gta5_frame(tmp_path / "gta", number, np.full((48, 64), 7), rng=rng, shape=(48, 64))
    run = make(tmp_path / "run", f"synthetic.root={tmp_path}/gta", "real.root=none", "held_out.root=none", *NO_WORLD)
    for folder in ("images", "labels"):
        (run / "adapted" / folder).mkdir(parents=True)
    for number in range(1, 5):
        image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        label = rng.integers(0, 19, (48, 64), dtype=np.uint8)
        (run / f"adapted/images/{number:05d}.png").write_bytes(encode_png(image))
        (run / f"adapted/labels/{number:05d}.png").write_bytes(encode_label_png(label))
    write_json(run / "adapted/manifest.json", {"digest": digest_bytes(b"adapted"), "inputs": {}, "outputs": {}})
    write_teacher(run / "oracle/teacher", tiny_onnx())
    return run


def probe(run: Path, *options: str) -> tuple[int, str]:
    return selfsyn_here("probe-gap", "--run", run, "--device", "cpu", *options)


def test_both_scores_are_of_the_adapted_labels(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = probe(run)
    assert code == 0, said
    table = capsys.readouterr().out
    found = json.loads((run / "probe-gap/metrics.json").read_text())
    teacher = Teacher(tiny_onnx(), device="cpu")
    for name, images in (("synthetic", tmp_path / "gta/images"), ("adapted", run / "adapted/images")):
        counts = np.zeros((19, 19), np.int64)
        for number in range(1, 5):
            label = read_ids(run / f"adapted/labels/{number:05d}.png")
            answer = teacher.predict(read_image(images / f"{number:05d}.png")[None])[0][0]
            counts += confusion(label, answer, classes=19)
        assert found[name] == scores(counts, protocol=PROTOCOLS["cityscapes-19"])
    assert found["synthetic"]["miou"] != found["adapted"]["miou"]
    (row,) = [line for line in table.splitlines() if line.startswith("mIoU")]
    was, now = (100 * found[name]["miou"] for name in ("synthetic", "adapted"))
    assert row.split() == ["mIoU", f"{was:.1f}", f"{now:.1f}", f"{now - was:+.1f}"]
    manifest = json.loads((run / "probe-gap/manifest.json").read_text())
    assert manifest["counts"]["adapted_miou"] == found["adapted"]["miou"] and manifest["counts"]["images"] == 4
    assert set(manifest["inputs"]) == {"adapted", "oracle/teacher", "synthetic"}


def test_again_is_nothing_to_do(run: Path) -> None:
    assert probe(run)[0] == 0
    code, said = probe(run)
    assert code == 0 and "already done" in said


def test_without_an_oracle_it_waits(run: Path) -> None:
    (run / "oracle/teacher/manifest.json").unlink()
    code, said = probe(run)
    assert code == 3 and "oracle/teacher" in said and not (run / "probe-gap").exists()


def test_an_adapted_image_that_is_missing_is_named(run: Path) -> None:
    (run / "adapted/images/00003.png").unlink()
    code, said = probe(run)
    assert code == 2 and "no adapted image of 00003" in said


def test_another_oracle_is_refused_without_force(run: Path) -> None:
    assert probe(run)[0] == 0
    write_teacher(run / "oracle/teacher", constant_onnx(label=0, confidence=255))
    code, said = probe(run)
    assert code == 2 and "oracle/teacher" in said and "--force" in said
    assert probe(run, "--force")[0] == 0
    assert json.loads((run / "probe-gap/metrics.json").read_text())["synthetic"]["class_iou"]["car"] == 0


def test_ablations_are_fitted_adapted_and_scored_in_one_table(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    town = tmp_path / "city/leftImg8bit/train/town"
    town.mkdir(parents=True)
    for number in range(3):
        image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        (town / f"town_{number}_leftImg8bit.png").write_bytes(encode_png(image))
    text = (run / "run.toml").read_text().replace('root = "none"', f'root = "{tmp_path}/city"', 1)
    (run / "run.toml").write_text(text)
    config = configuration.load(run / "run.toml")
    assert config.real[0].root == f"{tmp_path}/city"
    (run / "source-only/task").mkdir(parents=True)
    save_file(build(config.task, pretrained=False).state_dict(), run / "source-only/task/weights.safetensors")
    write_json(run / "source-only/task/manifest.json", {"digest": digest_bytes(b"task"), "inputs": {}, "outputs": {}})
    assert probe(run)[0] == 0
    plain = json.loads((run / "probe-gap/metrics.json").read_text())
    capsys.readouterr()
    code, said = probe(run, "--ablate")
    assert code == 0, said
    table = capsys.readouterr().out
    found = json.loads((run / "ablation/metrics.json").read_text())
    assert list(found) == ["synthetic", "adapted", "without-semantic", "without-identity", "without-cycle"]
    assert [found[name] for name in plain] == list(plain.values())
    (header,) = [line for line in table.splitlines() if "semantic" in line]
    assert header.split() == ["synthetic", "adapted", "semantic", "identity", "cycle"]
    (row,) = [line for line in table.splitlines() if line.startswith("mIoU")]
    assert len(row.split()) == 1 + 1 + 2 * 4
    fits = {name: (run / "ablation" / name / "adapter/weights.safetensors").read_bytes() for name in list(found)[2:]}
    assert len(set(fits.values())) == 3, "each lacks another loss"
    assert "agreement_adapted" in found["without-cycle"]
    assert "already done" in probe(run, "--ablate")[1]


@pytest.mark.parametrize("loss", ABLATIONS)
def test_without_a_loss_only_its_weight_changes(run: Path, loss: str) -> None:
    config = configuration.load(run / "run.toml")
    (change,) = configuration.difference(config, without(config, loss=loss))
    assert change.startswith(f"adapter.{loss}:") and getattr(without(config, loss=loss).adapter, loss) < 1e-8
