"""A larger net teaches a smaller one: the last round's net is [student], wherever it is built, trained, exported and scored."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_config import values
from tiny_run import make, selfsyn_here

from export.teacher import load as load_teacher
from selfsyn import config as configuration
from selfsyn.compare.board import differences
from selfsyn.compare.budget import budget
from selfsyn.compare.levers import LEVERS
from selfsyn.compare.plan import Entry, chosen, entries, entry
from selfsyn.compare.results import Line, Result
from selfsyn.compare.rows import ROWS, ablations
from selfsyn.compare.sharing import fingerprints
from selfsyn.config import RunConfig, Student, Task, from_mapping, load, to_toml
from selfsyn.data.mixing import Mix
from selfsyn.errors import InputError
from selfsyn.flow import phases
from selfsyn.layout import Layout
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage, round_stage
from selfsyn.task import build, stages
from selfsyn.task.makers import ExampleSource, Masked
from selfsyn.task.stages import Sources, check_student, first_net, mixture_of

ROUNDS = {"real_share": [0.0, 0.25, 0.5], "start": ["warm", "warm", "fresh"]}
STUDENT = (
    "rounds.real_share=[0.0, 0.5, 0.5]",
    'rounds.start=["warm", "warm", "fresh"]',
    "student.architecture=fcn",
    "student.backbone=test_efficientnet",
    "student.weights=scratch",
    "student.mean=[0.4, 0.3, 0.2]",
    "student.auxiliary_at_inference=0.25",
)


def with_student(**student: object) -> RunConfig:
    return from_mapping(values(rounds=ROUNDS, task={"backbone": "resnet101", "std": [0.5, 0.5, 0.5]}, student=student))


def test_what_a_student_does_not_say_is_as_in_task_and_survives_the_disk(tmp_path: Path) -> None:
    config = with_student(decoder_channels=48)
    assert config.student == Student(backbone="resnet101", std=(0.5, 0.5, 0.5), decoder_channels=48)
    (tmp_path / "run.toml").write_text(to_toml(config))
    assert load(tmp_path / "run.toml") == config
    assert "student.decoder_channels: 48 -> 64" in configuration.difference(config, with_student(decoder_channels=64))


def test_without_a_student_run_toml_says_nothing_of_one_and_every_stage_has_the_net() -> None:
    config = from_mapping(values(rounds=ROUNDS))
    assert "student" not in to_toml(config)
    for stage in (SOURCE_ONLY, ORACLE, *map(round_stage, range(4))):
        assert config.task_of(stage) is config.task and config.of_stage(stage) is config and config.net_of(stage) == {}


def test_the_last_round_and_what_follows_have_the_students_net() -> None:
    config = with_student(architecture="fcn")
    assert (config.last_round, config.nets) == (2, (config.task, config.student))
    taught = [stage for stage in (SOURCE_ONLY, ORACLE, *map(round_stage, range(4))) if config.task_of(stage) is config.student]
    assert taught == [round_stage(2), round_stage(3)]
    own = config.of_stage(Stage("round-2"))
    assert own.task == config.student and own.of_stage(Stage("round-2")).task == config.student
    assert config.net_of(Stage("round-1")) == {
        "net": "deeplabv3plus on resnet101 (weights: download), 256 decoder channels, output stride 16"
    }
    assert config.net_of(Stage("round-2")) == {"net": "fcn on resnet101 (weights: download)"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rounds": {**ROUNDS, "start": "warm"}},
            r"of round 2 is 'warm', but that round trains \[student\].*set rounds.start to \['warm', 'warm', 'fresh'\]",
        ),
        (
            {"rounds": {**ROUNDS, "start": "continue"}},
            r"of round 2 is 'continue'.*set rounds.start to \['continue', 'continue', 'fresh'\]",
        ),
        ({"rounds": {"real_share": [0.0], "start": "fresh"}}, "rounds.real_share names no round with a teacher"),
        ({"student": {"architecture": "unet"}}, "student.architecture is 'unet'; expected one of fcn, deeplabv3plus, segnet"),
        ({"student": {"output_stride": 4}}, "student.output_stride is 4; expected one of 8, 16, 32"),
        ({"student": {"backbon": "resnet18"}}, "unknown key student.backbon; did you mean student.backbone"),
        ({"student": 3}, "student is 3; expected a table"),
    ],
)
def test_a_student_that_could_not_learn_is_refused_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        from_mapping(values(**{"rounds": ROUNDS, "student": {"backbone": "resnet18"}, **changes}))
    assert len(str(refused.value).splitlines()) == 1


def test_a_students_weights_that_are_missing_are_named_as_its_own(tmp_path: Path) -> None:
    config = with_student(weights=str(tmp_path / "none.pth"))
    assert config.student is not None
    with pytest.raises(InputError, match=r"none\.pth: no such file \(student\.weights = "):
        config.student.weights_file(tmp_path)
    with pytest.raises(InputError, match=r"student\.backbone 'no_such_net'"):
        check_student(Layout(tmp_path), with_student(backbone="no_such_net"))
    check_student(Layout(tmp_path), from_mapping(values()))


def test_a_student_begins_with_its_own_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[tuple[str, bool]] = []
    net = torch.nn.Identity()
    monkeypatch.setattr(
        stages, "build", lambda task, *, pretrained, classes: built.append((task.architecture, pretrained)) or net
    )
    monkeypatch.setattr(stages, "load_weights", lambda net, path: None)
    for stage in (SOURCE_ONLY, round_stage(1), round_stage(2)):
        first_net(Layout(tmp_path), with_student(architecture="fcn"), stage=stage)
    assert built == [("deeplabv3plus", True), ("deeplabv3plus", False), ("fcn", True)]


def test_what_is_masked_has_the_students_colour(tmp_path: Path) -> None:
    config = with_student(mean=[0.2, 0.4, 0.6])
    config = replace(config, rounds=replace(config.rounds, mask_ratio=0.5))
    none = ExampleSource([], Mix(()), 0, "test", config.size, config.train.augment)
    made = [
        mixture_of(Sources(none, none), Layout(tmp_path), config, stage=round_stage(round_), folder=tmp_path, workers=1)
        for round_ in (1, 2)
    ]
    masked = [mixture.makers["masked"] for mixture in made]
    assert [maker.colour for maker in masked if isinstance(maker, Masked)] == [(124, 116, 104), (51, 102, 153)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run whose second round trains an FCN."""
    small = ("task.backbone=test_efficientnet", "task.weights=scratch", "task.output_stride=32")
    short = ("train.steps=2", "rounds.steps=2", "adapter.steps=2")
    root = make(tmp_path_factory.mktemp("student") / "run", *STUDENT, *small, *short)
    for phase in phases(load(root / "run.toml"), rounds=2):
        code, said = selfsyn_here(phase.verb, "--run", root, *phase.arguments)
        assert code == 0, f"{phase.name}: {said}"
    return root


def manifest(run: Path, folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / folder / "manifest.json").read_text())
    return found


def test_each_stage_has_the_weights_of_its_own_net(run: Path) -> None:
    config = load(run / "run.toml")
    assert config.student is not None
    for stage, task in (("source-only", config.task), ("round-1", config.task), ("round-2", config.student)):
        wanted = build(task, pretrained=False).state_dict()
        found = load_file(run / stage / "task/weights.safetensors")
        assert {name: value.shape for name, value in found.items()} == {name: value.shape for name, value in wanted.items()}


def test_each_stage_learns_by_its_own_nets_constants(run: Path) -> None:
    means = {}
    for stage in ("round-1", "round-2"):
        saved = torch.load(run / stage / "task/checkpoint.pt", weights_only=True)
        means[stage] = tomllib.loads(saved["configuration"])["task"]["mean"]
    assert means == {"round-1": [0.5, 0.5, 0.5], "round-2": [0.4, 0.3, 0.2]}


def test_the_exported_file_is_the_students(run: Path) -> None:
    teacher, student = (load_teacher(run / stage / "teacher", device="cpu") for stage in ("round-1", "round-2"))
    assert teacher.metadata.mean == (0.5, 0.5, 0.5)
    assert student.metadata.mean == pytest.approx((0.4, 0.3, 0.2)) and student.metadata.std == (0.5, 0.5, 0.5)
    assert student.metadata.stage == "round-2"
    student.check()
    parity = json.loads((run / "round-2/teacher/parity.json").read_text())
    assert parity["cases"] and manifest(run, "round-2/teacher")["counts"]["parity_mismatches"] == 0


def test_the_manifests_and_the_page_name_the_net_of_each_stage(run: Path) -> None:
    large = "deeplabv3plus on test_efficientnet (weights: scratch), 8 decoder channels, output stride 32"
    small = "fcn on test_efficientnet (weights: scratch)"
    for folder in ("task", "teacher", "evaluation"):
        nets = {stage: manifest(run, f"{stage}/{folder}")["counts"]["net"] for stage in ("source-only", "round-0", "round-1")}
        assert set(nets.values()) == {large}
        assert manifest(run, f"round-2/{folder}")["counts"]["net"] == small
    assert manifest(run, "round-2/evaluation")["counts"]["images"] == 3
    assert "round-1/teacher" in manifest(run, "round-2/labels/shard-00000-of-00001")["inputs"]
    assert "round-1/task" not in manifest(run, "round-2/task")["inputs"]
    assert manifest(run, "adapter")["inputs"].keys() >= {"source-only/task"}
    page = (run / "report/index.html").read_text()
    assert f"{large}; from round 2 on, as its student, {small}, images of 64 × 48 pixels" in page


def test_a_student_is_not_trained_by_another_run_toml(run: Path) -> None:
    text = (run / "run.toml").read_text()
    (run / "run.toml").write_text(text.replace("auxiliary_at_inference = 0.25", "auxiliary_at_inference = 0.75"))
    try:
        code, said = selfsyn_here("train", "--run", run, "--round", 2)
    finally:
        (run / "run.toml").write_text(text)
    assert code == 2 and "student.auxiliary_at_inference: 0.25 -> 0.75" in said


def row_of(run: Path, config: RunConfig, name: str, *, net: str = "deeplabv3plus") -> Entry:
    row = next(row for row in (*ROWS, *ablations(config)) if row.name == name)
    return entry(Layout(run), config, row=row, net=net, seed=0, rounds=2)


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return load(make(tmp_path / "run", *STUDENT) / "run.toml")


def test_only_what_the_student_touches_is_computed_for_it(config: RunConfig, tmp_path: Path) -> None:
    plain = replace(config, student=None)
    with_one, without = (fingerprints(row_of(tmp_path, one, "ours")) for one in (config, plain))
    changed = {folder for folder in with_one if with_one[folder] != without[folder]}
    assert with_one.keys() == without.keys()
    assert changed == {"round-2/task", "round-2/teacher", "round-2/evaluation"}
    # A student that is the very net of all others is no other computation.
    same = replace(config, student=Student(**vars(config.task)))
    assert fingerprints(row_of(tmp_path, same, "ours")) == without


def test_every_other_row_has_no_student_and_the_budget_of_its_teacher(config: RunConfig, tmp_path: Path) -> None:
    teacher = row_of(tmp_path, config, "ours-teacher")
    assert teacher.stage == round_stage(config.last_round - 1)
    assert teacher.cost.updates == budget(config, rounds=config.last_round) == config.train.steps + 2 * config.rounds.steps_of(0)
    for row in ROWS:
        one = row_of(tmp_path, config, row.name)
        assert (one.config.student is None) == (row.name not in ("ours", "ours-teacher"))
        if row.name != "ours":
            assert one.cost.updates == teacher.cost.updates
    ours = row_of(tmp_path, config, "ours")
    assert ours.cost.updates == teacher.cost.updates + config.rounds.steps_of(config.last_round)
    assert {folder: print_ for folder, print_ in fingerprints(ours).items() if folder in fingerprints(teacher)}.items() <= (
        fingerprints(teacher).items()
    )


def test_without_a_student_there_is_no_row_of_its_teacher(config: RunConfig) -> None:
    with pytest.raises(InputError, match="--rows 'ours-teacher': no such row"):
        chosen(replace(config, student=None), names=("ours-teacher",), ablate=False)


def test_each_lever_leaves_a_configuration_that_can_be_computed(config: RunConfig, tmp_path: Path) -> None:
    assert config.student is not None
    names = [row.name for row in ablations(config)]
    assert "without-larger-teacher" in names and "without-plain-start" not in names
    assert "without-larger-teacher" not in [row.name for row in ablations(replace(config, student=None))]
    for lever in LEVERS:
        off = lever.off(config)
        assert lever.off(off) == off, lever.name
        assert from_mapping(tomllib.loads(to_toml(off))) == off, lever.name
    without = row_of(tmp_path, config, "without-larger-teacher")
    assert without.config.student is None and without.config.task == Task(**vars(config.student))
    assert without.config.rounds == config.rounds
    ours = set(fingerprints(row_of(tmp_path, config, "ours")).values())
    assert [folder for folder, print_ in fingerprints(without).items() if print_ in ours] == ["world"]


def test_another_net_of_the_table_is_the_teachers(config: RunConfig, tmp_path: Path) -> None:
    one = row_of(tmp_path, config, "ours", net="segnet")
    assert (one.config.task.architecture, one.config.student) == ("segnet", config.student)
    line = Line((Result(one, {}, {}, 0.0),))
    assert differences(line, config) == []


def test_a_table_that_ends_before_the_student_is_refused(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--rounds 1: the net of \[student\] is trained in round 2; give --rounds 2"):
        entries(Layout(tmp_path), config, rows=ROWS, nets=["fcn"], seeds=[0], rounds=1)
