"""How a round runs its phases: forked from a server, and otherwise as the commands that a user would type."""

from __future__ import annotations

import multiprocessing.forkserver
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tiny_run import command_line, make, selfsyn

from jobs import running
from selfsyn import progress
from selfsyn.flow import Phase

MARK = "SELFSYN_TEST_MARK"


class Round:
    """A `selfsyn round` that is in the middle of a training, and the processes that belong to it."""

    def __init__(self, root: Path) -> None:
        self.mark = f"{MARK}={uuid.uuid4().hex}"
        name, value = self.mark.split("=")
        self.log = root / "log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                command_line("round", "--run", root, "--rounds", 0),
                stderr=log,
                env={**os.environ, name: value},
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
            )
        checkpoint = root / "source-only/task/checkpoint.pt"
        wait_for(checkpoint.exists)
        # The round's children: the server and multiprocessing's tracker of resources; the server's one child: the phase.
        children = {pid: self.children(pid) for pid in self.children(self.process.pid)}
        ((self.server, (self.phase,)),) = [(pid, below) for pid, below in children.items() if below]

    def processes(self) -> list[int]:
        """All that were started by this round, the round itself among them, and have not ended."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                ours = self.mark.encode() in (folder / "environ").read_bytes()
            except OSError:  # not ours, or gone
                continue
            found += [int(folder.name)] * ours
        return found

    def children(self, parent: int) -> list[int]:
        return [pid for pid in self.processes() if pid != parent and stat(pid)[1] == str(parent)]

    def said(self) -> str:
        return self.log.read_text()


def stat(pid: int) -> list[str]:
    """State, parent and so on of a process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    except OSError:
        return ["gone", ""]


def wait_for(condition: object, seconds: float = 60) -> None:
    for _ in range(int(seconds * 20)):
        if condition():  # type: ignore[operator]
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its world, and a training that takes long."""
    root = make(tmp_path_factory.mktemp("rendered") / "run", "train.steps=50000")
    assert selfsyn("world", "--run", root, "--workers", 1).returncode == 0
    return root


@pytest.fixture
def training(rendered: Path, tmp_path: Path) -> Iterator[Round]:
    shutil.copytree(rendered, tmp_path / "run")
    found = Round(tmp_path / "run")
    yield found
    for pid in found.processes():
        os.kill(pid, signal.SIGKILL)
    found.process.wait()


def test_sigterm_is_handed_on_and_leaves_a_checkpoint_and_no_process(training: Round) -> None:
    training.process.terminate()
    assert training.process.wait(timeout=60) == 143
    assert "train --bound source-only: exit code 143; run the same command again to continue" in training.said()
    wait_for(lambda: not training.processes())


def test_sigterm_to_all_processes_at_once_ends_as_well(training: Round) -> None:
    for pid in training.processes():
        os.kill(pid, signal.SIGTERM)
    assert training.process.wait(timeout=60) == 143
    assert "exit code 143" in training.said()
    wait_for(lambda: not training.processes())


def test_ctrl_c_ends_the_phase_and_the_round(training: Round) -> None:
    for pid in training.processes():
        os.kill(pid, signal.SIGINT)
    assert training.process.wait(timeout=60) == 130
    assert "Traceback" not in training.said()
    wait_for(lambda: not training.processes())


def test_a_killed_phase_is_reported(training: Round) -> None:
    os.kill(training.phase, signal.SIGKILL)
    assert training.process.wait(timeout=60) == 137
    assert "train --bound source-only: killed by signal 9" in training.said()
    wait_for(lambda: not training.processes())


def test_a_killed_round_leaves_no_server(training: Round) -> None:
    training.process.kill()
    training.process.wait()
    wait_for(lambda: stat(training.server)[0] in ("gone", "Z"), seconds=5)
    assert stat(training.phase)[0] not in ("gone", "Z")  # as ever: a phase has what it needs to go on by itself


def test_a_killed_server_takes_the_phase_along(training: Round) -> None:
    os.kill(training.server, signal.SIGKILL)
    assert training.process.wait(timeout=60) == 255
    assert "the fork server has died; killing its phase" in training.said()
    wait_for(lambda: not training.processes())


def stop_server() -> None:
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture
def bare_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that has imported nothing: what a phase is does not hang on it. It has this test's standard error."""
    monkeypatch.setattr(running, "PRELOADED", ())
    stop_server()
    yield
    stop_server()


PHASE = Phase("train", "round-0/task", ("--round", "0"))


def test_the_exit_codes_and_words_of_a_phase_are_its_own(
    bare_server: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "run")
    for root, code, words in (
        (tmp_path / "run", 3, "selfsyn: " + str(tmp_path / "run/world: not finished")),
        (tmp_path / "none", 2, "run.toml: not found"),
    ):
        with pytest.raises(SystemExit) as end:
            running.run_phase(root, PHASE, device="cpu", workers=None)
        said = capfd.readouterr().err
        assert end.value.code == code and words in said, said
        assert len(said.splitlines()) == 2  # the phase's, and which phase it was


def test_the_clock_of_a_phase_is_that_of_its_round(
    bare_server: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "run")
    monkeypatch.setattr(progress, "_BEGAN", time.monotonic() - 5000)
    ended = running._forked(["world", "--run", str(tmp_path / "run"), "--workers", "1"])
    ended.join()  # type: ignore[union-attr]
    times = [float(found) for found in re.findall(r"^\[ *([\d.]+) s\]", capfd.readouterr().err, re.MULTILINE)]
    assert times and all(5000 < found < 5600 for found in times)


def test_a_fault_is_a_traceback_and_exit_code_1(bare_server: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "run")
    (tmp_path / "run/world/manifest.json").mkdir(parents=True)  # no user's doing
    with pytest.raises(SystemExit) as end:
        running.run_phase(tmp_path / "run", PHASE, device="cpu", workers=None)
    assert end.value.code == 1
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize(("todo", "starts"), [(["world", "report"], False), (["world", "train", "report"], True)])
def test_a_server_is_started_for_what_imports_torch(bare_server: None, todo: list[str], starts: bool) -> None:
    running.start_server([Phase(verb, verb) for verb in todo])
    assert (multiprocessing.forkserver._forkserver._forkserver_pid is not None) == starts  # type: ignore[attr-defined]


def test_without_a_server_phases_are_started_as_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> None:
        raise ConnectionRefusedError("connection refused")

    monkeypatch.setattr(running.ForkServerProcess, "start", refused)
    with pytest.raises(SystemExit) as end:
        running.run_phase(tmp_path, PHASE, device="cpu", workers=None)
    said = capfd.readouterr().err
    assert end.value.code == 2
    assert "cannot start the fork server (connection refused); each phase starts a new interpreter instead" in said
    assert "run.toml: not found" in said


def test_the_server_starts_no_thread_and_leaves_cuda_alone() -> None:
    """A fork would survive neither."""
    code = (
        "import os, sys, jobs.preload, torch;"
        "print(len(os.listdir('/proc/self/task')), torch.cuda.is_initialized(), set(jobs.preload.MODULES) - set(sys.modules))"
    )
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # whose threads look after forks themselves
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **one})
    assert done.stdout == "1 False set()\n"
