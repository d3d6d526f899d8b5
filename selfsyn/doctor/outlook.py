"""The outlook of a run on this machine: do the packages work, how long will it take, is the disk large enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfsyn.config import RunConfig
from selfsyn.doctor import codec, machine, room
from selfsyn.doctor.findings import Finding
from selfsyn.doctor.listing import Listing
from selfsyn.doctor.machine import Probe
from selfsyn.doctor.times import NOT_COVERED, Estimate, estimates
from selfsyn.errors import InputError
from selfsyn.layout import Layout


@dataclass(frozen=True)
class Outlook:
    """machine: words by topic.  to_write: bytes of each unfinished part of the run."""

    machine: dict[str, str]
    to_write: dict[str, int]
    estimates: tuple[Estimate, ...]
    findings: tuple[Finding, ...]

    @property
    def lines(self) -> list[str]:
        """A line for each topic."""
        width = max(len(topic) for topic in (*self.machine, *(estimate.job for estimate in self.estimates)))
        rows = [*self.machine.items(), *((estimate.job, estimate.says) for estimate in self.estimates), ("", NOT_COVERED)]
        return [f"{topic.ljust(width)}  {says}" for topic, says in rows]


def foreseen(layout: Layout, config: RunConfig, listings: Sequence[Listing], probe: Probe) -> Outlook:
    """The outlook of a run on its listed data and this machine; reads a few frames."""
    parts = [[listing for listing in listings if listing.role.where.startswith(part)] for part in ("synthetic ", "real ")]
    synthetic, real = (sum(len(listing.images) or listing.to_come for listing in part) for part in parts)
    on_synthetic, on_real = (codec.measured(part, size=config.size) for part in parts)
    to_write = room.to_write(layout, config, synthetic=synthetic, real=real, codec=on_synthetic, speed=probe.speed)
    findings = (*_weights(layout, config), *_warm_up(config), *machine.faults(probe), *room.lacking(layout, to_write))
    topics = machine.described(probe) | {"free disk": room.described(layout, to_write, last=config.last_round)}
    times = estimates(probe, synthetic=synthetic if config.rounds.adapted else 0, real=real, codecs=(on_synthetic, on_real))
    return Outlook(topics, to_write, tuple(times), findings)


def _weights(layout: Layout, config: RunConfig) -> list[Finding]:
    try:
        for net in config.nets:
            net.weights_file(layout.root)
    except InputError as error:
        return [Finding("run.toml", str(error))]
    return []


def _warm_up(config: RunConfig) -> list[Finding]:
    """A note for each schedule that ends before its warm-up does."""
    train = config.train
    schedules = {"train.steps": train.steps, "train.oracle_steps": train.oracle_steps}
    return [
        Finding(
            "run.toml",
            f"{key} is {steps}, train.warmup_steps is {train.warmup_steps}: the learning rate never reaches its peak",
            "set train.warmup_steps lower",
            stops=False,
        )
        for key, steps in schedules.items()
        if 0 < steps <= train.warmup_steps
    ]
