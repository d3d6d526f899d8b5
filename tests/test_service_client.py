"""The service as somebody else's client of the protocol sees it: NVIDIA's tritonclient over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from serving import PATIENCE, Server, pictures, put, server
from tiny_teacher import tiny_onnx

from export.teacher import Teacher
from selfsyn.files import digest_bytes

client = pytest.importorskip("tritonclient.http", reason="needs the extra dev")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    repository = tmp_path_factory.mktemp("repository")
    put(repository, tiny_onnx(), version=2)
    with server(repository) as process:
        yield process


@pytest.fixture
def triton(running: Server):  # type: ignore[no-untyped-def]
    connection = client.InferenceServerClient(
        f"127.0.0.1:{running.port}", connection_timeout=PATIENCE, network_timeout=PATIENCE, concurrency=4
    )
    yield connection
    connection.close()


def asked(images: np.ndarray, *, binary: bool = True):  # type: ignore[no-untyped-def]
    """One input, and both outputs, for tritonclient."""
    image = client.InferInput("image", list(images.shape), "UINT8")
    image.set_data_from_numpy(images, binary_data=binary)
    return [image], [client.InferRequestedOutput(name, binary_data=binary) for name in ("label", "confidence")]


def test_health_and_metadata(triton) -> None:  # type: ignore[no-untyped-def]
    assert triton.is_server_live() and triton.is_server_ready()
    assert triton.is_model_ready("segmenter") and triton.is_model_ready("segmenter", "2")
    assert not triton.is_model_ready("segmenter", "1") and not triton.is_model_ready("other")
    assert triton.get_server_metadata()["name"] == "selfsyn"
    described = triton.get_model_metadata("segmenter")
    assert described["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]
    assert [output["name"] for output in described["outputs"]] == ["label", "confidence"]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
def test_infer_is_the_teachers_answer_byte_for_byte(triton, binary: bool, packing: str | None) -> None:  # type: ignore[no-untyped-def]
    images = pictures(2, 37, 53)
    inputs, outputs = asked(images, binary=binary)
    result = triton.infer(
        "segmenter",
        inputs,
        outputs=outputs,
        request_id="street",
        request_compression_algorithm=packing,
        response_compression_algorithm=packing,
    )
    expected = Teacher(tiny_onnx(), device="cpu").predict(images)
    for name, maps in zip(("label", "confidence"), expected, strict=True):
        assert result.as_numpy(name).tobytes() == maps.tobytes() and result.as_numpy(name).shape == maps.shape
    response = result.get_response()
    assert (response["id"], response["model_version"]) == ("street", "2")
    assert response["parameters"]["model_digest"] == digest_bytes(tiny_onnx())


def test_several_at_once(triton) -> None:  # type: ignore[no-untyped-def]
    images = [pictures(1, 20 + 4 * (seed % 2), 30, seed=seed) for seed in range(8)]
    under_way = [triton.async_infer("segmenter", inputs, outputs=outputs) for inputs, outputs in map(asked, images)]
    teacher = Teacher(tiny_onnx(), device="cpu")
    for image, promise in zip(images, under_way, strict=True):
        assert np.array_equal(promise.get_result().as_numpy("label"), teacher.predict(image)[0])


def test_an_error_reaches_the_client_in_words(triton) -> None:  # type: ignore[no-untyped-def]
    image = client.InferInput("image", [1, 4, 4, 3], "FP32")
    image.set_data_from_numpy(np.zeros((1, 4, 4, 3), np.float32))
    with pytest.raises(Exception, match="expected UINT8"):
        triton.infer("segmenter", [image])
