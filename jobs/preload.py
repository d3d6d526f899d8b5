"""The imports of the fork server behind `selfsyn round` (jobs.running). Only the fork server imports this module.

Imports libraries and our modules that use them. Nothing here may compute, start a thread or initialise CUDA, because
forked processes would then fail.
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
    # If SIGTERM reaches all processes at once, the server stays: the phase writes its checkpoint and reports its exit code.
    if os.getpid() != _SERVER:
        os._exit(EXIT_CODE)


# The server dies with the round. Otherwise it would stay until its last phase has ended.
with contextlib.suppress(AttributeError):  # only Linux has prctl
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
signal.signal(signal.SIGTERM, _outlive)
_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C must not stop the imports; the round and its phase handle it
for name in MODULES:
    with contextlib.suppress(Exception):  # the phase that needs the module reports the error
        import_module(name)
signal.signal(signal.SIGINT, _interrupt)
