"""What every part of the suite is told."""

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
    """folder: of the results.  rehearse: tiny sizes on the CPU.  prepare: only what needs no GPU."""

    folder: Path
    rehearse: bool
    prepare: bool

    @property
    def device(self) -> str:
        """'cuda', or 'cpu' in a rehearsal. InputError without a GPU."""
        if not self.rehearse and not torch.cuda.is_available():
            raise InputError(f"torch {torch.__version__} sees no CUDA device; expected a GPU; --rehearse needs none")
        return "cpu" if self.rehearse else "cuda"


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """Fill a folder under another name; it gets its own when the body is through, so a killed part leaves no half of it."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    yield part
    part.rename(folder)


def arguments(words: str | None) -> Given:
    """The command line of a part. words: its help."""
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--prepare", action="store_true")
    given = parser.parse_args()
    return Given(given.folder.resolve(), rehearse=given.rehearse, prepare=given.prepare)
