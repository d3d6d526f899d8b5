"""Files that are whole or absent, and digests."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfsyn.errors import FaultError
from selfsyn.files import digest_bytes, digest_file, digest_lines, remove_temporaries, write_atomic, write_json


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
