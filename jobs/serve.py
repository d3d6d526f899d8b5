"""`selfsyn serve`: a teacher over HTTP. Never imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.options import teacher_device_option
from selfsyn.errors import InputError

if TYPE_CHECKING:
    from export.service.metrics import Metrics
    from export.service.models import Models

CODECS = 8  # threads that decode at most: each may hold a picture of --megapixels


@click.command()
@click.option(
    "--model",
    "repository",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="A model repository: what `selfsyn publish` writes to, or a round's teacher folder.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free port.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; 0.0.0.0 for all of them.")
@teacher_device_option
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=None,
    help="For one image on a CPU; as many images at once as the cores then allow. Default: all cores for one image.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 64),
    default=None,
    help="Waiting images of one size in one run. Default: 1 on a CPU, which gains nothing by more; 4 on a GPU.",
)
@click.option(
    "--queue",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Requests at once; one more is sent away (429).",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1),
    default=60.0,
    show_default=True,
    help="Seconds to read a request (408 beyond), and to answer it (504).",
)
@click.option(
    "--request-mib", type=click.IntRange(1, 1024), default=16, show_default=True, help="Of a request's body (413 beyond)."
)
@click.option(
    "--megapixels", type=click.IntRange(1, 89), default=25, show_default=True, help="Of a JPEG or PNG (413 beyond, undecoded)."
)
def command(
    repository: Path,
    port: int,
    host: str,
    device: str,
    threads: int | None,
    batch: int | None,
    queue: int,
    timeout: float,
    request_mib: int,
    megapixels: int,
) -> None:
    """Serve the newest teacher of a model repository over HTTP: the Open Inference Protocol v2, and a page at /.

    A newer version is taken up without a failed request; one that does not load is refused, and the old one goes on.
    SIGTERM: what has begun is answered, then exit code 143.
    """
    try:
        from export.service.limits import MEGAPIXEL, MIB, Limits
        from export.service.metrics import Metrics
        from export.service.server import bound, serve
    except ModuleNotFoundError as error:
        raise InputError(f"selfsyn serve needs the package {error.name}; run `pip install 'selfsyn[serve]'`") from error
    from export.teacher import usable_device
    from selfsyn.cores import usable_cores
    from selfsyn.stopping import Stopping

    stopping, metrics = Stopping(), Metrics()
    listener = bound(host, port)  # first: a port that is taken is known before a model is loaded
    threads, device = threads or usable_cores(), usable_device(device)
    limits = Limits(requests=queue, body=request_mib * MIB, image=megapixels * MEGAPIXEL, read=timeout, answer=timeout)
    models = _models(repository, metrics, device=device, threads=threads, batch=batch)
    stopping.exit_if_requested()
    # A GPU computes one run at a time; on a CPU each run brings its own threads.
    runs = max(1, usable_cores() // threads) if device == "cpu" else 1
    workers = min(usable_cores(), CODECS)
    serve(listener, models, metrics=metrics, limits=limits, runs=runs, images=batch, workers=workers)
    stopping.exit_if_requested()


def _models(repository: Path, metrics: Metrics, *, device: str, threads: int, batch: int | None) -> Models:
    """The versions of the repository, the newest one loaded."""
    from functools import partial

    from export.service.models import Models
    from export.teacher import Teacher

    models = Models(
        repository,
        # TensorRT's engine is built for as many images as a run holds.
        load=partial(Teacher, device=device, threads=threads, batch=batch if device == "tensorrt" else None),
        refused=metrics.loads.labels("refused").inc,
        served=lambda model: metrics.serves(version=model.version, digest=model.teacher.digest),
    )
    models.first()
    return models
