"""The command line of every part of the suite."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from selfsyn.errors import InputError

GPU = Path(__file__).resolve().parent
BENCHMARKS = GPU.parent
TESTS = BENCHMARKS.parent / "tests"


@dataclass(frozen=True)
class Given:
    """folder: for the results.  rehearse: use tiny sizes on the CPU.  prepare: do only the work that needs no GPU."""

    folder: Path
    rehearse: bool
    prepare: bool

    @property
    def device(self) -> str:
        """'cuda', or 'cpu' in a rehearsal. InputError without a GPU."""
        if not self.rehearse and not torch.cuda.is_available():
            raise InputError(
                f"torch {torch.__version__} sees no CUDA device; expected a GPU; use --rehearse to run without a GPU"
            )
        return "cpu" if self.rehearse else "cuda"


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder and rename it to `folder` at the end, so that a killed part leaves no incomplete folder."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    yield part
    part.rename(folder)


def arguments(words: str | None) -> Given:
    """Parse the command line of a part. words: its help text."""
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--prepare", action="store_true")
    given = parser.parse_args()
    return Given(given.folder.resolve(), rehearse=given.rehearse, prepare=given.prepare)
