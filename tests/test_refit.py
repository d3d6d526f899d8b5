"""rounds.refit: the adapter is fitted again before a round, with the net of the round before, and the round reads its images."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import make, selfsyn_here
from tiny_store import write_shard
from tiny_teacher import tiny_onnx

from export.contract import MODEL_FILE
from selfsyn import config as configuration
from selfsyn.adapter import adapt as adapting
from selfsyn.adapter import fit as fitting
from selfsyn.config import HeldOut, Rounds, RunConfig, Source, World
from selfsyn.data import sources
from selfsyn.data.frames import Frame
from selfsyn.files import digest_bytes, write_atomic
from selfsyn.flow import Phase, phases, train_phase
from selfsyn.images import encode_png
from selfsyn.layout import Layout
from selfsyn.phase import begin, finish, is_current, open_run, require
from selfsyn.report.collect import collect
from selfsyn.task import build, load_weights
from selfsyn.task.stages import sources_of

SMALL_NET = ("task.backbone=test_efficientnet", "task.weights=scratch", "task.output_stride=32")
BYTES = ("weights.safetensors", "history.jsonl", "samples.png")
CONFIG = RunConfig(
    "test",
    0,
    (512, 512),
    synthetic=(Source("gta5", "s"),),
    real=(Source("cityscapes", "r"),),
    held_out=HeldOut("cityscapes", "r"),
    world=World(),
)

# What the flow was before there was a re-fit: (name, needs) of each phase to round 2.
ONCE = [
    ("train --bound source-only", ()),
    ("export-teacher --bound source-only", ("source-only/task",)),
    ("evaluate --bound source-only", ("source-only/teacher",)),
    ("fit-adapter", ("source-only/task",)),
    ("adapt", ("adapter",)),
    ("train --round 0", ("source-only/task", "adapted")),
    ("export-teacher --round 0", ("round-0/task",)),
    ("evaluate --round 0", ("round-0/teacher",)),
    ("pseudo-label --round 1 --shard 0 --shards 1", ("round-0/teacher",)),
    ("train --round 1", ("round-0/task", "adapted", "round-1/labels")),
    ("export-teacher --round 1", ("round-1/task",)),
    ("evaluate --round 1", ("round-1/teacher",)),
    ("pseudo-label --round 2 --shard 0 --shards 1", ("round-1/teacher",)),
    ("train --round 2", ("round-1/task", "adapted", "round-2/labels")),
    ("export-teacher --round 2", ("round-2/task",)),
    ("evaluate --round 2", ("round-2/teacher",)),
    ("report", tuple(f"{stage}/evaluation" for stage in ("source-only", "round-0", "round-1", "round-2"))),
]
ROUND_1 = [("fit-adapter --round 1", ("round-0/task",)), ("adapt --round 1", ("round-1/adapter",))]
ROUND_2 = [("fit-adapter --round 2", ("round-1/task",)), ("adapt --round 2", ("round-2/adapter",))]


def flow(refit: bool | tuple[bool, ...]) -> list[tuple[str, tuple[str, ...]]]:
    config = replace(CONFIG, rounds=Rounds(refit=refit))
    return [(phase.name, phase.needs) for phase in phases(config, rounds=2)]


def reading(line: tuple[str, tuple[str, ...]], folder: str) -> tuple[str, tuple[str, ...]]:
    """A training that reads other adapted images."""
    return line[0], tuple(folder if need == "adapted" else need for need in line[1])


def test_the_flow_whole() -> None:
    assert flow(False) == ONCE
    both = [*ONCE[:9], *ROUND_1, reading(ONCE[9], "round-1/adapted"), *ONCE[10:13]]
    assert flow(True) == [*both, *ROUND_2, reading(ONCE[13], "round-2/adapted"), *ONCE[14:]]
    assert flow((True, False)) == [*both, reading(ONCE[13], "round-1/adapted"), *ONCE[14:]]
    assert flow((False, True)) == [*ONCE[:13], *ROUND_2, reading(ONCE[13], "round-2/adapted"), *ONCE[14:]]


def test_the_folders_are_those_of_the_round() -> None:
    config = replace(CONFIG, rounds=Rounds(refit=True))
    folders = [phase.folder for phase in phases(config, rounds=1) if phase.verb in ("fit-adapter", "adapt")]
    assert folders == ["adapter", "adapted", "round-1/adapter", "round-1/adapted"]
    layout = Layout(Path("run"))
    assert [layout.adapter(), layout.adapted(), layout.adapter(1), layout.adapted(1)] == [Path("run", one) for one in folders]


@pytest.mark.parametrize(
    ("refit", "adapters"),
    [(False, (0, 0, 0, 0)), (True, (0, 1, 2, 3)), ((True, False), (0, 1, 1, 1)), ((False, True), (0, 0, 2, 3))],
)
def test_which_adapter_a_round_reads_by_hand(refit: bool | tuple[bool, ...], adapters: tuple[int, ...]) -> None:
    rounds = Rounds(refit=refit)
    assert tuple(rounds.adapter_of(round_) for round_ in range(4)) == adapters
    assert rounds.adapters(3) == tuple(dict.fromkeys(adapters))


@pytest.mark.parametrize(
    ("refit", "read"), [(False, ["first"] * 3), (True, ["first", "1", "2"]), ((True, False), ["first", "1", "1"])]
)
def test_a_round_learns_from_what_was_last_adapted_before_it(
    tmp_path: Path, refit: bool | tuple[bool, ...], read: list[str]
) -> None:
    for folder in ("adapted", "round-1/adapted", "round-2/adapted"):
        for part, picture in (("images", np.zeros((32, 48, 3), np.uint8)), ("labels", np.zeros((32, 48), np.uint8))):
            write_atomic(tmp_path / folder / part / "a.png", encode_png(picture))
    write_atomic(tmp_path / "r/leftImg8bit/train/ulm/ulm_1_leftImg8bit.png", encode_png(np.zeros((32, 48, 3), np.uint8)))
    maps = np.zeros((32, 48), np.uint8), np.full((32, 48), 200, np.uint8)
    for round_ in (1, 2):
        write_shard(tmp_path / f"round-{round_}/labels/shard-00000-of-00001", {"ulm_1": maps})
    config = replace(CONFIG, rounds=Rounds(refit=refit))
    drawn = [sources_of(Layout(tmp_path), config, stage=f"round-{round_}") for round_ in range(3)]
    names = [str(Path(one.labelled.examples[0].name).relative_to(tmp_path)) for one, _ in drawn]
    assert names == ["adapted/images/a.png" if one == "first" else f"round-{one}/adapted/images/a.png" for one in read]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run to round 2, re-fitted before each round, every phase by its command.

    Hand-made teachers take the place of exported ones: an export takes longer than all the rest, and nothing here is about it.
    """
    root = make(tmp_path_factory.mktemp("whole") / "run", *SMALL_NET, "rounds.refit=true", "rounds.real_share=[0.0, 0.5, 0.5]")
    for number, phase in enumerate(phases(configuration.load(root / "run.toml"), rounds=2)):
        if phase.verb == "export-teacher":
            exported(root, phase, seed=number)
            continue
        workers = ("--workers", 0) if phase.computes and phase.verb != "fit-adapter" else ()
        code, said = selfsyn_here(phase.verb, "--run", root, *phase.arguments, *workers)
        assert code == 0, (phase.name, said)
    return root


def exported(root: Path, phase: Phase, *, seed: int) -> None:
    layout, config = open_run(root)
    started = begin(layout, config, phase)
    model = tiny_onnx(seed=seed)
    write_atomic(started.folder / MODEL_FILE, model)
    finish(started, outputs={MODEL_FILE: digest_bytes(model)})


def copied(whole: Path, root: Path, *, without: str) -> Path:
    shutil.copytree(whole, root)
    shutil.rmtree(root / without)
    return root


def manifest(folder: Path) -> dict[str, Any]:
    """What the manifest promises, wall time apart."""
    promised = json.loads((folder / "manifest.json").read_text())
    return {key: promised[key] for key in ("phase", "digest", "inputs", "outputs", "counts", "configuration")}


def files(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {str(name): path.read_bytes() for name, path in found.items() if path.name not in ("manifest.json", "checkpoint.pt")}


def test_each_phase_says_what_it_read(whole: Path) -> None:
    def inputs(folder: str) -> dict[str, str]:
        return manifest(whole / folder)["inputs"]

    def digest(folder: str) -> str:
        return manifest(whole / folder)["digest"]

    for round_ in (1, 2):
        before = f"round-{round_ - 1}/task"
        fitted, trained = inputs(f"round-{round_}/adapter"), inputs(f"round-{round_}/task")
        assert fitted[before] == digest(before) and "source-only/task" not in fitted
        assert inputs(f"round-{round_}/adapted")[f"round-{round_}/adapter"] == digest(f"round-{round_}/adapter")
        assert trained[f"round-{round_}/adapted"] == digest(f"round-{round_}/adapted") and "adapted" not in trained
    pictures = {digest(folder) for folder in ("adapted", "round-1/adapted", "round-2/adapted")}
    assert len(pictures) == 3, "each adapter makes images of its own"


@pytest.mark.parametrize(
    ("stage", "folder"), [("source-only", "adapter"), ("round-0", "round-1/adapter"), ("round-1", "round-2/adapter")]
)
def test_the_frozen_net_is_the_stage_befores(whole: Path, tmp_path: Path, stage: str, folder: str) -> None:
    layout, config = Layout(whole), configuration.load(whole / "run.toml")
    frozen = build(config.task, pretrained=False)
    load_weights(frozen, layout.task(stage) / "weights.safetensors")
    stopping = type("Never", (), {"requested": False, "exit_if_requested": lambda self: None})()
    real: list[Frame] = sources.real(layout, config)[0]
    fitting.fit(
        frozen,
        synthetic=sources.synthetic(layout, config)[0],
        real=real,
        config=config,
        folder=tmp_path,
        device=torch.device("cpu"),
        stopping=stopping,
    )
    # Everything else is drawn alike: with another stage's net the bytes would be those of another folder.
    assert [(tmp_path / name).read_bytes() for name in BYTES] == [(whole / folder / name).read_bytes() for name in BYTES]
    others = {"adapter", "round-1/adapter", "round-2/adapter"} - {folder}
    weights = (tmp_path / "weights.safetensors").read_bytes()
    assert all((whole / other / "weights.safetensors").read_bytes() != weights for other in others)


def stopped_in_call(monkeypatch: pytest.MonkeyPatch, module: object, name: str, *, call: int) -> None:
    """SIGTERM arrives while `name` runs for the `call`-th time."""
    work: Callable[..., Any] = getattr(module, name)
    calls: list[int] = []

    def stopped(*arguments: Any, **options: Any) -> Any:
        calls.append(0)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return work(*arguments, **options)

    monkeypatch.setattr(module, name, stopped)


@pytest.mark.parametrize(
    ("verb", "folder", "module", "name"),
    [("fit-adapter", "round-2/adapter", fitting, "fit_step"), ("adapt", "round-2/adapted", adapting, "translate")],
)
def test_stopped_and_resumed_equals_uninterrupted(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, folder: str, module: object, name: str
) -> None:
    root = copied(whole, tmp_path / "run", without=folder)
    handler = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        stopped_in_call(patch, module, name, call=3)
        assert selfsyn_here(verb, "--run", root, "--round", 2)[0] == 143
    assert (root / folder / "started.json").exists() and not (root / folder / "manifest.json").exists()
    written = sorted(path.name for path in (root / folder).rglob("*") if path.is_file())
    code, said = selfsyn_here(verb, "--run", root, "--round", 2)
    signal.signal(signal.SIGTERM, handler)
    assert code == 0, said
    assert "goes on at step 3 of 6" in said if verb == "fit-adapter" else 2 < len(written) < len(files(root / folder))
    assert files(root / folder) == files(whole / folder)
    assert manifest(root / folder) == manifest(whole / folder)


def test_a_second_run_is_done_already(whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    for verb in ("fit-adapter", "adapt"):
        for round_ in (0, 1, 2):
            code, said = selfsyn_here(verb, "--run", whole, "--round", round_)
            named = f"{verb} --round {round_}" if round_ else verb
            assert code == 0 and f"{named}: already done" in said
    code, said = selfsyn_here("round", "--run", whole, "--rounds", 2)
    assert code == 0 and "all 22 phases are done" in said
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()} == before


def test_the_page_shows_every_adapter(whole: Path) -> None:
    page = (whole / "report/index.html").read_text()
    for round_ in (1, 2):
        assert f"Adapter losses, fitted again before round {round_}" in page
        assert f'href="../round-{round_}/adapter/manifest.json"' in page


def test_shards_of_a_refit_are_the_whole(whole: Path, tmp_path: Path) -> None:
    root = copied(whole, tmp_path / "run", without="round-1/adapted")
    for shard in (1, 0):
        code, said = selfsyn_here("adapt", "--run", root, "--round", 1, "--shard", shard, "--shards", 2)
        assert code == 0, said
    parts = files(root / "round-1/adapted")
    assert {name.split("/", 1)[1]: data for name, data in parts.items()} == files(whole / "round-1/adapted")
    layout, config = open_run(root)
    found = collect(layout, config)
    assert found.adaptations == (0, 1, 2)
    named = [step.phase.name for step in found.finished if step.phase.verb == "adapt"]
    assert named == ["adapt", *(f"adapt --round 1 --shard {shard} --shards 2" for shard in (0, 1)), "adapt --round 2"]
    assert is_current(layout, train_phase(config, stage="round-0"))
    require(layout, train_phase(config, stage="round-1"))


@pytest.mark.parametrize("verb", ["fit-adapter", "adapt"])
@pytest.mark.parametrize(("refit", "round_"), [("false", 1), ("[true, false]", 2)])
def test_a_round_that_has_no_adapter_is_refused(tmp_path: Path, verb: str, refit: str, round_: int) -> None:
    root = make(tmp_path / "run", f"rounds.refit={refit}")
    for options in ([], ["--dry-run"]):
        code, said = selfsyn_here(verb, "--run", root, "--round", round_, *options)
        assert code == 2 and len(said.strip().splitlines()) == 1, said
        assert f"{root}/run.toml: rounds.refit is " in said and "set rounds.refit = true" in said
    assert [path.name for path in root.iterdir()] == ["run.toml"]


def test_a_refit_waits_for_the_net_of_the_round_before(whole: Path, tmp_path: Path) -> None:
    root = copied(whole, tmp_path / "run", without="round-0/task")
    shutil.rmtree(root / "round-1/adapter")
    code, said = selfsyn_here("fit-adapter", "--run", root, "--round", 1)
    assert code == 3 and "round-0/task: not finished" in said
    assert not (root / "round-1/adapter").exists()
    config = configuration.load(root / "run.toml")
    assert train_phase(config, stage="round-1").needs[-2:] == ("round-1/adapted", "round-1/labels")
