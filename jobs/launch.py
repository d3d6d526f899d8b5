"""The same command as several processes, by torchrun's own machinery, with our exit codes: torchrun itself knows 0 and 1 only."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import click

from selfsyn.cores import THREADS, share, usable_cores
from selfsyn.stopping import EXIT_CODE
from selfsyn.verbs import VERBS

GRACE = VERBS["train"].grace - 10  # seconds from SIGTERM to the kill, within the pod's
TOLD_APART = (2, 3)  # the exit codes by which a process says why nothing will come of it


def nodes() -> int:
    """On how many machines this command runs at once, by torchrun's variable; each of them has to run it."""
    return int(os.environ.get("PET_NNODES", "1"))


def launched(arguments: Sequence[str], *, count: int) -> int:
    """Run `selfsyn ARGUMENTS` as `count` processes on this machine, -> the exit code of all together.

    The first that fails ends the others. SIGTERM is handed on, and they have GRACE seconds.
    """
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes speak for themselves
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # each would warn of find_unused_parameters, which we want
    share_cores(count)
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(GRACE))
    settings = torchrun.parse_args([f"--nproc-per-node={count}", "--max-restarts=0", "-m", "jobs"])
    settings.training_script_args = list(arguments)  # parsed along, our --run would be short for one of its options
    try:
        torchrun.run(settings)
    except SignalException:
        return EXIT_CODE
    except ChildFailedError as error:
        failures = sorted(error.failures.items(), key=lambda failure: failure[1].timestamp)
        told = ", ".join(f"process {rank} with {failure.exitcode}" for rank, failure in failures)
        click.echo(f"selfsyn: of {count} processes on this machine ended first {told}", err=True)
        return exit_code([failure.exitcode for _, failure in failures])
    return 0


def share_cores(count: int) -> None:
    """Give each of `count` processes its share of the cores in OpenMP threads, unless the user asked for another number."""
    # The command line, this one or one that started it, has set all the cores.
    if os.environ.get(THREADS) in (None, str(usable_cores())):
        os.environ[THREADS] = str(share(usable_cores(), of=count))


def exit_code(codes: Sequence[int]) -> int:
    """One for all, from those of the processes that failed, first to last; negative ones are signals."""
    telling = [code for code in TOLD_APART if code in codes]
    return telling[0] if telling else codes[0] if codes[0] > 0 else 128 - codes[0]
