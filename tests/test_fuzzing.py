"""500 mutated files of all kinds: each is read right, or refused in one line. `python tests/fuzzing.py 20000` reads more."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzzing import GROUPS, LIMIT, MUTATIONS, SECONDS, SHARES, Subject, fault_in, fuzz, made, subjects

FILES = 500


@pytest.mark.parametrize("group", GROUPS)
def test_no_mutated_file_ends_in_a_traceback(group: str) -> None:
    failures, peak, longest = fuzz(group, count=FILES * SHARES[group] // 4, seed=1)
    assert failures == []
    assert peak < LIMIT
    assert longest < SECONDS


@pytest.mark.parametrize("group", GROUPS)
def test_every_reader_reads_its_sound_file(group: str, tmp_path: Path) -> None:
    for place, subject in enumerate(subjects(group)):
        contents = next(iter(subject.files.values()))
        assert made(subject, number=len(MUTATIONS) - 1, seed=0) == contents
        assert fault_in(subject, contents, folder=tmp_path / str(place)) == ""
        subject.read(tmp_path / str(place) / next(iter(subject.files)))


def test_a_traceback_and_wrong_pixels_are_failures(tmp_path: Path) -> None:
    careless = Subject("careless", {"a": b"1"}, lambda path: int(path.read_bytes()), lambda path, value: value == 1)
    assert fault_in(careless, b"1", folder=tmp_path) == ""
    assert "ValueError" in fault_in(careless, b"x", folder=tmp_path)
    assert fault_in(careless, b"2", folder=tmp_path) == "other pixels than OpenCV's"
