"""`selfsyn serve`: serves a teacher over HTTP. Never imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.options import FOLDER, Number, teacher_device_option

if TYPE_CHECKING:
    from export.service.metrics import Metrics
    from export.service.models import Models

CODECS = 8  # most threads that decode; each may hold an image of --megapixels


@click.command()
@click.option(
    "--model",
    "repository",
    type=FOLDER,
    required=True,
    help="A model repository: the folder of `selfsyn publish --to`, or a round's teacher folder.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="The port to listen on; 0 chooses a free port."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; 0.0.0.0 means all addresses.")
@teacher_device_option
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=None,
    help="CPU threads for each image; fewer threads let several images run at once. Default: all cores.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 64),
    default=None,
    help="Most images of the same size in one batch. Default: 1 on a CPU, where larger batches gain nothing; 4 on a GPU.",
)
@click.option(
    "--queue",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Most requests at once; further requests get status 429.",
)
@click.option(
    "--timeout",
    type=Number(0.1, 86400),
    default=60.0,
    show_default=True,
    help="Seconds to read a request (else status 408) and to answer it (else 504).",
)
@click.option(
    "--request-mib",
    type=click.IntRange(1, 1024),
    default=16,
    show_default=True,
    help="Largest request body in MiB (else status 413).",
)
@click.option(
    "--megapixels",
    type=click.IntRange(1, 89),
    default=25,
    show_default=True,
    help="Largest JPEG or PNG in megapixels (else status 413, before decoding).",
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
    """Serve the newest teacher of a model repository over HTTP.

    Supports the Open Inference Protocol v2 and shows a page at /. The server switches to a newer version without a failed
    request. If the new version does not load, the old version stays. On SIGTERM, the server answers the requests that it
    has begun and ends with exit code 143.
    """
    from export.service.limits import MEGAPIXEL, MIB, Limits
    from export.service.metrics import Metrics
    from export.service.server import bound, serve
    from export.teacher import usable_device
    from selfsyn.cores import usable_cores
    from selfsyn.stopping import Stopping

    stopping, metrics = Stopping(), Metrics()
    listener = bound(host, port)  # first: finds a port in use before it loads a model
    threads, device = threads or usable_cores(), usable_device(device)
    limits = Limits(requests=queue, body=request_mib * MIB, image=megapixels * MEGAPIXEL, read=timeout, answer=timeout)
    models = _models(repository, metrics, device=device, threads=threads, batch=batch)
    stopping.exit_if_requested()
    # A GPU computes one batch at a time; on a CPU each batch has its own threads.
    runs = max(1, usable_cores() // threads) if device == "cpu" else 1
    workers = min(usable_cores(), CODECS)
    serve(listener, models, metrics=metrics, limits=limits, runs=runs, images=batch, workers=workers)
    stopping.exit_if_requested()


def _models(repository: Path, metrics: Metrics, *, device: str, threads: int, batch: int | None) -> Models:
    """The versions of the repository; the newest version is loaded."""
    from functools import partial

    from export.service.models import Models
    from export.teacher import Teacher

    models = Models(
        repository,
        # TensorRT builds its engine for a fixed batch size.
        load=partial(Teacher, device=device, threads=threads, batch=batch if device == "tensorrt" else None),
        refused=metrics.loads.labels("refused").inc,
        served=lambda model: metrics.serves(version=model.version, digest=model.teacher.digest),
    )
    models.first()
    return models
