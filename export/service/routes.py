"""The routes: health, metadata, infer, predict, metrics, and the page."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from typing import Any, Final, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from export import contract
from export.service import bodies, forms, pictures, refusals, tensors
from export.service.admission import Admission, unless_gone
from export.service.batches import Batches
from export.service.limits import Limits
from export.service.metrics import Metrics
from export.service.models import Model, Models
from export.service.refusals import HANDLERS, Refusal

T = TypeVar("T")

EXTENSIONS: Final = ("binary_tensor_data",)
POLL_SECONDS: Final = 2.0  # between two checks for a newer version
VERSION_HEADER: Final = "selfsyn-model-version"
DIGEST_HEADER: Final = "selfsyn-model-digest"
# The page loads nothing from other sites, and other sites may not put it into a frame.
PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src blob: data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Service:
    """The application with its models, its batches and its threads for codecs."""

    def __init__(self, models: Models, *, batches: Batches, metrics: Metrics, limits: Limits, workers: int) -> None:
        """models: with a current model.  workers: threads that decode and encode."""
        self.models, self.batches, self.metrics, self.limits = models, batches, metrics, limits
        self.codecs = ThreadPoolExecutor(workers, thread_name_prefix="codec")
        self.loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self.admission = Admission(limits, metrics=metrics)
        self.page = files("export.service").joinpath("page.html").read_text(encoding="utf-8")
        self.application = Starlette(routes=self._routes(), lifespan=self._living, exception_handlers=HANDLERS)

    def _routes(self) -> list[Route]:
        routes = [
            Route("/", self.front_page),
            Route("/metrics", self.exposition),
            Route("/v2", self.server_metadata),
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
        ]
        for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
            routes += [
                Route(model, self.model_metadata),
                Route(f"{model}/ready", self.model_ready),
                Route(f"{model}/infer", self.infer, methods=["POST"]),
                Route(f"{model}/predict", self.predict, methods=["POST"]),
            ]
        return routes

    def named(self) -> dict[str, str]:
        """The headers that name the served model, for responses without a model."""
        return named(self._current)

    # ---- page, metrics, health, metadata ----

    async def front_page(self, request: Request) -> Response:
        """The page for people: drop an image, see its classes."""
        return HTMLResponse(self.page, headers={"content-security-policy": PAGE_POLICY, "cache-control": "no-cache"})

    async def exposition(self, request: Request) -> Response:
        """The metrics for Prometheus."""
        body, kind = self.metrics.text()
        return Response(body, media_type=kind)

    async def live(self, request: Request) -> Response:
        """Whether the process should keep running: not once its device has failed."""
        if self.batches.broken:
            return refusals.answer(503, f"the net's device has failed: {self.batches.broken}")
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        """Whether to send requests here: from the start, since a model is loaded before the socket opens."""
        return JSONResponse({"ready": True}) if not self.batches.broken else await self.live(request)

    async def server_metadata(self, request: Request) -> Response:
        """The protocol's server metadata."""
        version = importlib.metadata.version("selfsyn")
        return JSONResponse({"name": "selfsyn", "version": version, "extensions": list(EXTENSIONS)})

    async def model_metadata(self, request: Request) -> Response:
        """The protocol's model metadata; see `described`."""
        return JSONResponse(described(self._model(request)))

    async def model_ready(self, request: Request) -> Response:
        """Whether this model, or this version of it, is served."""
        model = self._model(request)
        return JSONResponse({"name": contract.MODEL_NAME, "version": str(model.version), "ready": True})

    # ---- inference ----

    async def infer(self, request: Request) -> Response:
        """Tensors in, tensors out."""
        model = self._model(request)
        with self.admission.place():
            body = await bodies.read(request, limits=self.limits)
            async with self.admission.in_time():
                content, headers = await self._inferred(request, body, model=model)
        return Response(content, headers=headers | named(model))

    async def predict(self, request: Request) -> Response:
        """A JPEG or PNG in; ?view=label (the default), confidence, overlay or json out."""
        model = self._model(request)
        view = request.query_params.get("view", "label")
        if view not in pictures.VIEWS:
            raise Refusal(400, f"view {view[:40]!r}; expected one of {', '.join(pictures.VIEWS)}")
        with self.admission.place():
            body = await bodies.read(request, limits=self.limits)
            async with self.admission.in_time():
                content, kind = await self._viewed(request, body, model=model, view=pictures.VIEWS[view])
        return Response(content, media_type=kind, headers=named(model))

    async def _inferred(self, request: Request, body: bytes, *, model: Model) -> tuple[bytes, dict[str, str]]:
        width, height = model.teacher.size
        asked = await self._codec(
            partial(
                tensors.parsed,
                await self._unpacked(request, body),
                header_length=request.headers.get(tensors.HEADER),
                limits=self.limits,
                largest=max(self.limits.run, width * height),
            )
        )
        maps = await unless_gone(request, self.batches.answers(model, asked.images_BHWC))
        answers = dict(zip((contract.LABEL, contract.CONFIDENCE), maps, strict=True))
        accepted = request.headers.get("accept-encoding", "")
        return await self._codec(partial(_encoded, asked, answers, model=model, accepted=accepted))

    async def _viewed(self, request: Request, body: bytes, *, model: Model, view: pictures.View) -> tuple[bytes, str]:
        content_type = request.headers.get("content-type", "")
        data = await self._codec(partial(forms.picture, await self._unpacked(request, body), content_type=content_type))
        picture = await self._codec(partial(pictures.decoded, data, size=model.teacher.size, limits=self.limits))
        labels, confidences = await unless_gone(request, self.batches.answers(model, picture.image[None]))
        digest, classes = model.teacher.digest, model.teacher.metadata.class_list
        answered = pictures.Answered(data, picture.size, labels[0], confidences[0], model.version, digest, classes)
        return await self._codec(partial(view, answered))

    # ---- shared steps ----

    @property
    def _current(self) -> Model:
        assert self.models.current is not None
        return self.models.current

    def _model(self, request: Request) -> Model:
        model = self._current
        name, version = request.path_params["name"], request.path_params.get("version", str(model.version))
        if name != contract.MODEL_NAME:
            raise Refusal(404, f"model {name[:40]!r}; expected {contract.MODEL_NAME!r}")
        if version != str(model.version):
            raise Refusal(
                404, f"version {version[:40]!r} is not served; expected {str(model.version)!r}, or a path without a version"
            )
        return model

    async def _unpacked(self, request: Request, body: bytes) -> bytes:
        encoding = request.headers.get("content-encoding", "")
        return await self._codec(partial(bodies.unpacked, body, encoding=encoding, limit=self.limits.body)) if encoding else body

    async def _codec(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.codecs, work)

    @contextlib.asynccontextmanager
    async def _living(self, application: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(self._watch())
        yield
        watching.cancel()
        self.batches.close()
        self.codecs.shutdown(wait=True, cancel_futures=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await asyncio.get_running_loop().run_in_executor(self.loader, self.models.refresh)


def described(model: Model) -> dict[str, Any]:
    """The protocol's model metadata; parameters hold what the protocol does not define."""
    metadata = model.teacher.metadata
    shape = [-1, *(model.teacher.size[::-1] if model.teacher.fixed else (-1, -1))]
    image = {"name": contract.IMAGE, "datatype": tensors.DATATYPE, "shape": [*shape, tensors.CHANNELS]}
    maps = [{"name": name, "datatype": tensors.DATATYPE, "shape": shape} for name in (contract.LABEL, contract.CONFIDENCE)]
    return {
        "name": contract.MODEL_NAME,
        "versions": [str(model.version)],
        "platform": "onnxruntime_onnx",
        "inputs": [image],
        "outputs": maps,
        "parameters": {
            "digest": model.teacher.digest,
            "provider": model.teacher.provider,
            "size": list(model.teacher.size),
            "classes": list(metadata.classes),
            "colours": list(metadata.class_list.hexes),
            "stage": metadata.stage,
            "checkpoint": metadata.checkpoint,
        },
    }


def _encoded(asked: tensors.Asked, answers: dict[str, Any], *, model: Model, accepted: str) -> tuple[bytes, dict[str, str]]:
    body, headers = tensors.encoded(asked, answers, version=model.version, digest=model.teacher.digest)
    content, more = bodies.packed(body, accepted=accepted)
    return content, headers | more


def named(model: Model) -> dict[str, str]:
    """The headers that say which model answered."""
    return {VERSION_HEADER: str(model.version), DIGEST_HEADER: model.teacher.digest}
