"""Runs each phase as a separate process, with the command that a cluster would run.

Importing torch takes most of the time of a short phase. So phases are forked by a server (multiprocessing's fork server)
that has imported the libraries once (jobs.preload) and does nothing else: no computation, no thread, no CUDA. A forked phase
behaves as `selfsyn VERB` in a new interpreter: it has its own process id, signals, exit code, standard output and error.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from types import FrameType

from selfsyn import progress
from selfsyn.errors import FaultError
from selfsyn.flow import Phase
from selfsyn.packages import require
from selfsyn.progress import say

PRELOADED = ("jobs.preload",)
OF_MEMORY = " (too little memory is the usual reason)"
SERVER_DIED = 255  # multiprocessing's exit code of a phase whose server has died

_served = False  # whether this process has started a server

Process = ForkServerProcess | subprocess.Popen[bytes]


def start_server(todo: Sequence[Phase]) -> None:
    """Start the server's import of torch while the first phases run, if a phase of `todo` needs torch.

    ModuleNotFoundError when torch is not installed.
    """
    if any(phase.facts.needs_torch for phase in todo):
        require("torch")  # before phases without torch have run
        with contextlib.suppress(OSError):  # `_forked` reports it
            _server()
            forkserver.ensure_running()


def run_phase(root: Path, phase: Phase, *, device: str, workers: int | None, count: int = 1) -> None:
    """Run one phase of the run at `root`; exit with its code if it fails. Passes SIGTERM on to it."""
    arguments = [phase.verb, "--run", str(root), *phase.arguments, *_where(phase, device, workers, count)]
    # torchrun needs new interpreters. A first phase without torch gets one too, so that it does not wait for the imports.
    forks = phase.facts.needs_torch or (_served and bool(phase.needs))
    forks = forks and "--processes" not in arguments
    code = _ended(lambda: _forked(arguments) if forks else _started(arguments))
    if code:
        ended = f"killed by signal {-code}{OF_MEMORY if code == -signal.SIGKILL else ''}" if code < 0 else f"exit code {code}"
        say(f"{phase.name}: {ended}; run the same command again to continue")
        raise SystemExit(code if code > 0 else 128 - code)


def _where(phase: Phase, device: str, workers: int | None, count: int) -> list[str]:
    found = ["--device", device] if phase.facts.device else []
    found += ["--workers", str(workers)] if phase.facts.workers and workers is not None else []
    return [*found, "--processes", str(count)] if phase.facts.processes and count > 1 else found


def _started(arguments: Sequence[str]) -> Process:
    """`selfsyn ARGUMENTS` in a new interpreter."""
    return subprocess.Popen([sys.executable, "-m", "jobs", *arguments])


def _forked(arguments: Sequence[str]) -> Process:
    """`selfsyn ARGUMENTS` as a fork of the server, which is started if needed; in a new interpreter if that fails."""
    process = _server().Process(target=run_verb, args=(arguments, progress.clock()), name="selfsyn")
    try:
        process.start()
    except (OSError, EOFError) as error:
        say(f"cannot start the fork server ({error or type(error).__name__}); each phase starts a new interpreter instead")
        return _started(arguments)
    return process


def _server() -> ForkServerContext:
    global _served
    _served = True
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def run_verb(arguments: Sequence[str], clock: float) -> None:
    """Do what `python -m jobs ARGUMENTS` does, in a forked process; ends with its exit code.

    clock: of the process that asks for it, so that one log has one clock.
    """
    from jobs.__main__ import main

    sys.argv[1:] = arguments
    progress.set_clock(clock)
    try:
        main()
    except Exception:
        traceback.print_exc()
        raise SystemExit(FaultError.exit_code) from None


def _ended(start: Callable[[], Process]) -> int:
    """Start a process and wait for its end -> its exit code, negative for a signal.

    Passes SIGTERM on to it, so that it can write its checkpoint.
    """
    process: Process | None = None
    asked = False

    def hand_on(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        if process is not None:
            process.terminate()

    before = signal.signal(signal.SIGTERM, hand_on)
    try:
        process = start()
        if asked:
            process.terminate()
        return _waited(process)
    finally:
        signal.signal(signal.SIGTERM, before)


def _waited(process: Process) -> int:
    if isinstance(process, subprocess.Popen):
        with process:
            return process.wait()
    try:
        process.join()
    finally:
        process.join()  # after Ctrl-C, which the phase receives too: wait until it has written its files
    if process.exitcode == SERVER_DIED and process.pid:
        say("the fork server has died; killing its phase")
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return process.exitcode or 0
