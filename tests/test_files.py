"""Files that are whole or absent, and digests."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from selfsyn import checkpoint
from selfsyn.errors import FaultError
from selfsyn.files import digest_bytes, digest_file, digest_lines, remove_temporaries, stream_atomic, write_atomic, write_json


def test_write_replaces_the_whole_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomic(path, b"first, longer")
    write_atomic(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "text")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(FaultError, match="file: cannot be written") as failure:
        write_atomic(tmp_path / "file", b"x")
    assert "\n" not in str(failure.value)


def test_digests_of_known_bytes(tmp_path: Path) -> None:
    # sha256 of "abc", FIPS 180-2 appendix B.1
    known = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "abc").write_bytes(b"abc")
    assert digest_bytes(b"abc") == digest_file(tmp_path / "abc") == known
    assert digest_lines(["a", "b"]) == digest_bytes(b"a\nb\n") != digest_lines(["b", "a"])


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_what_killed_attempts_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".tmp-1-x").write_bytes(b"half")
    (tmp_path / "keep").write_bytes(b"whole")
    remove_temporaries(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["keep"]


WRITER = """
import sys, time
from pathlib import Path
from selfsyn.files import stream_atomic
folder = Path(sys.argv[1])
with stream_atomic(folder / "deep/index.jsonl") as stream:
    stream.write(b"half,")
    stream.flush()
    print("writing", flush=True)
    sys.stdin.readline()
    stream.write(b" whole")
"""


@contextmanager
def writing(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has written half of folder/deep/index.jsonl, and ends it after a line on its stdin."""
    command = [sys.executable, "-c", WRITER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
        yield process
        process.kill()


def test_an_attempt_that_finishes_leaves_the_temporary_files_of_one_that_runs(tmp_path: Path) -> None:
    with writing(tmp_path) as process:
        with stream_atomic(tmp_path / "deep/own") as ours:
            ours.write(b"x")
            remove_temporaries(tmp_path)
        remove_temporaries(tmp_path)
        process.communicate("end\n", timeout=60)
        assert process.returncode == 0
    assert (tmp_path / "deep/index.jsonl").read_bytes() == b"half, whole"
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["index.jsonl", "own"]


def test_the_temporary_files_of_a_killed_attempt_are_removed(tmp_path: Path) -> None:
    with writing(tmp_path) as process:
        process.kill()
        process.wait(60)
        assert len(list((tmp_path / "deep").iterdir())) == 1
        remove_temporaries(tmp_path)
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_leftover_is_never_locked_between_being_made_and_being_removed(tmp_path: Path) -> None:
    """Many writers against a process that removes leftovers all the time: no write is lost."""
    stop = threading.Event()

    def remove() -> None:
        while not stop.is_set():
            remove_temporaries(tmp_path)

    with ThreadPoolExecutor(3) as threads:
        removing = threads.submit(remove)
        try:
            list(threads.map(lambda number: write_atomic(tmp_path / str(number), b"%d" % number), range(1000)))
        finally:
            stop.set()
        removing.result()
    assert [(tmp_path / str(number)).read_bytes() for number in range(1000)] == [b"%d" % number for number in range(1000)]


@pytest.mark.parametrize(("age", "left"), [(60, 1), (7200, 0)])
def test_without_locks_only_old_temporary_files_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: float, left: int
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no locks here")

    monkeypatch.setattr("fcntl.flock", unsupported)
    write_atomic(tmp_path / "whole", b"x")
    (tmp_path / ".tmp-1-x").write_bytes(b"half")
    written = time.time() - age
    os.utime(tmp_path / ".tmp-1-x", (written, written))
    remove_temporaries(tmp_path)
    assert len(list(tmp_path.glob(".tmp-*"))) == left and (tmp_path / "whole").exists()


@pytest.mark.parametrize("fault", [OSError(5, "Input/output error"), MemoryError()])
def test_a_fault_of_the_machine_does_not_condemn_a_checkpoint(
    fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **__: object) -> None:
        raise fault

    (tmp_path / "checkpoint.pt").write_bytes(b"whole")
    monkeypatch.setattr("torch.load", load)
    with pytest.raises(type(fault)):
        checkpoint.load(tmp_path / "checkpoint.pt", configuration=None)
