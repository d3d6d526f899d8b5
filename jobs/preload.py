"""What the server behind `selfsyn round` imports before it forks phases (jobs.running). Nothing else imports this.

Only libraries, and our modules that import them: nothing here may compute, start a thread or touch CUDA, for a fork would
not survive it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from importlib import import_module
from types import FrameType

from selfsyn.stopping import EXIT_CODE

# No onnxruntime: its import starts a thread.
MODULES = (
    "selfsyn.task.stages",
    "selfsyn.adapter.adapt",
    "selfsyn.adapter.fit",
    "export.graph",
    "export.to_onnx",
    "onnxscript",
)
PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SERVER = os.getpid()


def _outlive(number: int, frame: FrameType | None) -> None:
    # A SIGTERM to all processes at once: the phase needs the time for its checkpoint, and somebody to take its exit code.
    if os.getpid() != _SERVER:
        os._exit(EXIT_CODE)


# A killed round leaves no server behind; without this it would stay until the phase that goes on has ended.
with contextlib.suppress(AttributeError):  # Linux alone has it
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
signal.signal(signal.SIGTERM, _outlive)
_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the round and its phase
for name in MODULES:
    with contextlib.suppress(Exception):  # the phase that needs it says so
        import_module(name)
signal.signal(signal.SIGINT, _interrupt)
