"""`selfsyn k8s`: prints the manifest of a round, and the progress of a run on a cluster."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import click

from jobs.options import run_name_option, set_option
from selfsyn.errors import InputError


@click.group()
def command() -> None:
    """Run rounds on a Kubernetes cluster.

    `selfsyn k8s render` prints the manifest of a round, `selfsyn k8s status --run NAME` shows the progress of a run.
    """


@command.command()
@click.option(
    "--round", "round_", type=click.IntRange(1), default=1, show_default=True, help="Round 1 includes the phases before it."
)
@run_name_option
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="The run's run.toml. Default: the built-in street world."
)
@set_option
@click.option("--namespace", default="selfsyn", show_default=True, help="The namespace of k8s/storage.yaml.")
@click.option("--claim", default="selfsyn", show_default=True, help="The volume claim with the run and the data.")
@click.option("--registry", default="", help="The registry of the images, for example ghcr.io/somebody.")
@click.option("--tag", default=None, help="The tag of the images. Default: this program's version.")
@click.option(
    "--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True, help="cuda requests a GPU for each phase."
)
@click.option(
    "--gpus", type=click.IntRange(1), default=1, show_default=True, help="GPUs of each training, with one process for each."
)
@click.option(
    "--shards", type=click.IntRange(1, 100_000), default=4, show_default=True, help="Number of shards of the labelling."
)
@click.option("--at-once", type=click.IntRange(1), default=2, show_default=True, help="How many shards may run at the same time.")
@click.option("--cpu", default="500m", show_default=True, help="CPU request of each phase that takes --device.")
@click.option("--memory", default="8Gi", show_default=True, help="Memory request and limit of each of them.")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["jobs", "argo"]),
    default="jobs",
    show_default=True,
    help="argo: an Argo Workflow, which needs no coordinator.",
)
def render(
    round_: int,
    run_name: str,
    config: Path | None,
    settings: tuple[str, ...],
    namespace: str,
    claim: str,
    registry: str,
    tag: str | None,
    device: str,
    gpus: int,
    shards: int,
    at_once: int,
    cpu: str,
    memory: str,
    kind: str,
) -> None:
    """Print the manifest of one round, for `kubectl apply --server-side -f -`."""
    from jobs.cluster import argo, manifests
    from jobs.cluster.plan import Plan
    from selfsyn import config as configuration
    from selfsyn import recipes

    values = recipes.read(str(config) if config else "demo")
    loaded = configuration.from_mapping(configuration.with_settings(values, settings))
    plan = Plan(
        run=run_name,
        round_=round_,
        version=tag or importlib.metadata.version("selfsyn"),
        namespace=namespace,
        claim=claim,
        registry=registry,
        device=device,
        gpus=gpus,
        shards=shards,
        at_once=at_once,
        cpu=cpu,
        memory=memory,
        configured=manifests.digest(loaded),
    )
    click.echo({"jobs": manifests.render, "argo": argo.render}[kind](loaded, plan=plan), nl=False)


@command.command()
@run_name_option
@click.option("--round", "round_", type=click.IntRange(1), help="Show one round. Default: all rounds on the cluster.")
@click.option("--namespace", default=None, help="Default: the namespace of the current context.")
def status(run_name: str, round_: int | None, namespace: str | None) -> None:
    """Print the phases of a run as a table: state, tries, time. Exit code 3 when a phase has failed."""
    from jobs.cluster.api import Cluster
    from jobs.cluster.table import table

    phases = Cluster(namespace=namespace).phases(run=run_name, round_=round_)
    if not phases:
        raise InputError(f"found no phase of run {run_name!r} in this namespace; apply the output of `selfsyn k8s render` first")
    click.echo(table(phases))
    if any(phase.state == "failed" for phase in phases):
        raise SystemExit(3)
