"""`selfsyn k8s`: a round's manifest, and how far a round on a cluster is."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import click

from jobs.options import run_name_option, set_option
from selfsyn.errors import InputError


@click.group()
def command() -> None:
    """Run rounds on a Kubernetes cluster: write a round's manifest, look how far it is (`--run NAME` says of which run)."""


@command.command()
@click.option("--round", "round_", type=click.IntRange(1), default=1, show_default=True, help="Round 1 holds the bootstrap, too.")
@run_name_option
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="The run's run.toml; default: the built-in street world."
)
@set_option
@click.option("--namespace", default="selfsyn", show_default=True, help="As in k8s/storage.yaml.")
@click.option("--claim", default="selfsyn", show_default=True, help="The volume claim that holds the run and the data.")
@click.option("--registry", default="", help="What stands before the images' names, for example ghcr.io/somebody.")
@click.option("--tag", default=None, help="The images' tag; default: this program's version.")
@click.option(
    "--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True, help="cuda asks for a GPU for each phase."
)
@click.option("--gpus", type=click.IntRange(1), default=1, show_default=True, help="Of a training; each has its process.")
@click.option(
    "--shards", type=click.IntRange(1, 100_000), default=4, show_default=True, help="Into how many to cut the labelling."
)
@click.option(
    "--at-once", type=click.IntRange(1), default=2, show_default=True, help="How many shards may be labelled at a time."
)
@click.option("--cpu", default="500m", show_default=True, help="Cores that a phase with a GPU requests.")
@click.option("--memory", default="8Gi", show_default=True, help="Memory that it requests, and may use.")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["jobs", "argo"]),
    default="jobs",
    show_default=True,
    help="argo: a Workflow, no coordinator.",
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
    """Print the manifest of one round; `kubectl apply --server-side -f -` takes it."""
    from jobs.cluster import argo, manifests
    from jobs.cluster.plan import Plan
    from selfsyn import config as configuration
    from selfsyn import recipes

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
    )
    values = recipes.read(str(config) if config else "demo")
    loaded = configuration.from_mapping(configuration.with_settings(values, settings))
    click.echo({"jobs": manifests.render, "argo": argo.render}[kind](loaded, plan=plan), nl=False)


@command.command()
@run_name_option
@click.option("--round", "round_", type=click.IntRange(1), help="One round; default: all that the cluster knows.")
@click.option("--namespace", default=None, help="Default: that of the current context.")
def status(run_name: str, round_: int | None, namespace: str | None) -> None:
    """Print the phases of a run as a table: state, tries, time. Exit code 3 when one of them has failed."""
    from jobs.cluster.api import Cluster
    from jobs.cluster.table import table

    phases = Cluster(namespace=namespace).phases(run=run_name, round_=round_)
    if not phases:
        raise InputError(f"no phase of run {run_name!r} in this namespace; expected Jobs that `selfsyn k8s render` has described")
    click.echo(table(phases))
    if any(phase.state == "failed" for phase in phases):
        raise SystemExit(3)
