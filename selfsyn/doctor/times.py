"""Estimated times of adapting and pseudo-labelling all images on this machine, with their basis."""

from __future__ import annotations

from dataclasses import dataclass

from selfsyn.cores import usable_cores
from selfsyn.doctor.codec import Codec
from selfsyn.doctor.machine import Probe
from selfsyn.doctor.speed import SIDE

NOT_COVERED = "fit-adapter and train are not estimated: their length is set in steps, not by the number of images"


@dataclass(frozen=True)
class Estimate:
    """A job's time. seconds: None if unknown.  says: the estimate and its basis in words."""

    job: str
    images: int
    seconds: float | None
    says: str


def estimates(probe: Probe, *, synthetic: int, real: int, codecs: tuple[Codec | None, Codec | None]) -> list[Estimate]:
    """The times of `adapt`, and of one round of `pseudo-label`, without what has no image.

    codecs: measured on synthetic and on real frames.
    """
    every = (("adapt", synthetic, codecs[0]), ("pseudo-label, each round", real, codecs[1]))
    jobs = [job for job in every if job[1]]
    if probe.speed is None:
        return [_without_net(job, images, codec, why=probe.no_speed) for job, images, codec in jobs]
    speed, cores = probe.speed, usable_cores()
    generator, generator_is = _net(speed.adapt_seconds, speed.device)
    net, net_is = _net(speed.label_seconds, speed.label_device)
    nets = {
        "adapt": (generator, f"the generator ({generator_is})"),
        "pseudo-label, each round": (net, f"the task net ({net_is}; onnxruntime may differ)"),
    }
    return [_estimate(*job, net=nets[job[0]][0], what=nets[job[0]][1], cores=cores) for job in jobs]


def duration(seconds: float) -> str:
    """7300.0 -> '2 h'."""
    unit, name = next((step for step in ((86400, "days"), (3600, "h"), (60, "min")) if seconds >= 2 * step[0]), (1, "s"))
    return f"{seconds / unit:.2g} {name}" if seconds / unit < 100 else f"{seconds / unit:.0f} {name}"


def _net(seconds: float, device: str) -> tuple[float, str]:
    """Seconds of an image with all cores or the GPU, and how they were measured."""
    if device != "cpu":
        return seconds, f"torch on {device}"
    return seconds / usable_cores(), f"torch on one core at {SIDE}x{SIDE}, scaled by area and shared by {usable_cores()} cores"


def _estimate(job: str, images: int, codec: Codec | None, *, net: float, what: str, cores: int) -> Estimate:
    files = codec.seconds / cores if codec else 0.0
    reading = f"{files:.2g} s in reading and writing on {cores} cores" if codec else "without reading and writing"
    total = images * (net + files)
    return Estimate(job, images, total, f"about {duration(total)} for {images} images: each {net:.2g} s in {what}, {reading}")


def _without_net(job: str, images: int, codec: Codec | None, *, why: str) -> Estimate:
    files = f"; reading and writing alone about {duration(images * codec.seconds / usable_cores())}" if codec else ""
    return Estimate(job, images, None, f"unknown for {images} images: the net was not measured ({why}){files}")
