"""A real server for tests: `selfsyn serve` as a process of its own on a free port, and a client that adds nothing."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export import contract
from export.repository import model_file

PATIENCE = 120.0  # seconds; a busy machine is slow, a hanging server is never waited for for ever
INFER = "/v2/models/segmenter/infer"
PREDICT = "/v2/models/segmenter/predict"
SELFSYN = (sys.executable, "-m", "jobs")


@dataclass(frozen=True)
class Reply:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def error(self) -> str:
        """The message of an error, which every error has."""
        assert self.headers["content-type"] == "application/json", self
        message = self.json()["error"]
        assert isinstance(message, str) and message and "\n" not in message
        return message


@dataclass
class Server:
    """A server that runs."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    port: int = 0

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """One request on a connection of its own; header names with _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            return replied(connection)
        finally:
            connection.close()

    def get(self, path: str) -> Reply:
        return self.ask("GET", path)

    def post(self, path: str, body: bytes, **headers: str) -> Reply:
        return self.ask("POST", path, body, **headers)

    def metric(self, name: str) -> float:
        """The value of one sample of /metrics, labels and all: 'selfsyn_admitted_requests'; 0 where it is absent."""
        for line in self.get("/metrics").body.decode().splitlines():
            if line.rpartition(" ")[0] == name:
                return float(line.rpartition(" ")[2])
        return 0.0

    def says(self, text: str) -> None:
        """Wait until a line of its log holds `text`."""
        until(lambda: any(text in line for line in self.lines), what=f"{text!r} in {self.lines}")

    def terminated(self) -> int:
        """SIGTERM, then its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=PATIENCE)


@contextmanager
def server(repository: Path, *options: object, program: tuple[str, ...] = SELFSYN, **environment: str) -> Iterator[Server]:
    """Start a server on a free port, wait until it listens, and end it."""
    command = [*program, "serve", "--model", repository, "--port", 0, "--device", "cpu", "--threads", 1, *options]
    running = Server(
        subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    )
    reader = threading.Thread(target=_read, args=(running,), daemon=True)
    reader.start()
    try:
        running.says("listening on")
        running.port = int(re.findall(r"listening on http://127\.0\.0\.1:(\d+)", "".join(running.lines))[0])
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        reader.join()


def until(condition: Any, *, what: str) -> None:
    """Wait until condition() is true; AssertionError, saying `what` was awaited, after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never seen: {what}"
        time.sleep(0.02)


def put(repository: Path, model: bytes, *, version: int) -> None:
    """Add a version as a publisher does: whole."""
    folder = model_file(repository, version=version).parent
    draft = folder.with_name(f".tmp-{version}")
    draft.mkdir(parents=True)
    (draft / "model.onnx").write_bytes(model)
    draft.rename(folder)


def pictures(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """(*shape, 3) uint8 noise without the extremes, which some tests give a meaning."""
    return np.random.default_rng(seed).integers(1, 250, (*shape, 3), dtype=np.uint8)


def binary_request(images_BHWC: NDArray[np.uint8], **more: Any) -> tuple[bytes, dict[str, str]]:
    """-> body and headers of an infer request whose tensors, there and back, are binary."""
    entry = {
        "name": contract.IMAGE,
        "shape": list(images_BHWC.shape),
        "datatype": "UINT8",
        "parameters": {"binary_data_size": images_BHWC.nbytes},
    }
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}} | more).encode()
    return head + images_BHWC.tobytes(), {"inference_header_content_length": str(len(head))}


def json_request(images_BHWC: NDArray[np.uint8], **more: Any) -> bytes:
    """The body of an infer request in JSON."""
    entry = {"name": contract.IMAGE, "shape": list(images_BHWC.shape), "datatype": "UINT8", "data": images_BHWC.ravel().tolist()}
    return json.dumps({"inputs": [entry]} | more).encode()


def binary_answer(reply: Reply) -> tuple[dict[str, Any], list[NDArray[np.uint8]]]:
    """The JSON and the tensors of a binary answer."""
    length = int(reply.headers["inference-header-content-length"])
    head, tail = json.loads(reply.body[:length]), reply.body[length:]
    arrays = []
    for output in head["outputs"]:
        size = output["parameters"]["binary_data_size"]
        arrays.append(np.frombuffer(tail[:size], np.uint8).reshape(output["shape"]))
        tail = tail[size:]
    assert tail == b""
    return head, arrays


def json_answer(reply: Reply) -> list[NDArray[np.uint8]]:
    """The tensors of an answer in JSON."""
    return [np.array(output["data"], np.uint8).reshape(output["shape"]) for output in reply.json()["outputs"]]


def half_sent(port: int, path: str, body: bytes, *, headers: str = "") -> socket.socket:
    """A connection on which a request's head and the first half of its body were sent."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    connection.sendall(head.encode() + body[: len(body) // 2])
    return connection


def rest_sent(connection: socket.socket, body: bytes) -> Reply:
    """Send the other half; the answer."""
    connection.sendall(body[len(body) // 2 :])
    return answered(connection)


def answered(connection: socket.socket) -> Reply:
    """Read one answer from a socket."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def replied(connection: http.client.HTTPConnection) -> Reply:
    """Read one answer from a connection."""
    response = connection.getresponse()
    return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def _read(running: Server) -> None:
    assert running.process.stderr is not None
    for line in running.process.stderr:
        running.lines.append(line)
