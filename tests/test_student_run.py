"""A whole run with a student: its images, and a training that is begun again; settings that do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_run import make, selfsyn_here

from selfsyn.config import load
from selfsyn.errors import InputError
from selfsyn.flow import phases
from selfsyn.stage import round_stage
from selfsyn.task.mixture import ONLINE, PSEUDO, SYNTHETIC
from selfsyn.task.stages import sizes_of

CPU = torch.device("cpu")
VIT = (
    "task.architecture=vit",
    "task.backbone=test_vit",
    "task.weights=scratch",
    "task.input_scale=1.4",
    "student.architecture=fcn",
    "student.backbone=test_efficientnet",
    "student.weights=scratch",
    'rounds.start=["fresh", "fresh"]',
    "rounds.real_share=[0.0, 0.5]",
    "rounds.steps=2",
    "rounds.adapted=false",
    "rounds.ema_pseudo_labels=true",
    "train.steps=2",
    "train.batch=4",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run: a tiny ViT, then its student."""
    root = make(tmp_path_factory.mktemp("student") / "run", *VIT)
    for phase in phases(load(root / "run.toml"), rounds=1):
        code, said = selfsyn_here(phase.verb, "--run", root, *phase.arguments)
        assert code == 0, f"{phase.name}: {said}"
    return root


def test_a_student_has_no_labels_of_its_own_ema(run: Path) -> None:
    config = load(run / "run.toml")
    assert sizes_of(config, stage=round_stage(0)) == {SYNTHETIC: 4, ONLINE: 4}
    assert sizes_of(config, stage=round_stage(1)) == {SYNTHETIC: 2, PSEUDO: 2}
    assert sizes_of(replace(config, student=None), stage=round_stage(1)) == {SYNTHETIC: 2, PSEUDO: 2, ONLINE: 2}


def test_a_students_training_that_is_begun_again_ends_with_the_same_bytes(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage, arguments in (("round-0", ("--round", 0)), ("round-1", ("--round", 1))):
        file = run / stage / "task/weights.safetensors"
        before = file.read_bytes()
        code, said = selfsyn_here("train", "--run", run, *arguments, "--force")
        assert code == 0, said
        assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("rounds.distillation=1.0",), r"rounds.distillation is 1.0, but that key was removed"),
        (("train.layer_decay=0.9",), r"train.layer_decay is for a vit only, but the nets are deeplabv3plus; remove it"),
        (("task.trainable_blocks=4",), r"task.trainable_blocks is for architecture 'vit' only; remove it"),
        (
            ("task.architecture=vit", "task.backbone=test_vit", "task.auxiliary_at_inference=0.0", "rounds.rectify=true"),
            r"rounds.rectify compares two heads, but the vit of \[task\] has one; set task.auxiliary_at_inference above 0",
        ),
        (("task.architecture=vit", "task.trainable_blocks=some"), r"task.trainable_blocks"),
    ],
)
def test_what_does_not_fit_together_is_one_line(settings: tuple[str, ...], message: str, tmp_path: Path) -> None:
    sets = [part for setting in settings for part in ("--set", setting)]
    code, said = selfsyn_here("init", "demo", "--run", tmp_path / "run", *sets)
    assert code == 2 and len(said.strip().splitlines()) == 1, said
    with pytest.raises(InputError, match=message):
        raise InputError(said)
