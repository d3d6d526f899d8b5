"""`selfsyn k8s`: manifests of a round; progress, retry and removal of a run on a cluster."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.options import FILE, pack_option, run_name_option, set_option
from selfsyn.errors import InputError
from selfsyn.progress import say

if TYPE_CHECKING:
    from jobs.cluster.api import Trouble
    from jobs.cluster.progress import Progress


@click.group()
def command() -> None:
    """Run rounds on a Kubernetes cluster.

    `render` prints the manifest of a round, `status --run NAME` shows the progress of a run, `retry --run NAME` starts failed
    phases again, and `delete --run NAME` removes a run's objects from the cluster.
    """


namespace_option = click.option(
    "--namespace", default="selfsyn", show_default=True, help="The namespace, as in k8s/storage.yaml."
)
one_round_option = click.option("--round", "round_", type=click.IntRange(1), help="One round. Default: all that the cluster has.")
the_run_option = click.option("--run", "run_name", required=True, help="The run's name on the cluster.")


@command.command()
@click.option(
    "--round", "round_", type=click.IntRange(1), default=1, show_default=True, help="Round 1 includes the phases before it."
)
@click.option("--run", "run_name", help="The run's name, and its folder in /data/runs. Default: demo, without --config.")
@click.option("--config", type=FILE, help="The run's run.toml. Default: the built-in street world.")
@set_option
@namespace_option
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
@pack_option
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
@click.option("--output", type=FILE, help="Write to this file. Default: standard output.")
def render(
    round_: int,
    run_name: str | None,
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
    pack: bool,
    cpu: str,
    memory: str,
    kind: str,
    output: Path | None,
) -> None:
    """Print the manifest of one round, for `kubectl apply --server-side -f FILE`."""
    from jobs.cluster import argo, manifests
    from jobs.cluster.checks import check_gpus, check_paths
    from jobs.cluster.plan import DATA, Plan
    from selfsyn import config as configuration
    from selfsyn import recipes
    from selfsyn.files import write_atomic

    if run_name is None and config is not None:
        raise InputError(f"got --config {config} without --run; give the run a name of its own, for example --run first")
    values = recipes.read(str(config) if config else "demo")
    loaded = configuration.from_mapping(configuration.with_settings(values, settings))
    plan = Plan(
        run=run_name or "demo",
        round_=round_,
        version=tag or importlib.metadata.version("selfsyn"),
        namespace=namespace,
        claim=claim,
        registry=registry,
        device=device,
        gpus=gpus,
        shards=shards,
        at_once=at_once,
        pack=pack,
        cpu=cpu,
        memory=memory,
        configured=manifests.digest(loaded),
    )
    check_paths(loaded, folder=plan.folder, volume=DATA)
    check_gpus(loaded, gpus=gpus, round_=round_)
    text = {"jobs": manifests.render, "argo": argo.render}[kind](loaded, plan=plan)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_atomic(output, text.encode())
        click.echo(f"{output}: written; next: kubectl apply --server-side -f {output}")


@command.command()
@run_name_option
@one_round_option
@namespace_option
@click.option("--watch", "watching", is_flag=True, help="Show the table again when it changes, until the end of the round.")
def status(run_name: str, round_: int | None, namespace: str, watching: bool) -> None:
    """Print the phases of a run as a table: state, tries, time, and what Kubernetes says. Exit code 3 when one has failed."""
    from jobs.cluster import progress
    from jobs.cluster.api import Cluster

    look = partial(progress.look, Cluster(namespace=namespace), run=run_name, round_=round_)
    found = progress.watch(look, show=_screen(), trouble=_once()) if watching else look()
    if not watching:
        click.echo(_page(found))
    if found.failed:
        raise SystemExit(3)


@command.command()
@the_run_option
@click.option(
    "--phase", "phases", multiple=True, help="A phase, as `status` names it. May be repeated. Default: all that failed."
)
@namespace_option
def retry(run_name: str, phases: tuple[str, ...], namespace: str) -> None:
    """Start failed phases again, with the Jobs that the cluster has: deletes and creates them, and the coordinator's."""
    from jobs.cluster import retry as again
    from jobs.cluster.api import Cluster

    again.retry(Cluster(namespace=namespace), run=run_name, phases=phases)


@command.command()
@the_run_option
@one_round_option
@namespace_option
def delete(run_name: str, round_: int | None, namespace: str) -> None:
    """Remove a run's Jobs, configurations and accounts from the cluster. Phases that run are stopped; all files stay."""
    from jobs.cluster import delete as removal
    from jobs.cluster.api import Cluster

    removal.delete(Cluster(namespace=namespace), run=run_name, round_=round_)


def _page(progress: Progress) -> str:
    from jobs.cluster.table import table

    return "\n".join([table(progress.rows), *progress.notes])


def _screen() -> Callable[[Progress], None]:
    """Shows a table in place of the one before on a terminal; elsewhere, prints it when more than a time has changed."""
    before: list[object] = []

    def show(progress: Progress) -> None:
        if sys.stdout.isatty():
            click.clear()
        elif before == [progress.shown]:
            return
        before[:] = [progress.shown]
        click.echo(_page(progress))

    return show


def _once() -> Callable[[Trouble], None]:
    """Says a trouble that is not the same as the one before."""
    before: list[str] = []

    def say_new(trouble: Trouble) -> None:
        if before != [str(trouble)]:
            say(str(trouble))
        before[:] = [str(trouble)]

    return say_new
