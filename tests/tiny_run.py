"""A run that is complete and takes seconds: the whole flow on a handful of small frames."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

from jobs.__main__ import main

SETTINGS = (
    "size=[64, 48]",
    "world.engine=6",
    "world.camera=5",
    "world.held_out=3",
    "adapter.steps=6",
    "adapter.crop=32",
    "adapter.generator_channels=4",
    "adapter.generator_blocks=1",
    "adapter.discriminator_channels=4",
    "adapter.checkpoint_every=2",
    "task.decoder_channels=8",
    "train.steps=6",
    "train.oracle_steps=6",
    "rounds.steps=6",
    "train.batch=2",
    "train.warmup_steps=2",
    "train.checkpoint_every=2",
)


def selfsyn(*arguments: object, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a verb as a user does, with the output caught."""
    return subprocess.run(
        command_line(*arguments), capture_output=True, text=True, timeout=timeout, env={**os.environ, **environment}, check=False
    )


def selfsyn_here(*arguments: object) -> tuple[int, str]:
    """Run a verb in this process, -> exit code and what it said on stderr: a user's mistake needs no new interpreter."""
    said = io.StringIO()
    with mock.patch.object(sys, "argv", ["selfsyn", *map(str, arguments)]), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0), said.getvalue()
    return 0, said.getvalue()


def command_line(*arguments: object) -> list[str]:
    """The command line of a verb."""
    return [sys.executable, "-m", "jobs", *map(str, arguments)]


def make(root: Path, *settings: str, recipe: str = "demo") -> Path:
    """Write the tiny run's run.toml."""
    sets = [part for setting in (*SETTINGS, *settings) for part in ("--set", setting)]
    code, said = selfsyn_here("init", recipe, "--run", root, *sets)
    assert code == 0, said
    return root
