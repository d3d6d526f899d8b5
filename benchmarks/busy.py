"""Time of training steps on busy and on free cores, for several numbers of OpenMP threads and wait policies.

    python benchmarks/busy.py [STEPS [ROUNDS]]

Each case runs STEPS (100) updates of the demo's net in a new process: 8 random images of 192x128 in memory, fp32. The
benchmark repeats all cases ROUNDS (1) times and prints medians, first beside as many spinning processes as there are cores,
then without. Ratios are relative to one thread under the same load. GNU's OpenMP only, as in torch's wheels for Linux.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from selfsyn.cores import THREADS, openmp, usable_cores

# The OpenMP variables of each case; the user's are removed.
CASES = {
    "one thread": {THREADS: "1"},
    "our defaults": openmp(),
    "spins 100000 times": {"GOMP_SPINCOUNT": "100000"},
    "never spins": {"OMP_WAIT_POLICY": "passive"},
}
WARM_UP = 3
# Ends when this process ends, even if it is killed.
SPINNING = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(100_000))"


def main(steps: int = 100, rounds: int = 1) -> None:
    """Print a table for busy and a table for free cores: seconds of each case and its ratio to one thread."""
    with busy_cores():
        show("busy", steps, rounds)
    show("free", steps, rounds)


@contextmanager
def busy_cores() -> Iterator[None]:
    """Keep all cores busy: one spinning process for each core."""
    load = [subprocess.Popen([sys.executable, "-c", SPINNING]) for _ in range(usable_cores())]
    try:
        yield
    finally:
        for process in load:
            process.kill()
            process.wait()


def show(load: str, steps: int, rounds: int) -> None:
    """Print the table for one load."""
    found: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(rounds):
        for case, settings in CASES.items():
            found[case].append(seconds(steps, settings))
    print(f"| {steps} steps on {usable_cores()} {load} cores | seconds | ratio |\n|---|---|---|")
    one = statistics.median(found["one thread"])
    for case, values in found.items():
        middle = statistics.median(values)
        print(f"| {case} | {middle:.1f} | {middle / one:.2f} |", flush=True)


def seconds(steps: int, settings: dict[str, str]) -> float:
    """Seconds of the steps in a new process with these variables."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_"))}
    command = [sys.executable, __file__, "--here", str(steps)]
    done = subprocess.run(command, env=ours | settings, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def seconds_here(steps: int) -> float:
    """Seconds of the steps in this process."""
    import time

    import torch
    import training

    from selfsyn import config as configuration
    from selfsyn import recipes
    from selfsyn.task import build

    torch.manual_seed(0)
    config = configuration.from_mapping(recipes.read("demo"))
    net, data = build(config.task, pretrained=True), training.examples(config.train.batch, config.size)
    step = training.ours(net, data, config, precision="fp32", device=torch.device("cpu"))
    for _ in range(WARM_UP):
        step()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - began


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        print(seconds_here(int(sys.argv[2])))
    else:
        main(*map(int, sys.argv[1:]))
