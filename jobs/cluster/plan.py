"""Where and how a round runs on a cluster: all inputs of a manifest besides the run's configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jobs.cluster import checks
from selfsyn.errors import InputError

DATA = "/data"  # where the volume is mounted
NAME = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")


@dataclass(frozen=True)
class Plan:
    """Where and how a round runs.

    run: the run's name, and its folder under /data/runs.  version: the tag of the images.  registry: the prefix of their
    names.  device: for phases that take --device; 'cuda' requests a GPU for each.  gpus: of each training, with one process
    for each GPU.  shards: of the labelling.  at_once: shards that may run at the same time.  pack: their labels become one file
    each.  cpu, memory: requests of each phase that takes --device; memory is its limit, too.  configured: the digest of the run's
    configuration, 8 hexadecimal digits.
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
    pack: bool = False
    cpu: str = "500m"
    memory: str = "8Gi"
    configured: str = ""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.run):
            raise InputError(
                f"the run's name is {self.run!r}; expected at most 30 small letters, digits and hyphens, the first a letter:"
                " it becomes part of the names of Jobs"
            )
        checks.check_name("--namespace", self.namespace)
        checks.check_name("--claim", self.claim)
        checks.check_registry(self.registry)
        checks.check_tag(self.version)
        checks.check_cpu(self.cpu)
        checks.check_memory(self.memory)
        if self.device == "cpu" and self.gpus > 1:
            raise InputError(
                f"got --gpus {self.gpus} with --device cpu; expected --device cuda, because on a CPU a training is one process"
            )

    @property
    def folder(self) -> str:
        """The path of the run folder inside the containers."""
        return f"{DATA}/runs/{self.run}"

    def job_name(self, step: str) -> str:
        """The name of a step's Job."""
        return f"{self.run}-{step}"

    def image(self, name: str) -> str:
        """'train' -> 'REGISTRY/selfsyn-train:0.1.0'."""
        return f"{self.registry.rstrip('/')}/".lstrip("/") + f"selfsyn-{name}:{self.version}"

    @property
    def coordinator(self) -> str:
        """The name of the coordinator's Job, account and role."""
        return f"{self.run}-coordinator-{self.round_}"

    @property
    def configuration(self) -> str:
        """The name of the config map. It is immutable, so another configuration gets another name."""
        return f"{self.run}-configuration-{self.round_}-{self.configured}"
