"""`selfsyn coordinate`: releases each phase of a round on a cluster when the phases before it are complete."""

from __future__ import annotations

import click

from jobs.options import Number, run_name_option


@click.command()
@run_name_option
@click.option("--round", "round_", type=click.IntRange(1), required=True, help="The round whose Jobs are released.")
@click.option("--goal", required=True, help="The phase with which the round ends, for example report-1.")
@click.option("--queue", default=None, help="A Kueue LocalQueue. Kueue then starts the phases when there is quota.")
@click.option("--namespace", default=None, help="Default: the namespace of the pod or of the current context.")
@click.option("--interval", type=Number(0, min_open=True), default=5.0, show_default=True, help="Seconds between two checks.")
@click.option(
    "--patience",
    type=Number(0),
    default=900.0,
    show_default=True,
    help="Give up after this many seconds without an answer of the API server; the Job then tries again.",
)
def command(
    run_name: str, round_: int, goal: str, queue: str | None, namespace: str | None, interval: float, patience: float
) -> None:
    """Release the phases of a round on a Kubernetes cluster.

    The coordinator is a small Job beside the round's suspended Jobs. It keeps no state, so it can be restarted at any time.
    If a second `kubectl apply` suspends a phase, the coordinator releases it again. If a phase fails, the coordinator names
    it, leaves the others suspended and ends with exit code 3.
    """
    from jobs.cluster.api import Cluster
    from jobs.cluster.coordinator import Pace, coordinate

    cluster = Cluster(namespace=namespace)
    coordinate(cluster, run=run_name, round_=round_, goal=goal, queue=queue, pace=Pace(interval, patience))
