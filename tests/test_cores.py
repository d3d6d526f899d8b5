"""The cores that a process may use, from made-up machines, and the threads that follow from them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from tiny_run import selfsyn_here

from jobs.launch import share_cores
from selfsyn import cores
from selfsyn.cores import THREADS, openmp, usable_cores


@pytest.fixture(autouse=True)
def eight_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of eight cores without a quota, and a user who asks for nothing."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)
    for name in (*openmp(), "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "1600000 100000\n"}, 8),
        ({"cpu.max": "350000 100000\n"}, 3),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu.max": "nonsense"}, 8),
    ],
)
def test_cores_are_those_of_affinity_and_of_either_cgroups_quota(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores() == expected
    assert openmp()[THREADS] == str(expected)


@pytest.mark.parametrize(("processes", "expected"), [("2", 4), ("3", 2), ("16", 1)])
def test_processes_of_one_machine_share_its_cores(processes: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert usable_cores() == expected


@pytest.mark.parametrize(("asked", "expected"), [(None, "4"), ("8", "4"), ("3", "3"), ("12", "12")])
def test_threads_of_started_processes_are_their_share_or_what_the_user_asked_for(
    asked: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if asked:
        monkeypatch.setenv(THREADS, asked)
    share_cores(2)
    assert os.environ[THREADS] == expected


def test_the_command_line_sets_what_the_user_has_not() -> None:
    with mock.patch.dict(os.environ):
        selfsyn_here("--version")
        assert {name: os.environ[name] for name in openmp()} == openmp()
    with mock.patch.dict(os.environ, {THREADS: "5"}):
        selfsyn_here("--version")
        assert os.environ[THREADS] == "5"


def test_torch_starts_as_many_threads_as_there_are_cores() -> None:
    code = (
        "import sys; from selfsyn import cores; cores.usable_cores = lambda: 1; from jobs.__main__ import main; main();"
        " assert 'torch' not in sys.modules; import torch; print(torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1"
