"""Where and how a round runs on a cluster: everything that a manifest depends on beside the run's configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass

from selfsyn.errors import InputError

DATA = "/data"  # where the containers see the volume
NAME = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")


@dataclass(frozen=True)
class Plan:
    """Where and how a round runs.

    run: the run's name, and its folder under /data/runs.  version: the images' tag.  registry: what stands before an image's
    name.  device: of the phases that compute; 'cuda' asks for one GPU each.  shards, at_once: Jobs' indexes of the labelling,
    and how many of them may run at a time.  gpus: of a training, which has a process for each.  cpu, memory: what a phase that
    computes requests; memory is its limit, too.
    """

    run: str
    round_: int
    version: str
    namespace: str = "selfsyn"
    claim: str = "selfsyn"
    registry: str = ""
    device: str = "cuda"
    gpus: int = 1
    shards: int = 4
    at_once: int = 2
    cpu: str = "500m"
    memory: str = "8Gi"

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.run):
            raise InputError(
                f"the run's name is {self.run!r}; expected at most 30 small letters, digits and hyphens, a letter first:"
                " it becomes part of the names of Jobs"
            )

        if self.device == "cpu" and self.gpus > 1:
            raise InputError(f"--gpus {self.gpus} with --device cpu: expected one of them; on a CPU a training is one process")

    @property
    def folder(self) -> str:
        """The run folder, as the containers see it."""
        return f"{DATA}/runs/{self.run}"

    def job_name(self, step: str) -> str:
        """The name of a step's Job."""
        return f"{self.run}-{step}"

    def image(self, name: str) -> str:
        """'train' -> 'selfsyn-train:0.1.0', after the registry."""
        return f"{self.registry.rstrip('/')}/".lstrip("/") + f"selfsyn-{name}:{self.version}"

    @property
    def coordinator(self) -> str:
        """The name of the coordinator's Job, account and role."""
        return f"{self.run}-coordinator-{self.round_}"

    @property
    def configuration(self) -> str:
        """The name of the config map."""
        return f"{self.run}-configuration-{self.round_}"
