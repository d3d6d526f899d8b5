"""`selfsyn coordinate`: release the phases of a round on a cluster, each when those before it are complete."""

from __future__ import annotations

import click

from jobs.options import run_name_option


@click.command()
@run_name_option
@click.option("--round", "round_", type=click.IntRange(1), required=True, help="The round whose Jobs are released.")
@click.option("--goal", required=True, help="The phase with which the round ends, for example report-1.")
@click.option("--queue", default=None, help="A Kueue LocalQueue: hand phases to it; Kueue starts them when there is quota.")
@click.option("--namespace", default=None, help="Default: the pod's own, or that of the current context.")
@click.option(
    "--interval", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True, help="Seconds between looks."
)
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=900.0,
    show_default=True,
    help="Seconds without an answer of the API server after which to give up, for the Job to try again.",
)
def command(
    run_name: str, round_: int, goal: str, queue: str | None, namespace: str | None, interval: float, patience: float
) -> None:
    """Release the phases of a round on a Kubernetes cluster.

    Runs as a small Job beside the round's suspended ones. It keeps no state: start it again at any time. A phase that was
    suspended by a second apply is released again. Exit code 3 when a phase has failed: it is named, the rest stay suspended.
    """
    from jobs.cluster.api import Cluster
    from jobs.cluster.coordinator import Pace, coordinate

    cluster = Cluster(namespace=namespace)
    coordinate(cluster, run=run_name, round_=round_, goal=goal, queue=queue, pace=Pace(interval, patience))
