"""Publish a finished teacher as the next version of a model repository, atomically. Never imports torch.

The version is written under a temporary name and then renamed. Renaming to an existing name fails, so two publishers at the same
time get two version numbers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from export import contract
from export.repository import model_file, model_folder, versions
from selfsyn.errors import FaultError, InputError
from selfsyn.files import TEMPORARY, digest_bytes, digest_file, write_atomic
from selfsyn.manifest import finished_manifest

# Older drafts were left by killed publishers.
ABANDONED_SECONDS: Final = 24 * 3600


@dataclass(frozen=True)
class Published:
    """A teacher in a repository. new: whether this call added it.  newest: the highest version of the repository."""

    version: int
    digest: str
    new: bool
    newest: int


def publish(teacher: Path, *, repository: Path) -> Published:
    """Add the finished teacher in a stage's teacher folder to `repository`, which is created if needed.

    A model that the repository already holds is not added again. An existing config.pbtxt is kept.
    NotReadyError without the teacher's manifest, InputError when its files changed, FaultError when nothing can be written.
    """
    files = finished_files(teacher)
    digest = digest_bytes(files[contract.MODEL_FILE])
    folder = model_folder(repository)
    configuration = repository / contract.CONFIGURATION_FILE
    if not configuration.exists():
        write_atomic(configuration, contract.triton_configuration().encode())
    _remove_abandoned(folder)
    draft = folder / f"{TEMPORARY}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        return _added(draft, files, digest=digest, repository=repository)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def finished_files(teacher: Path) -> dict[str, bytes]:
    """{path below `teacher`: bytes} of the version folder's files, checked against the manifest."""
    manifest = finished_manifest(teacher, verb="export-teacher")
    folder = (teacher / contract.MODEL_FILE).parent
    try:
        paths = [path for path in sorted(folder.iterdir()) if not path.name.startswith(TEMPORARY)]
        files = {str(path.relative_to(teacher)): path.read_bytes() for path in paths}
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); export the teacher again with --force") from error
    listed = {name: digest for name, digest in manifest["outputs"].items() if name in files} | {
        contract.MODEL_FILE: manifest["outputs"][contract.MODEL_FILE]
    }
    for name, digest in listed.items():
        if name not in files or digest_bytes(files[name]) != digest:
            raise InputError(f"{teacher / name}: not the file that its manifest lists; put it back or export again with --force")
    return files


def _added(draft: Path, files: dict[str, bytes], *, digest: str, repository: Path) -> Published:
    size = len(files[contract.MODEL_FILE])
    while True:
        there = versions(repository)
        for version in there:
            if _holds(model_file(repository, version=version), digest=digest, size=size):
                return Published(version, digest, new=False, newest=there[-1])
        if not draft.exists():
            for name, data in files.items():
                write_atomic(draft / Path(name).name, data)
        version = there[-1] + 1 if there else 1
        if _renamed(draft, draft.with_name(str(version))):
            return Published(version, digest, new=True, newest=version)


def _holds(path: Path, *, digest: str, size: int) -> bool:
    try:
        return path.stat().st_size == size and digest_file(path) == digest
    except OSError:  # no model there: it is not ours
        return False


def _renamed(draft: Path, target: Path) -> bool:
    """Whether the draft now has its final name; False when another publisher took it."""
    try:
        draft.rename(target)
    except OSError as error:
        if target.exists():
            return False
        raise FaultError(f"{target}: cannot be written ({error.strerror}); check the folder and publish again") from error
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True


def _remove_abandoned(folder: Path) -> None:
    for leftover in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
