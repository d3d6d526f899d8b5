"""selfsyn serve as a process: what it answers, to whom, and what it does not put up with."""

from __future__ import annotations

import base64
import gzip
import http.client
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from malformed import bomb_png, many_scans, requests, wide_jpeg
from obedient_session import FAIL, HOLD, LOSE
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from serving import (
    INFER,
    PATIENCE,
    PREDICT,
    Reply,
    Server,
    answered,
    binary_answer,
    binary_request,
    half_sent,
    json_answer,
    json_request,
    pictures,
    put,
    replied,
    rest_sent,
    server,
    until,
)
from tiny_run import selfsyn, selfsyn_here
from tiny_teacher import SIZE, constant_onnx, tiny_onnx

from export.service.server import bound
from export.teacher import Teacher
from selfsyn.files import digest_bytes
from selfsyn.images import encode_jpeg, encode_png, resize_image, resize_label
from selfsyn.labels import CLASSES, PALETTE

WIDTH, HEIGHT = SIZE
VERSION, DIGEST = "selfsyn-model-version", "selfsyn-model-digest"
OBEDIENT = str(Path(__file__).parent / "obedient_session.py")


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return Teacher(tiny_onnx(), device="cpu", threads=1)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave it as it was."""
    repository = tmp_path_factory.mktemp("repository")
    put(repository, tiny_onnx(), version=3)
    with server(repository, "--megapixels", 1, "--request-mib", 4) as process:
        yield process


# ---- the protocol ----


def test_health_and_metadata(running: Server) -> None:
    assert running.get("/v2/health/live").json() == {"live": True}
    assert running.get("/v2/health/ready").json() == {"ready": True}
    assert running.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    for path in ("/v2/models/segmenter", "/v2/models/segmenter/versions/3"):
        assert running.get(path + "/ready").status == 200
        described = running.get(path).json()
        assert described["versions"] == ["3"] and described["inputs"][0]["shape"] == [-1, -1, -1, 3]
        assert described["parameters"]["classes"] == list(CLASSES)
        assert described["parameters"]["provider"] == "CPUExecutionProvider"


@pytest.mark.parametrize("shape", [(1, HEIGHT, WIDTH), (3, 33, 47), (1, 1, 1)])
def test_infer_answers_as_the_teacher_does(running: Server, teacher: Teacher, shape: tuple[int, ...]) -> None:
    images = pictures(*shape)
    body, headers = binary_request(images, id="a1")
    reply = running.post(INFER, body, **headers)
    head, arrays = binary_answer(reply)
    assert head["id"] == "a1" and head["model_version"] == "3"
    for got in (arrays, json_answer(running.post(INFER, json_request(images)))):
        for array, expected in zip(got, teacher.predict(images), strict=True):
            assert np.array_equal(array, expected)


def test_infer_takes_nested_data_and_gives_the_outputs_that_are_asked_for(running: Server, teacher: Teacher) -> None:
    images = pictures(1, 8, 9)
    entry = {"name": "image", "shape": [1, 8, 9, 3], "datatype": "UINT8", "data": images.tolist()}
    outputs = [{"name": "confidence", "parameters": {"binary_data": True}}, {"name": "label"}]
    reply = running.post(INFER, json.dumps({"inputs": [entry], "outputs": outputs}).encode())
    length = int(reply.headers["inference-header-content-length"])
    first, second = json.loads(reply.body[:length])["outputs"]
    labels, confidences = teacher.predict(images)
    assert (first["name"], reply.body[length:]) == ("confidence", confidences.tobytes())
    assert (second["name"], second["data"]) == ("label", labels.ravel().tolist())


@pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 31), ("x-gzip", 31), ("deflate", 15), ("deflate", -15)])
def test_bodies_are_unpacked(running: Server, teacher: Teacher, encoding: str, wbits: int) -> None:
    images = pictures(1, HEIGHT, WIDTH)
    body, headers = binary_request(images)
    stream = zlib.compressobj(wbits=wbits)
    packed = stream.compress(body) + stream.flush()
    _, arrays = binary_answer(running.post(INFER, packed, content_encoding=encoding, **headers))
    assert np.array_equal(arrays[0], teacher.predict(images)[0])


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip;q=0.1, deflate", "deflate"),
        ("*", "gzip"),
        ("br", None),
        ("gzip;q=0", None),
    ],
)
def test_answers_are_packed_as_the_client_likes(running: Server, accepted: str, expected: str | None) -> None:
    body, headers = binary_request(pictures(1, HEIGHT, WIDTH))
    plain = running.post(INFER, body, accept_encoding="identity", **headers)
    reply = running.post(INFER, body, accept_encoding=accepted, **headers)
    assert reply.headers.get("content-encoding") == expected
    unpack = {None: bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}[expected]
    assert unpack(reply.body) == plain.body


def test_each_answer_names_the_model(running: Server) -> None:
    digest = digest_bytes(tiny_onnx())
    body, headers = binary_request(pictures(1, 8, 8))
    replies = [
        running.get("/v2/health/live"),
        running.get("/nowhere"),
        running.post(INFER, b"nonsense"),
        running.post(INFER, body, **headers),
        running.post(PREDICT, encode_png(pictures(8, 8))),
    ]
    assert [reply.status for reply in replies] == [200, 404, 400, 200, 200]
    assert {(reply.headers[VERSION], reply.headers[DIGEST]) for reply in replies} == {("3", digest)}
    assert binary_answer(replies[3])[0]["parameters"] == {"model_digest": digest}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/segmenter/versions/2/ready", 404),
        ("POST", "/v2/models/segmenter/versions/x/infer", 404),
        ("GET", INFER, 405),
        ("DELETE", "/v2", 405),
        ("POST", PREDICT + "?view=none", 400),
    ],
)
def test_what_is_not_there_is_json_too(running: Server, method: str, path: str, status: int) -> None:
    reply = running.ask(method, path)
    assert reply.status == status and reply.error()


# ---- pictures ----


def test_predict_gives_the_label_that_labelling_would(running: Server, teacher: Teacher) -> None:
    picture = pictures(HEIGHT, WIDTH)
    labels, confidences = teacher.predict(picture[None])
    label = Image.open(io.BytesIO(running.post(PREDICT, encode_png(picture)).body))
    assert label.mode == "P" and np.array_equal(np.asarray(label), labels[0])
    assert np.array_equal(np.asarray(label.convert("RGB")), PALETTE[labels[0]])
    grey = Image.open(io.BytesIO(running.post(PREDICT + "?view=confidence", encode_png(picture)).body))
    assert grey.mode == "L" and np.array_equal(np.asarray(grey), confidences[0])


def test_predict_answers_at_the_pictures_own_size(running: Server, teacher: Teacher) -> None:
    picture = pictures(101, 73)
    label = teacher.predict(resize_image(picture, size=SIZE)[None])[0][0]
    reply = running.post(PREDICT, encode_png(picture))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(reply.body))), resize_label(label, size=(73, 101)))


def test_the_overlay_is_the_picture_under_its_colours(running: Server, teacher: Teacher) -> None:
    picture = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    reply = running.post(PREDICT + "?view=overlay", encode_png(picture))
    assert reply.headers["content-type"] == "image/jpeg"
    overlay = np.asarray(Image.open(io.BytesIO(reply.body))).astype(int)
    expected = 0.55 * PALETTE[teacher.predict(picture[None])[0][0]] + 0.45 * 200
    assert np.abs(overlay - expected).mean() < 3


def test_the_json_view_adds_up(running: Server, teacher: Teacher) -> None:
    picture = pictures(HEIGHT, WIDTH)
    labels, confidences = teacher.predict(picture[None])
    value = running.post(PREDICT + "?view=json", encode_png(picture)).json()
    assert (value["width"], value["height"], value["model_version"]) == (WIDTH, HEIGHT, "3")
    assert value["confidence"] == pytest.approx(confidences.mean() / 255, abs=1e-3)
    assert sum(entry["share"] for entry in value["classes"]) == pytest.approx(1, abs=1e-4)
    largest = value["classes"][0]
    chosen = labels == largest["id"]
    assert (
        largest["share"]
        == pytest.approx(chosen.mean(), abs=1e-5)
        == pytest.approx(max(np.bincount(labels.ravel())) / labels.size)
    )
    assert largest["confidence"] == pytest.approx(confidences[chosen].mean() / 255, abs=1e-3)
    assert largest["name"] == CLASSES[largest["id"]]
    assert largest["colour"] == f"#{bytes(PALETTE[largest['id']]).hex()}"


def form(*files: bytes, boundary: str = "xyz") -> tuple[bytes, str]:
    """The body and content type of a multipart form with these files, and a field."""
    parts = [b'Content-Disposition: form-data; name="note"\r\n\r\nhello\r\n']
    parts += [
        b'Content-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + data + b"\r\n"
        for data in files
    ]
    body = b"".join(b"--" + boundary.encode() + b"\r\n" + part for part in parts) + b"--" + boundary.encode() + b"--\r\n"
    return body, f"multipart/form-data; boundary={boundary}"


def test_a_form_is_as_good_as_a_body(running: Server) -> None:
    picture = encode_jpeg(pictures(50, 70), quality=90)
    body, kind = form(picture)
    assert running.post(PREDICT, body, content_type=kind).body == running.post(PREDICT, picture).body
    for files, message in (((), "holds no file"), ((picture, picture), "more than 1 files")):
        body, kind = form(*files)
        reply = running.post(PREDICT, body, content_type=kind)
        assert reply.status == 400 and message in reply.error()


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda text: {"image": text},
        lambda text: {"inputs": text, "parameters": {}},
        lambda text: {"instances": [{"b64": text}]},
        lambda text: {"instances": [{"image_bytes": {"b64": text}}]},
        lambda text: {"image": f"data:image/jpeg;base64,{text}"},
    ],
)
def test_base64_in_json_is_as_good_as_a_body(running: Server, wrapped) -> None:
    picture = encode_jpeg(pictures(50, 70), quality=90)
    body = json.dumps(wrapped(base64.b64encode(picture).decode())).encode()
    assert running.post(PREDICT, body, content_type="application/json").body == running.post(PREDICT, picture).body


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b'{"image": "', 400, "is not JSON"),
        (b"[" * 100_000, 400, "JSON"),
        (b"[1]", 400, "JSON without an image"),
        (b'{"image": 3}', 400, "JSON without an image"),
        (b'{"instances": [{"b64": "AAAA"}, {"b64": "AAAA"}]}', 400, "one image"),
        (b'{"instances": [{"image_bytes": 3}]}', 400, "JSON without an image"),
        (b'{"image": "*"}', 400, "is not base64"),
        (b'{"image": ""}', 415, "expected a JPEG or a PNG"),
        (b'{"image": "AAAA"}', 415, "expected a JPEG or a PNG"),
    ],
)
def test_json_without_a_picture_is_refused(running: Server, body: bytes, status: int, words: str) -> None:
    reply = running.post(PREDICT, body, content_type="application/json")
    assert reply.status == status and words in reply.error()


def test_a_picture_is_shown_upright(running: Server) -> None:
    picture = Image.fromarray(pictures(40, 60))
    turned, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter
    picture.save(turned, format="PNG", exif=exif)
    upright = encode_png(np.asarray(picture.transpose(Image.Transpose.ROTATE_270)))
    assert running.post(PREDICT, turned.getvalue()).body == running.post(PREDICT, upright).body


# ---- limits ----


def refused(reply: Reply, status: int, text: str) -> None:
    assert reply.status == status and text in reply.error(), reply


def test_a_body_beyond_the_limit_is_refused_as_soon_as_it_is_known(running: Server) -> None:
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=60)
    connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: test\r\nContent-Length: {5 << 20}\r\n\r\n".encode())
    refused(answered(connection), 413, "expected at most 4194304")  # not one byte of it was sent
    connection.close()
    chunks = (bytes(1 << 20) for _ in range(6))
    refused(running.ask("POST", INFER, chunks), 413, "more than 4194304")  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_that_unpacks_beyond_the_limit_is_refused(running: Server, encoding: str) -> None:
    bomb = (gzip.compress if encoding == "gzip" else zlib.compress)(bytes(64 << 20))
    assert len(bomb) < 100_000
    refused(running.post(INFER, bomb, content_encoding=encoding), 413, "more than 4194304 unpacked")


def test_images_beyond_the_limits_are_refused_before_they_are_decoded(running: Server) -> None:
    refused(running.post(PREDICT, bomb_png(50_000, 50_000)), 413, "an image of 50000x50000; expected at most 1000000 pixels")
    refused(running.post(PREDICT, bomb_png(1000, 1001)), 413, "1000x1001")
    refused(running.post(PREDICT, wide_jpeg(65_000, 65_000)), 413, "an image of 65000x65000; expected at most")
    refused(running.post(PREDICT, many_scans(400)), 413, "scans")
    assert running.post(PREDICT, bomb_png(1000, 1000)).status == 200  # as many as are allowed


def test_tensors_beyond_the_limits_are_refused(running: Server) -> None:
    for shape, text in (([65, 1, 1, 3], "65 images"), ([1, 3000, 3000, 3], "3000x3000"), ([1, 10**9, 10**9, 3], "1000000000x")):
        entry = {"name": "image", "shape": shape, "datatype": "UINT8", "data": []}
        refused(running.post(INFER, json.dumps({"inputs": [entry]}).encode()), 413, text)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"shape": [1, 4, 4]}, "expected [batch, height, width, 3]"),
        ({"shape": [1, 4, True, 3]}, "expected [batch"),
        ({"shape": [0, 4, 4, 3]}, "each above 0"),
        ({"datatype": "FP32"}, "expected UINT8"),
        ({"name": "picture"}, "expected 'image'"),
        ({"data": [256] * 48}, "whole numbers from 0 to 255"),
        ({"data": [0.5] * 48}, "whole numbers"),
        ({"data": [0] * 47}, "expected [1, 4, 4, 3]"),
        ({"data": [[0], [0, 1]]}, "not an array of one shape"),
        ({"data": None}, "whole numbers"),
        ({"parameters": {"binary_data_size": 48}}, "Inference-Header-Content-Length"),
        ({"parameters": {"shared_memory_region": "a"}}, "not supported"),
    ],
)
def test_what_is_wrong_with_a_tensor_is_said(running: Server, change: dict[str, object], text: str) -> None:
    entry = {"name": "image", "shape": [1, 4, 4, 3], "datatype": "UINT8", "data": [0] * 48}
    assert running.post(INFER, json.dumps({"inputs": [entry]}).encode()).status == 200
    refused(running.post(INFER, json.dumps({"inputs": [entry | change]}).encode()), 400, text)


def test_hundreds_of_malformed_requests_get_an_error_and_do_no_harm(running: Server) -> None:
    for request in requests(count=400, seed=20):
        status, problem = request.sent(running.port)
        assert problem == "", (request.kind, status, problem, request.data[:300])
    assert running.get("/v2/health/ready").status == 200
    assert not any("Traceback" in line for line in running.lines), running.lines


# ---- the page and the numbers ----


class Links(HTMLParser):
    """Collects what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset")]


def test_the_page_needs_nothing_from_elsewhere(running: Server) -> None:
    reply = running.get("/")
    text = reply.body.decode()
    links = Links()
    links.feed(text)
    assert reply.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert [link for link in links.found if not link.startswith(("data:", "#"))] == []
    assert re.findall(r"url\((?!data:)|@import|https?://(?!www\.w3\.org)", text) == []


def test_whatever_the_page_asks_for_is_answered(running: Server) -> None:
    asked = set(re.findall(r'"(v2/[^"]+)"', running.get("/").body.decode()))
    assert {path.split("?")[0] for path in asked} == {PREDICT[1:], "v2/models/segmenter"}
    for path in asked:
        reply = running.post(f"/{path}", encode_png(pictures(8, 8))) if "predict" in path else running.get(f"/{path}")
        assert reply.status == 200, (path, reply.body)


def test_metrics_count_what_was_answered(running: Server) -> None:
    def answers(status: str) -> float:
        return running.metric(f'selfsyn_requests_total{{endpoint="predict",status="{status}"}}')

    good, bad, runs = answers("200"), answers("415"), running.metric("selfsyn_run_images_count")
    running.post(PREDICT, encode_png(pictures(8, 8)))
    running.post(PREDICT, b"GIF89a")
    assert (answers("200"), answers("415")) == (good + 1, bad + 1)
    assert running.metric("selfsyn_run_images_count") == runs + 1
    families = {family.name for family in text_string_to_metric_families(running.get("/metrics").body.decode())}
    assert {"selfsyn_requests", "selfsyn_request_seconds", "selfsyn_admitted_requests", "selfsyn_model"} <= families
    assert running.metric(f'selfsyn_model{{digest="{digest_bytes(tiny_onnx())}",version="3"}}') == 1


# ---- the queue ----


@pytest.fixture
def obedient(tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    """A server that holds or fails on marked images (see obedient_session), and the gate that lets the held ones go."""
    put(tmp_path, tiny_onnx(), version=1)
    gate = tmp_path / "gate"
    options = ("--batch", 4, "--queue", 8)
    # With one run at a time, whatever the cores: --threads 1 would allow as many as there are.
    with server(tmp_path, *options, "--threads", os.cpu_count() or 1, program=(sys.executable, OBEDIENT, str(gate))) as process:
        yield process, gate
        gate.touch()


def marked(order: int, *shape: int) -> tuple[bytes, dict[str, str]]:
    images = pictures(*shape)
    images[0, 0, 0, 0] = order
    return binary_request(images)


def test_requests_of_one_size_that_wait_share_a_run_and_nobody_is_mixed_up(
    obedient: tuple[Server, Path], teacher: Teacher
) -> None:
    running, gate = obedient
    with ThreadPoolExecutor(8) as pool:

        def sent(body: bytes, headers: dict[str, str]) -> Future[Reply]:
            return pool.submit(running.post, INFER, body, **headers)

        held = sent(*marked(HOLD, 1, 20, 20))
        until(lambda: running.metric("selfsyn_running_runs") == 1, what="the held request")
        images = [pictures(1, 48, 64, seed=seed) for seed in range(3)] + [pictures(1, 30, 30)]
        waiting = [sent(*binary_request(image)) for image in images]
        until(lambda: running.metric("selfsyn_waiting_runs") == 4, what="four that wait")
        gate.touch()
        assert held.result().status == 200
        for image, future in zip(images, waiting, strict=True):
            assert np.array_equal(binary_answer(future.result())[1][0], teacher.predict(image)[0])
    runs = {le: running.metric(f'selfsyn_run_images_bucket{{le="{le}.0"}}') for le in (1, 2, 4)}
    assert runs == {1: 2, 2: 2, 4: 3}  # two runs of one image, one of three


def test_a_full_house_sends_away_with_429_and_does_not_forget_who_is_in(obedient: tuple[Server, Path]) -> None:
    running, gate = obedient
    body, headers = marked(HOLD, 1, 8, 8)
    with ThreadPoolExecutor(8) as pool:
        held = [pool.submit(running.post, INFER, body, **headers) for _ in range(8)]
        until(lambda: running.metric("selfsyn_admitted_requests") == 8, what="a full house")
        reply = running.post(PREDICT, encode_png(pictures(8, 8)))
        refused(reply, 429, "try again")
        assert int(reply.headers["retry-after"]) >= 1
        assert running.get("/v2/health/ready").status == 200  # a busy server is a healthy one
        gate.touch()
        assert [future.result().status for future in held] == [200] * 8
    assert running.post(PREDICT, encode_png(pictures(8, 8))).status == 200


def test_a_client_that_hangs_up_is_not_computed_for(obedient: tuple[Server, Path]) -> None:
    running, gate = obedient
    body, headers = marked(HOLD, 1, 8, 8)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(running.post, INFER, body, **headers)
        until(lambda: running.metric("selfsyn_running_runs") == 1, what="the held request")
        body, headers = binary_request(pictures(1, 9, 9))
        length = f"Inference-Header-Content-Length: {headers['inference_header_content_length']}\r\n"
        leaving = half_sent(running.port, INFER, body, headers=length)
        leaving.sendall(body[len(body) // 2 :])
        until(lambda: running.metric("selfsyn_waiting_runs") == 1, what="the one that will hang up")
        leaving.close()
        until(lambda: running.metric("selfsyn_admitted_requests") == 1, what="its place, free again")
        gate.touch()
        assert held.result().status == 200
    assert running.metric("selfsyn_run_images_count") == 1
    assert running.metric('selfsyn_requests_total{endpoint="infer",status="499"}') == 1


def test_an_image_that_fails_fails_alone(obedient: tuple[Server, Path]) -> None:
    running, gate = obedient
    with ThreadPoolExecutor(3) as pool:
        held, bad, good = marked(HOLD, 1, 20, 20), marked(FAIL, 1, 9, 9), marked(1, 1, 9, 9)
        first = pool.submit(running.post, INFER, held[0], **held[1])
        until(lambda: running.metric("selfsyn_running_runs") == 1, what="the held request")
        both = [pool.submit(running.post, INFER, body, **headers) for body, headers in (bad, good)]
        until(lambda: running.metric("selfsyn_waiting_runs") == 2, what="two that wait")
        gate.touch()
        assert first.result().status == 200
        refused(both[0].result(), 400, "cannot compute images of 9x9")
        assert both[1].result().status == 200
    assert running.get("/v2/health/live").status == 200


def test_a_lost_device_ends_the_health(obedient: tuple[Server, Path]) -> None:
    running, _ = obedient
    body, headers = marked(LOSE, 1, 8, 8)
    refused(running.post(INFER, body, **headers), 503, "device has failed")
    for path in ("/v2/health/live", "/v2/health/ready"):
        refused(running.get(path), 503, "illegal memory access")


def test_who_is_too_slow_and_what_takes_too_long_is_told(tmp_path: Path) -> None:
    put(tmp_path, tiny_onnx(), version=1)
    gate = tmp_path / "gate"
    with server(tmp_path, "--timeout", 1, program=(sys.executable, OBEDIENT, str(gate))) as running:
        with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE) as endless:
            endless.sendall(b"GET / HTTP/1.1\r\nX: ")
            assert endless.recv(1) == b""  # hung up on: its head did not end in time
        slow = half_sent(running.port, PREDICT, bytes(1000))
        refused(answered(slow), 408, "500 bytes of body in 1 s")
        slow.close()
        body, headers = marked(HOLD, 1, 8, 8)
        refused(running.post(INFER, body, **headers), 504, "not answered in 1 s")
        gate.touch()
        assert running.metric("selfsyn_admitted_requests") == 0


# ---- versions ----


def asked_until(running: Server, done: threading.Event, models: dict[str, Teacher]) -> list[str]:
    """Ask without a pause until `done`; each answer is that of the model it names. The versions that answered, in order."""
    seen = []
    image = pictures(1, HEIGHT, WIDTH)
    expected = {version: model.predict(image)[0] for version, model in models.items()}
    body, headers = binary_request(image)
    while not done.is_set():
        reply = running.post(INFER, body, **headers)
        assert reply.status == 200, reply
        version = reply.headers[VERSION]
        assert reply.headers[DIGEST] == models[version].digest
        assert np.array_equal(binary_answer(reply)[1][0], expected[version])
        seen.append(version)
    return seen


def test_a_newer_version_takes_over_under_load_and_a_broken_one_does_not(tmp_path: Path) -> None:
    models = {str(version): Teacher(tiny_onnx(seed=version), device="cpu", threads=1) for version in (1, 2)}
    put(tmp_path, tiny_onnx(seed=1), version=1)
    done = threading.Event()
    with server(tmp_path) as running, ThreadPoolExecutor(2) as pool:
        clients = [pool.submit(asked_until, running, done, models) for _ in range(2)]
        try:
            until(lambda: running.metric("selfsyn_run_images_count") > 8, what="answers of the first version")
            put(tmp_path, tiny_onnx(seed=2), version=2)
            running.says("serving version 2")
            put(tmp_path, b"no model", version=3)
            put(tmp_path, constant_onnx(label=0, confidence=0), version=4)  # it loads, and cannot answer
            running.says("version 3 is refused")
            running.says("version 4 is refused")
            before = running.metric("selfsyn_run_images_count")
            until(lambda: running.metric("selfsyn_run_images_count") > before + 8, what="answers after the refusal")
        finally:
            done.set()
        seen = [client.result() for client in clients]
        assert [versions == sorted(versions) for versions in seen] == [True, True]  # never back to the old one
        assert {version for versions in seen for version in versions} == {"1", "2"}
        assert running.metric('selfsyn_model_loads_total{outcome="refused"}') == 2
        shutil.rmtree(tmp_path / "segmenter/2")  # the way back
        running.says("serving version 1")
        until(lambda: running.get("/v2").headers[VERSION] == "1", what="version 1 again")
        assert len([line for line in running.lines if "refused" in line]) == 2  # said once each


def test_a_version_that_was_half_copied_is_taken_when_it_is_whole(tmp_path: Path) -> None:
    put(tmp_path, tiny_onnx(seed=1), version=1)
    put(tmp_path, tiny_onnx(seed=2)[:-50], version=2)
    with server(tmp_path) as running:
        assert running.get("/v2").headers[VERSION] == "1"
        (tmp_path / "segmenter/2/model.onnx").write_bytes(tiny_onnx(seed=2))
        running.says("serving version 2")


# ---- beginning and end ----


def test_sigterm_answers_what_has_begun_and_ends_with_143(tmp_path: Path) -> None:
    put(tmp_path, tiny_onnx(), version=1)
    picture = encode_png(pictures(HEIGHT, WIDTH))
    with server(tmp_path) as running:
        begun = half_sent(running.port, PREDICT, picture)
        until(lambda: running.metric("selfsyn_admitted_requests") == 1, what="a request that has begun")
        idle = socket.create_connection(("127.0.0.1", running.port))
        running.process.terminate()
        until(lambda: not listens(running.port), what="a closed door")
        reply = rest_sent(begun, picture)
        assert reply.status == 200 and reply.body.startswith(b"\x89PNG")
        begun.close()
        assert running.process.wait(timeout=60) == 143
        idle.close()
        assert not any("Traceback" in line for line in running.lines), running.lines


def test_sigterm_answers_one_more_request_on_an_open_connection(tmp_path: Path) -> None:
    put(tmp_path, tiny_onnx(), version=1)
    picture = encode_png(pictures(HEIGHT, WIDTH))
    with server(tmp_path) as running:
        kept = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE)
        kept.request("POST", PREDICT, picture)
        before = replied(kept)
        assert before.status == 200 and "connection" not in before.headers
        running.process.terminate()
        until(lambda: not listens(running.port), what="a closed door")
        kept.request("POST", PREDICT, picture)
        after = replied(kept)
        assert (after.status, after.body, after.headers["connection"]) == (200, before.body, "close")
        assert running.process.wait(timeout=60) == 143
        assert not any("Traceback" in line for line in running.lines), running.lines


def test_clients_that_hold_their_end_open_do_not_delay_the_end(tmp_path: Path) -> None:
    put(tmp_path, tiny_onnx(), version=1)
    with server(tmp_path) as running:  # its limit on a request is a minute
        early, garbage = (socket.create_connection(("127.0.0.1", running.port)) for _ in range(2))
        early.sendall(f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999\r\n\r\n".encode())
        assert early.recv(100).startswith(b"HTTP/1.1 413")
        garbage.sendall(b"\x00\x01\r\n\r\n")
        assert garbage.recv(100).startswith(b"HTTP/1.1 400")
        began = time.monotonic()
        running.process.terminate()
        assert running.process.wait(timeout=60) == 143
        assert time.monotonic() - began < 20
        early.close()
        garbage.close()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_server_that_cannot_begin_says_why_in_one_line(tmp_path: Path) -> None:
    code, said = selfsyn_here("serve", "--model", tmp_path, "--port", 0, "--device", "cpu")
    assert code == 3 and "no version; run `selfsyn publish" in said and len(said.splitlines()) == 1
    put(tmp_path, b"no model", version=1)
    code, said = selfsyn_here("serve", "--model", tmp_path, "--port", 0, "--device", "cpu")
    assert code == 2 and "none of its versions can be served" in said.splitlines()[-1]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = selfsyn_here("serve", "--model", tmp_path, "--port", taken.getsockname()[1])
        assert code == 2 and "Address already in use" in said and len(said.splitlines()) == 1


def test_answers_do_not_wait_for_the_network() -> None:
    with bound("127.0.0.1", 0) as listener:  # what asyncio looks at before it sets TCP_NODELAY on what it accepts
        assert listener.proto == socket.IPPROTO_TCP


def test_cuda_that_cannot_be_had_is_refused(tmp_path: Path) -> None:
    from export.teacher import why_no_cuda

    if why_no_cuda() is None:
        pytest.skip("this machine has CUDA")
    put(tmp_path, tiny_onnx(), version=1)
    done = selfsyn("serve", "--model", tmp_path, "--port", 0, "--device", "cuda")
    assert done.returncode == 2 and "or use --device cpu" in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "prometheus_client", "python_multipart"])
def test_without_the_extra_the_remedy_is_said(package: str) -> None:
    code = (
        f"import sys; sys.modules['{package}'] = None; sys.argv = ['selfsyn', 'serve', '--model', '.'];"
        "from jobs.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "pip install 'selfsyn[serve]'" in done.stderr and package in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_serving_and_publishing_never_import_torch() -> None:
    code = "import export.service.server, export.publish, jobs.serve, jobs.publish, sys; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert shown.stdout.strip() == "False", shown.stderr
