"""A model repository in Triton's layout: segmenter/config.pbtxt and segmenter/N/model.onnx for version N."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from export import contract

MODEL: Final = "model.onnx"
VERSION: Final = re.compile("[1-9][0-9]*")  # Triton's version folders; other names are ignored


def model_folder(repository: Path) -> Path:
    """The folder of the model's versions."""
    return repository / contract.MODEL_NAME


def model_file(repository: Path, *, version: int) -> Path:
    """The ONNX file of one version."""
    return model_folder(repository) / str(version) / MODEL


def versions(repository: Path) -> list[int]:
    """The version numbers in the repository, ascending; none if the folder is missing. Nothing is loaded."""
    try:
        names = [path.name for path in model_folder(repository).iterdir()]
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if VERSION.fullmatch(name))
