"""A student that imitates a frozen net: the loss, the images, the phases, and the states of a training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_run import make, selfsyn_here
from tiny_training import TinyNet, tiny_config, tiny_mixture

from selfsyn.config import RunConfig, Student, Task, load
from selfsyn.errors import InputError
from selfsyn.flow import phases, train_phase
from selfsyn.layout import Layout
from selfsyn.stage import SOURCE_ONLY, round_stage
from selfsyn.task.distillation import Tutor, distillation_loss
from selfsyn.task.mixture import BARE, MASKED, ONLINE, PSEUDO, SYNTHETIC
from selfsyn.task.schedule import Schedule
from selfsyn.task.stages import sizes_of, tutor_net
from selfsyn.task.train import new_state, train_step

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
    "rounds.distillation=0.5",
    "train.steps=2",
    "train.batch=4",
)


def test_the_loss_by_hand() -> None:
    taught = {"a": torch.tensor([0.5, 0.25, 0.25]).log().view(1, 3, 1, 1).expand(1, 3, 1, 3)}
    logits = {"a": torch.tensor([0.25, 0.25, 0.5]).log().view(1, 3, 1, 1).expand(1, 3, 1, 3) + 7, "b": torch.zeros(1, 3, 1, 1)}
    wanted = 0.5 * np.log(2) + 0.25 * np.log(0.5)
    assert float(distillation_loss(logits, taught)) == pytest.approx(wanted, rel=1e-5)
    assert float(distillation_loss({"a": taught["a"]}, taught)) == pytest.approx(0, abs=1e-6)


def test_the_frozen_net_sees_every_image_as_the_student_does_and_stays_as_it_is() -> None:
    config = tiny_config(real_share=(0.0, 0.5), start=("fresh", "fresh"), mask_ratio=0.5, ema_pseudo_labels=True)
    config = replace_distillation(replace(config, student=Student(architecture="fcn")), 0.5)
    batch = tiny_mixture(config).read_batch(0)
    frozen = TinyNet().requires_grad_(False)
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    tutor = Tutor(frozen, Task(mean=(0.5, 0.4, 0.3), auxiliary_at_inference=0.0), half=False)
    answers = tutor.answers(batch, device=CPU)
    assert set(answers) == set(batch.parts) - {MASKED, BARE} and {SYNTHETIC, PSEUDO, ONLINE} <= set(answers)
    image = batch.parts[PSEUDO]["image"].permute(0, 3, 1, 2).float() / 255
    shifted = (image - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    torch.testing.assert_close(answers[PSEUDO], frozen.eval()(shifted).main.log_softmax(1), rtol=0, atol=1e-5)
    state = new_state(TinyNet(), config=config.train, schedule=Schedule(4, 1e-2, 1), weights_K=torch.ones(19), device=CPU)
    state.tutor = tutor
    terms = train_step(state, batch, config)
    weights = {"loss_synthetic": 2 / 6, "loss_pseudo": 2 / 6, "loss_masked": 2 / 6, "loss_online": 2 / 6, "loss_distilled": 0.5}
    assert terms["loss"] == pytest.approx(sum(weight * terms[name] for name, weight in weights.items()), rel=1e-4)
    assert terms["loss_distilled"] > 0
    assert all(torch.equal(before[name], value) for name, value in frozen.state_dict().items())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run: a tiny ViT, then its student, which imitates it."""
    root = make(tmp_path_factory.mktemp("distilled") / "run", *VIT)
    for phase in phases(load(root / "run.toml"), rounds=1):
        code, said = selfsyn_here(phase.verb, "--run", root, *phase.arguments)
        assert code == 0, f"{phase.name}: {said}"
    return root


def test_the_students_training_needs_and_reads_the_net_that_it_imitates(run: Path) -> None:
    config = load(run / "run.toml")
    assert "round-0/task" in train_phase(config, stage=round_stage(1)).needs
    assert "round-0/task" not in train_phase(replace_distillation(config, 0.0), stage=round_stage(1)).needs
    made = tutor_net(Layout(run), config, stage=round_stage(1))
    assert made is not None and made[1] == config.task
    stored = load_file(run / "round-0/task/weights.safetensors")
    assert all(torch.equal(stored[name], value) for name, value in made[0].state_dict().items())
    assert tutor_net(Layout(run), config, stage=round_stage(0)) is None
    history = (run / "round-1/task/history.jsonl").read_text()
    assert "loss_distilled" in history and "loss_distilled" not in (run / "round-0/task/history.jsonl").read_text()


def replace_distillation(config: RunConfig, value: float) -> RunConfig:
    return replace(config, rounds=replace(config.rounds, distillation=value))


def test_a_student_that_imitates_has_no_labels_of_its_own_ema(run: Path) -> None:
    config = load(run / "run.toml")
    assert sizes_of(config, stage=round_stage(0)) == {SYNTHETIC: 4, ONLINE: 4}
    assert sizes_of(config, stage=round_stage(1)) == {SYNTHETIC: 2, PSEUDO: 2}
    assert sizes_of(replace_distillation(config, 0.0), stage=round_stage(1)) == {SYNTHETIC: 2, PSEUDO: 2, ONLINE: 2}


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
        (("rounds.distillation=1.0", "student="), r"rounds.distillation is set, but there is no \[student\]"),
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


def test_a_bound_imitates_nobody(run: Path) -> None:
    assert load(run / "run.toml").tutor_of(SOURCE_ONLY) is None
