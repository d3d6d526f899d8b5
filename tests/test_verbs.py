"""The table of verbs against the commands, and how the command of each phase begins: a finished one looks at nothing more."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import torch
from safetensors.torch import save_file
from tiny_run import make, selfsyn_here

from jobs.__main__ import cli
from selfsyn.data import sources
from selfsyn.files import digest_bytes
from selfsyn.flow import Phase, phases, probe_phase
from selfsyn.phase import begin, finish, open_run
from selfsyn.verbs import VERBS

PHASES = [verb for verb in VERBS.values() if verb.writes]


@pytest.mark.parametrize("verb", PHASES, ids=[verb.name for verb in PHASES])
def test_a_command_has_the_options_of_the_table(verb) -> None:
    command = cli.get_command(click.Context(cli), verb.name)
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}
    said = {"--device": verb.device, "--workers": verb.workers, "--processes": verb.processes, "--shard": verb.sharded}
    assert {name: name in options for name in said} == said
    assert "--force" in options and (verb.name == "report" or "--dry-run" in options)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose every phase is finished in name, whose weights are gone, on a machine without a GPU."""
    folder = tmp_path_factory.mktemp("verbs")
    save_file({"a": torch.zeros(1)}, folder / "weights.safetensors")
    root = make(folder / "run", f"task.weights={folder / 'weights.safetensors'}")
    assert selfsyn_here("world", "--run", root, "--workers", 0)[0] == 0
    layout, config = open_run(root)
    for phase in flow(root)[1:]:
        started = begin(layout, config, phase, sources=sources.digests(layout, config, sources.of_phase(config, phase)))
        finish(started, outputs={"all": digest_bytes(phase.name.encode())}, counts={})
    (folder / "weights.safetensors").unlink()
    return root


def flow(root: Path) -> list[Phase]:
    _, config = open_run(root)
    return [*phases(config, rounds=1, with_bounds=True)[:-1], probe_phase(config)]


def one_of_each(root: Path) -> dict[str, Phase]:
    return {phase.verb: phase for phase in flow(root)}


@pytest.mark.parametrize("verb", [verb.name for verb in PHASES if verb.name != "report"])
def test_a_finished_phase_needs_neither_device_nor_weights(run: Path, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("export.teacher.why_no_cuda", lambda: "no driver")
    phase = one_of_each(run)[verb]
    device = ("--device", "cuda") if phase.facts.device else ()
    code, said = selfsyn_here(verb, "--run", run, *phase.arguments, *device)
    assert code == 0 and f"{phase.name}: already done, in {run / phase.folder}" in said, said


@pytest.mark.parametrize("verb", [verb.name for verb in PHASES if verb.name != "report"])
def test_a_dry_run_says_what_is_read_and_written(run: Path, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    phase = one_of_each(run)[verb]
    assert selfsyn_here(verb, "--run", run, *phase.arguments, "--dry-run")[0] == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{phase.name}: reads ") and said.rstrip().endswith(f"; writes {run / phase.folder}")
    assert all(need in said for need in phase.needs)
