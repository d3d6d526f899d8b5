"""Every phase, killed at a random moment and started again, ends with the same bytes as if nothing had happened."""

from __future__ import annotations

import json
import math
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_run import command_line, make, selfsyn

from selfsyn.config import load
from selfsyn.flow import Phase, phases

# Every term of the joint objective and every way of drawing at once, so that what they remember is killed with the rest.
LEVERS = (
    "train.batch=4",
    "train.rcs_temperature=0.1",
    "rounds.real_share=[0.0, 0.5]",
    "rounds.rcs_temperature=0.1",
    "rounds.mask_ratio=0.5",
    "rounds.mask_block_size=8",
    "rounds.rectify=true",
    "rounds.ema_pseudo_labels=true",
    "rival={method='mrnet', discriminator_channels=4}",
)
# A checkpoint is a means; a manifest tells wall times, as speed.jsonl does, and the page prints them: compared apart from those.
NOT_COMPARED = ("checkpoint.pt", "speed.jsonl", "index.html", "manifest.json")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a finished phase that must be the same however it came about."""
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    # The report's copies of manifests hold wall times.
    kept = {name: path for name, path in files.items() if path.name not in NOT_COMPARED and name.parts[0] != "manifests"}
    return {str(name): path.read_bytes() for name, path in sorted(kept.items())}


def manifest(folder: Path) -> dict[str, object]:
    """What the manifest promises, wall time apart."""
    promised = json.loads((folder / "manifest.json").read_text())
    return {key: promised[key] for key in ("phase", "digest", "inputs", "outputs", "counts", "configuration")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """A run that nobody disturbed, and the seconds that each phase took."""
    root = make(tmp_path_factory.mktemp("whole") / "run", *LEVERS)
    seconds = {}
    for phase in phases(load(root / "run.toml"), rounds=1):
        began = time.monotonic()
        done = selfsyn(phase.verb, "--run", root, *phase.arguments)
        assert done.returncode == 0, (phase.name, done.stderr)
        seconds[phase.folder] = time.monotonic() - began
    return root, seconds


def one_of_each(root: Path) -> list[Phase]:
    """The first phase of each verb, and a training that reads pseudo-labels."""
    flow = phases(load(root / "run.toml"), rounds=1)
    verbs = [phase.verb for phase in flow]
    return [phase for i, phase in enumerate(flow) if phase.verb not in verbs[:i] or phase.folder == "round-1/task"]


def killed_then_finished(root: Path, phase: Phase, *, after: float) -> str:
    """SIGKILL the phase `after` seconds, start it again, return what the second start said."""
    first = subprocess.Popen(command_line(phase.verb, "--run", root, *phase.arguments), stderr=subprocess.DEVNULL)
    try:
        first.wait(timeout=after)
    except subprocess.TimeoutExpired:
        first.kill()
        first.wait()
    again = selfsyn(phase.verb, "--run", root, *phase.arguments)
    assert again.returncode == 0, (phase.name, again.stderr)
    return again.stderr


def test_killed_and_resumed_equals_uninterrupted(whole: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    reference, seconds = whole
    seed = random.SystemRandom().randrange(10**6)
    moments = random.Random(seed)
    root = tmp_path / "run"
    root.mkdir()
    shutil.copy(reference / "run.toml", root / "run.toml")
    shutil.copy(reference / "sealed.toml", root / "sealed.toml")
    chosen = one_of_each(root)
    for phase in phases(load(root / "run.toml"), rounds=1):
        if phase not in chosen:
            shutil.copytree(reference / phase.folder, root / phase.folder)
            continue
        # Most of a tiny phase is the start of Python: the moments lie in its later part, where the work is.
        share = moments.uniform(0.4, 0.98)
        killed_then_finished(root, phase, after=share * seconds[phase.folder])
        ours, theirs = contents(root / phase.folder), contents(reference / phase.folder)
        assert list(ours) == list(theirs), (phase.name, f"seed {seed}")
        different = [name for name in ours if ours[name] != theirs[name]]
        assert not different, (phase.name, different, f"killed at {share:.2f}, seed {seed}")
        if phase.verb == "report":  # it is about the other manifests, wall times and all
            assert (root / phase.folder / "index.html").read_text().rstrip().endswith("</html>")
        else:
            assert manifest(root / phase.folder) == manifest(reference / phase.folder), (phase.name, f"seed {seed}")


def test_history_has_every_term_and_the_bound_none_of_the_rounds(whole: tuple[Path, dict[str, float]]) -> None:
    rows = {
        stage: json.loads((whole[0] / stage / "task/history.jsonl").read_text().splitlines()[-1])
        for stage in ("source-only", "round-0", "round-1")
    }
    heads = [f"{term}_{head}" for term in ("align", "critic", "accuracy") for head in ("main", "auxiliary")]
    plain = {"step", "loss_synthetic", "loss", "learning_rate"}
    assert set(rows["source-only"]) == plain
    assert set(rows["round-0"]) == {*plain, "loss_online", "loss_memory", *heads}
    assert {"loss_pseudo", "loss_masked", "loss_online", "loss_memory", *heads} <= set(rows["round-1"])
    assert all(math.isfinite(value) for row in rows.values() for value in row.values())


def test_a_finished_round_is_not_done_again(whole: tuple[Path, dict[str, float]]) -> None:
    root, _ = whole
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    began = time.monotonic()
    done = selfsyn("round", "--run", root, "--rounds", 1)
    assert done.returncode == 0, done.stderr
    assert "phases are done" in done.stderr
    assert time.monotonic() - began < 10
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before


def test_a_finished_phase_says_so_before_it_needs_a_device_or_a_library(whole: tuple[Path, dict[str, float]]) -> None:
    root, _ = whole
    without = "import sys; sys.modules.update(dict.fromkeys(('torch', 'matplotlib', 'onnxruntime')))"  # not to be imported
    code = f"{without}; from jobs.__main__ import main; main()"
    for phase in one_of_each(root):
        device = ["--device", "cuda"] * phase.facts.device  # there is none
        arguments = [phase.verb, "--run", str(root), *phase.arguments, *device]
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (phase.name, done.stderr)
        assert "already done" in done.stderr, (phase.name, done.stderr)


def test_a_round_makes_what_its_phases_make(whole: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    """The round forks its phases from one process; the reference had a new interpreter for each."""
    reference, _ = whole
    root = make(tmp_path / "run", *LEVERS)
    done = selfsyn("round", "--run", root, "--rounds", 1)
    assert done.returncode == 0, done.stderr
    flow = phases(load(root / "run.toml"), rounds=1)
    for phase in flow:
        assert contents(root / phase.folder) == contents(reference / phase.folder), phase.name
        if phase.verb != "report":
            assert manifest(root / phase.folder) == manifest(reference / phase.folder), phase.name
    table = done.stderr.split("time of each phase:\n")[1].splitlines()
    assert [line.split("%  ")[1] for line in table[: len(flow)]] == [phase.name for phase in flow]
    assert table[len(flow)].endswith("all phases")


def test_a_changed_configuration_is_refused_with_the_difference(whole: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(whole[0], root)
    text = (root / "run.toml").read_text()
    (root / "run.toml").write_text(text.replace("[train]\nsteps = 6", "[train]\nsteps = 7"))
    for verb in (["round", "--rounds", "1"], ["train", "--round", "0"], ["report"]):
        done = selfsyn(verb[0], "--run", root, *verb[1:])
        assert done.returncode == 2
        assert "train.steps: 6 -> 7" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_changed_inputs_are_refused_and_force_takes_them(whole: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(whole[0], root)
    victim = sorted((root / "world/camera/leftImg8bit/train/world").glob("*.png"))[0]
    victim.unlink()
    refused = selfsyn("pseudo-label", "--run", root, "--round", 1)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
    assert "made from other inputs (real changed: 1 file gone, first" in refused.stderr
    forced = selfsyn("pseudo-label", "--run", root, "--round", 1, "--force")
    assert forced.returncode == 0, forced.stderr
    assert not list((root / "round-1/labels").rglob(victim.name.replace("_leftImg8bit", "")))


def test_sigterm_writes_a_checkpoint_and_exits_143(whole: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(whole[0], root)
    shutil.rmtree(root / "round-1")
    shutil.rmtree(root / "round-0")
    for name in ("run.toml", "sealed.toml"):
        text = (root / name).read_text()
        (root / name).write_text(text.replace("[rounds]\nsteps = 6", "[rounds]\nsteps = 5000"))
    process = subprocess.Popen(command_line("train", "--run", root, "--round", 0), stderr=subprocess.DEVNULL)
    checkpoint = root / "round-0/task/checkpoint.pt"
    for _ in range(600):
        if checkpoint.exists():
            break
        time.sleep(0.1)
    process.terminate()
    assert process.wait(timeout=60) == 143
    assert checkpoint.exists()
    assert not (root / "round-0/task/manifest.json").exists()
