"""A fork server that has imported torch, as that of `selfsyn round`: processes forked from it start at once.

Imports nothing heavy, so that a part can start the server before its own imports.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

from jobs.running import PRELOADED


def context() -> ForkServerContext:
    """The context that makes such processes."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(list(PRELOADED))
    return found


def start() -> None:
    """Start the server without waiting for its imports."""
    context()
    forkserver.ensure_running()
