"""The machine: installed packages, whether they work, and shared memory."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from selfsyn.doctor.findings import Finding
from selfsyn.doctor.speed import Speed
from selfsyn.packages import installed

RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Probe:
    """Results of other processes, which load large libraries.

    providers: of onnxruntime that load; empty if it cannot be imported.  no_cuda: why CUDA is not among them, or ''.
    speed: of the nets, or None.  no_speed: why it is None, or ''.  fault: why a net of run.toml cannot be built, or ''.
    """

    providers: tuple[str, ...] = ()
    no_cuda: str = ""
    speed: Speed | None = None
    no_speed: str = ""
    fault: str = ""


def faults(probe: Probe) -> list[Finding]:
    """Faults of the machine's packages, and a net that cannot be built."""
    found = [Finding("run.toml", probe.fault)] if probe.fault else []
    runtimes = installed(RUNTIMES)
    if len(runtimes) > 1:
        both = " and ".join(f"{name} {version}" for name, version in runtimes.items())
        remedy = "pip uninstall -y onnxruntime onnxruntime-gpu; pip install onnxruntime-gpu"
        found.append(Finding("machine", f"{both} are both installed and overwrite each other's files", remedy))
    if not probe.providers:
        found.append(Finding("machine", f"onnxruntime does not work here: {probe.no_cuda}", "pip install onnxruntime-gpu"))
    if probe.speed is not None and probe.speed.device != "cpu" and probe.no_cuda:
        what = f"torch computes on {probe.speed.device}, onnxruntime on the CPU: {probe.no_cuda}"
        found.append(Finding("machine", what, "pip install 'onnxruntime-gpu[cuda,cudnn]'", stops=False))
    return found


def described(probe: Probe) -> dict[str, str]:
    """The machine in words, by topic."""
    runtimes = ", ".join(f"{name} {version}" for name, version in installed(RUNTIMES).items()) or "not installed"
    loaded = ", ".join(probe.providers) or "no provider"
    return {
        "torch": _torch(probe),
        "onnxruntime": f"{runtimes}; {loaded} loads" + (f"; no CUDA: {probe.no_cuda}" if probe.no_cuda else ""),
        "shared memory": _shared_memory(),
    }


def _torch(probe: Probe) -> str:
    version = installed(("torch",)).get("torch", "not installed")
    if probe.speed is None:
        return f"{version}; its device is unknown: {probe.no_speed}"
    return f"{version}, {'no CUDA device' if probe.speed.device == 'cpu' else probe.speed.device}"


def _shared_memory() -> str:
    if not SHARED_MEMORY.is_dir():
        return f"no {SHARED_MEMORY}; jobs read with threads and need none"
    return f"{amount(shutil.disk_usage(SHARED_MEMORY).total)} in {SHARED_MEMORY}; jobs read with threads and need none"


def amount(size: float) -> str:
    """1234567890 -> '1.2 GB'."""
    unit, name = next((step for step in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if size >= step[0]), (1.0, "B"))
    return f"{size / unit:.3g} {name}"
