"""The served version: the highest in the repository that loads. A newer one takes over between two requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.repository import model_file, model_folder, versions
from export.teacher import Teacher
from selfsyn.errors import FaultError, InputError, NotReadyError
from selfsyn.progress import say

Stamp = tuple[int, int, int] | None


@dataclass(frozen=True)
class Model:
    """A loaded version. stamp: time, size and inode of its file, to notice a replaced file."""

    version: int
    teacher: Teacher
    stamp: Stamp

    def warm_up(self) -> None:
        """Run a black image: the first run is slow, and it fails if the device does not work."""
        width, height = self.teacher.size
        self.teacher.predict(np.zeros((self.teacher.batch, height, width, 3), np.uint8))


class Models:
    """`current` answers new requests. `refresh` looks for a newer version; running requests keep their model."""

    def __init__(
        self, repository: Path, *, load: Callable[[Path], Teacher], refused: Callable[[], Any], served: Callable[[Model], Any]
    ) -> None:
        """load: a model's file -> the teacher, on its device.  refused, served: called for versions that fail, or are served."""
        self.repository = repository
        self.current: Model | None = None
        self._load, self._refused, self._served = load, refused, served
        self._broken: dict[int, Stamp] = {}
        self._trouble = ""

    def refresh(self) -> None:
        """Serve the highest version that loads. Blocks while it loads; call it from one thread at a time.

        A version that does not load is logged as refused, and tried again when its file changes.
        """
        for version in reversed(self._versions()):
            path = model_file(self.repository, version=version)
            stamp = _stamp(path)
            if self.current is not None and (self.current.version, self.current.stamp) == (version, stamp):
                return
            if version in self._broken and self._broken[version] == stamp:
                continue
            model = self._loaded(path, version=version, stamp=stamp)
            if model is not None:
                self.current = model
                self._served(model)
                say(f"serving version {version}, {model.teacher.digest}, on {model.teacher.provider}")
                return

    def first(self) -> Model:
        """The first model. NotReadyError when the repository holds no version, InputError when none loads."""
        if not self._versions():
            raise NotReadyError(
                f"{model_folder(self.repository)}: no version; run `selfsyn publish --to {self.repository}` first"
            )
        self.refresh()
        if self.current is None:
            raise InputError(f"{model_folder(self.repository)}: none of its versions can be served; the reasons are above")
        return self.current

    def _versions(self) -> list[int]:
        try:
            found, trouble = versions(self.repository), ""
        except OSError as error:  # a network volume may come back: the loaded model stays
            found, trouble = [], f"{model_folder(self.repository)}: cannot be read ({error.strerror}); trying again"
        if trouble and trouble != self._trouble:
            say(trouble)
        self._trouble = trouble
        return found

    def _loaded(self, path: Path, *, version: int, stamp: Stamp) -> Model | None:
        try:
            model = Model(version, self._load(path), stamp)
            model.warm_up()
            model.teacher.check()
        except Exception as error:  # whatever is wrong with a new version, the old one stays
            reason = str(error) if isinstance(error, InputError | FaultError) else f"{type(error).__name__}: {error}"
            say(f"version {version} is refused: {' '.join(reason.split())}")
            self._broken[version] = stamp
            self._refused()
            return None
        return model


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
