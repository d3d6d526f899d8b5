"""A model repository, as Triton lays it out: segmenter/config.pbtxt and segmenter/N/model.onnx, one folder a version."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from export import contract

MODEL: Final = "model.onnx"
VERSION: Final = re.compile("[1-9][0-9]*")  # what Triton takes for a version; other names are ignored


def model_folder(repository: Path) -> Path:
    """Where the versions of the one model lie."""
    return repository / contract.MODEL_NAME


def model_file(repository: Path, *, version: int) -> Path:
    """The ONNX file of one version."""
    return model_folder(repository) / str(version) / MODEL


def versions(repository: Path) -> list[int]:
    """The versions that are there, ascending; none where the folder is missing. Whether they load is not looked at."""
    try:
        names = [path.name for path in model_folder(repository).iterdir()]
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if VERSION.fullmatch(name))
