"""Checkpoints: written atomically, loaded only with the configuration that wrote them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from selfsyn.errors import InputError
from selfsyn.files import write_atomic


def save(path: Path, state: dict[str, Any], *, configuration: str) -> None:
    """Write `state` (tensors, numbers, strings, lists and dicts of them) atomically, with the configuration's TOML text."""
    buffer = io.BytesIO()
    torch.save({"configuration": configuration, "state": state}, buffer)
    write_atomic(path, buffer.getvalue())


def load(path: Path, *, configuration: str | None) -> dict[str, Any] | None:
    """The state saved at `path`, on the CPU; None when there is none. InputError for another configuration's state.

    configuration: None accepts any, for a finished phase, whose manifest has its configuration.
    """
    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        wrote, state = saved["configuration"], dict(saved["state"])
    except (OSError, MemoryError):  # a fault of the machine: the checkpoint may be whole
        raise
    except Exception as error:  # a damaged file may make torch raise anything
        raise InputError(f"{path}: not a checkpoint ({type(error).__name__}); start this phase over with --force") from error
    if configuration is not None and wrote != configuration:
        raise InputError(f"{path}: written with another configuration; restore run.toml or start over with --force")
    return state
