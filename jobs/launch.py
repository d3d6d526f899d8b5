"""Runs a command as several processes with torchrun's library. Keeps our exit codes; torchrun has only 0 and 1."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import click

from selfsyn.cores import THREADS, share, usable_cores
from selfsyn.stopping import EXIT_CODE
from selfsyn.verbs import VERBS

GRACE = VERBS["train"].grace - 10  # seconds from SIGTERM to the kill, within the pod's
TOLD_APART = (2, 3)  # exit codes for wrong input and for a missing phase: another attempt does not help


def nodes() -> int:
    """The number of machines that must each run this command, from torchrun's variable PET_NNODES."""
    return int(os.environ.get("PET_NNODES", "1"))


def launched(arguments: Sequence[str], *, count: int) -> int:
    """Run `selfsyn ARGUMENTS` as `count` processes on this machine -> one exit code for all.

    When a process fails, the others are stopped. They receive our SIGTERM and have GRACE seconds to end.
    """
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes print their errors themselves
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # hides a warning about find_unused_parameters, which we need
    share_cores(count)
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(GRACE))
    settings = torchrun.parse_args([f"--nproc-per-node={count}", "--max-restarts=0", "-m", "jobs"])
    settings.training_script_args = list(arguments)  # if torchrun parsed them, it would take --run as short for its --run-path
    try:
        torchrun.run(settings)
    except SignalException:
        return EXIT_CODE
    except ChildFailedError as error:
        failures = sorted(error.failures.items(), key=lambda failure: failure[1].timestamp)
        told = ", ".join(f"process {rank} (exit code {failure.exitcode})" for rank, failure in failures)
        click.echo(f"selfsyn: {count} processes on this machine; failed, in order of time: {told}", err=True)
        return exit_code([failure.exitcode for _, failure in failures])
    return 0


def share_cores(count: int) -> None:
    """Set the OpenMP threads of each of `count` processes to its share of the cores, unless the user set another number."""
    # jobs.__main__ sets all cores by default, so this value is not the user's choice.
    if os.environ.get(THREADS) in (None, str(usable_cores())):
        os.environ[THREADS] = str(share(usable_cores(), of=count))


def exit_code(codes: Sequence[int]) -> int:
    """Exit codes of the failed processes, in order of time, negative for signals -> the exit code of the command."""
    telling = [code for code in TOLD_APART if code in codes]
    return telling[0] if telling else codes[0] if codes[0] > 0 else 128 - codes[0]
