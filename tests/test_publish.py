"""publish through the command line: versions, no-ops, several publishers at once, kills."""

from __future__ import annotations

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from tiny_run import command_line, make, selfsyn_here
from tiny_teacher import constant_onnx, tiny_onnx, write_teacher

from export import contract
from export.publish import ABANDONED_SECONDS, publish
from export.repository import model_file, versions
from export.teacher import Teacher
from selfsyn.files import digest_bytes, digest_file


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with finished teachers of rounds 0 and 1."""
    root = make(tmp_path / "run")
    for round_ in (0, 1):
        write_teacher(root / f"round-{round_}/teacher", tiny_onnx(seed=round_))
    return root


def publishing(run: Path, round_: int, repository: Path) -> tuple[int, str]:
    return selfsyn_here("publish", "--run", run, "--round", round_, "--to", repository)


def entries(repository: Path) -> list[str]:
    return sorted(str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file())


def test_rounds_become_versions_one_after_another(run: Path, tmp_path: Path) -> None:
    repository = tmp_path / "new/repository"
    for round_, version in ((0, 1), (1, 2)):
        code, said = publishing(run, round_, repository)
        assert code == 0 and f"round-{round_}'s teacher {digest_bytes(tiny_onnx(seed=round_))} is now version {version}" in said
        assert model_file(repository, version=version).read_bytes() == tiny_onnx(seed=round_)
    assert entries(repository) == ["segmenter/1/model.onnx", "segmenter/2/model.onnx", "segmenter/config.pbtxt"]
    assert (repository / contract.CONFIGURATION_FILE).read_text() == contract.triton_configuration()
    assert Teacher(model_file(repository, version=2), device="cpu").metadata.stage == "round-0"


def test_the_same_model_again_is_no_new_version_and_says_so(run: Path, tmp_path: Path) -> None:
    for round_ in (0, 1):
        publishing(run, round_, tmp_path / "repository")
    before = entries(tmp_path / "repository")
    code, said = publishing(run, 1, tmp_path / "repository")
    assert code == 0 and "already done" in said and "version 2" in said and "newest" not in said
    code, said = publishing(run, 0, tmp_path / "repository")
    assert code == 0 and "already done" in said and "version 1 of" in said and "the newest is version 2" in said
    assert entries(tmp_path / "repository") == before


def test_numbers_go_on_after_the_highest_and_other_names_are_left_alone(run: Path, tmp_path: Path) -> None:
    for name in ("7", "007", "backup", "12.old"):
        (tmp_path / "segmenter" / name).mkdir(parents=True)
    (tmp_path / "segmenter/config.pbtxt").write_text('name: "segmenter" # tuned by hand\n')
    assert publishing(run, 0, tmp_path)[0] == 0
    assert versions(tmp_path) == [7, 8]
    assert "tuned by hand" in (tmp_path / "segmenter/config.pbtxt").read_text()


def test_what_lies_beside_the_model_goes_with_it(run: Path, tmp_path: Path) -> None:
    (run / "round-0/teacher/segmenter/1/golden.png").write_bytes(b"picture")
    (run / "round-0/teacher/segmenter/1/.tmp-1-model.onnx").write_bytes(b"half")
    assert publishing(run, 0, tmp_path / "repository")[0] == 0
    assert entries(tmp_path / "repository") == ["segmenter/1/golden.png", "segmenter/1/model.onnx", "segmenter/config.pbtxt"]


def test_an_unfinished_teacher_is_not_published(run: Path, tmp_path: Path) -> None:
    (run / "round-0/teacher/manifest.json").unlink()
    code, said = publishing(run, 0, tmp_path / "repository")
    assert code == 3 and f"run `selfsyn export-teacher --run {run} --round 0` first" in said and len(said.splitlines()) == 1
    assert not (tmp_path / "repository").exists()


def test_a_teacher_that_changed_after_its_manifest_is_not_published(run: Path, tmp_path: Path) -> None:
    (run / "round-0/teacher" / contract.MODEL_FILE).write_bytes(constant_onnx(label=0, confidence=255))
    code, said = publishing(run, 0, tmp_path / "repository")
    assert code == 2 and "not the file that its manifest lists" in said and len(said.splitlines()) == 1
    assert not (tmp_path / "repository").exists()


def test_a_repository_that_cannot_be_written_is_one_line(run: Path, tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository/segmenter").write_text("a file")
    code, said = publishing(run, 0, tmp_path / "repository")
    assert code == 1 and "segmenter" in said and len(said.splitlines()) == 1


def test_a_dry_run_writes_nothing(run: Path, tmp_path: Path) -> None:
    code, _ = selfsyn_here("publish", "--run", run, "--round", 0, "--to", tmp_path / "repository", "--dry-run")
    assert code == 0 and not (tmp_path / "repository").exists()


def test_many_publishers_at_once_never_share_a_version(tmp_path: Path) -> None:
    models = [tiny_onnx(seed=seed) for seed in range(4)] * 2
    for position, model in enumerate(models):
        write_teacher(tmp_path / str(position), model)
    for attempt in range(5):
        repository, together = tmp_path / f"repository-{attempt}", Barrier(len(models))

        def one(position: int, repository: Path = repository, together: Barrier = together) -> int:
            together.wait()
            return publish(tmp_path / str(position), repository=repository).version

        with ThreadPoolExecutor(len(models)) as pool:
            got = list(pool.map(one, range(len(models))))
        published = {version: digest_file(model_file(repository, version=version)) for version in versions(repository)}
        assert [published[version] for version in got] == [digest_bytes(model) for model in models]
        assert not list((repository / "segmenter").glob(".tmp-*"))


def killed_while_it_writes(run: Path, repository: Path) -> bool:
    """Start to publish, kill it as soon as it writes; whether that was in the middle."""
    folder = repository / "segmenter"
    process = subprocess.Popen(command_line("publish", "--run", run, "--round", 0, "--to", repository))
    while not list(folder.glob(".tmp-*/*")) and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    process.wait()
    return bool(list(folder.glob(".tmp-*")))


def test_a_killed_publish_leaves_nothing_that_looks_finished(run: Path, tmp_path: Path) -> None:
    model = constant_onnx(label=1, confidence=255) + bytes(64_000_000)  # long enough to be killed in the middle
    write_teacher(run / "round-0/teacher", model)
    for attempt in range(10):  # a busy machine may look too late
        repository = tmp_path / f"repository-{attempt}"
        if killed_while_it_writes(run, repository):
            break
        assert digest_file(model_file(repository, version=1)) == digest_bytes(model)
    else:
        pytest.fail("it was never killed in the middle")
    assert versions(repository) == []
    assert publishing(run, 0, repository)[0] == 0
    assert digest_file(model_file(repository, version=1)) == digest_bytes(model)


def test_drafts_of_killed_publishers_are_removed_after_a_day(run: Path, tmp_path: Path) -> None:
    old, young = (tmp_path / "segmenter" / name for name in (".tmp-1-old", ".tmp-2-young"))
    for draft in (old, young):
        draft.mkdir(parents=True)
        (draft / "model.onnx").write_bytes(b"half")
    os.utime(old, (time.time() - ABANDONED_SECONDS - 60,) * 2)
    assert publishing(run, 0, tmp_path)[0] == 0
    assert not old.exists() and young.exists()
