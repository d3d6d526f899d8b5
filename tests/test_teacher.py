"""The runtime: it keeps the contract, says where it runs, and never falls back in silence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tiny_teacher import METADATA, SIZE, constant_onnx, tiny_onnx, write_teacher

from export import contract, teacher
from export.teacher import CPU, Teacher, load, usable_device, why_no_cuda
from selfsyn.errors import FaultError, InputError, NotReadyError
from selfsyn.files import digest_bytes


@pytest.fixture(scope="module")
def model() -> bytes:
    return tiny_onnx()


@pytest.fixture(scope="module")
def tiny(model: bytes) -> Teacher:
    return Teacher(model, device="cpu", threads=1)


def pictures(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_predict_answers_in_the_contracts_form(tiny: Teacher) -> None:
    labels, confidences = tiny.predict(pictures(2, 48, 64))
    for answer in (labels, confidences):
        assert answer.shape == (2, 48, 64) and answer.dtype == np.uint8
    assert len(np.unique(labels)) > 3 and labels.max() < 19
    assert confidences.min() >= contract.LOWEST_CONFIDENCE == 13


@pytest.mark.parametrize("shape", [(1, 33, 47), (3, 75, 50)])
def test_predict_takes_any_size_and_batch(tiny: Teacher, shape: tuple[int, ...]) -> None:
    assert tiny.predict(pictures(*shape))[0].shape == shape


def test_answer_depends_neither_on_the_batch_nor_on_the_threads(model: bytes, tiny: Teacher) -> None:
    images = pictures(5, 48, 64)
    alone = [tiny.predict(image[None]) for image in images]
    for other in (tiny, Teacher(model, device="cpu", threads=2)):
        for got, expected in zip(other.predict(images), map(np.concatenate, zip(*alone, strict=True)), strict=True):
            assert np.array_equal(got, expected)


def test_teacher_says_what_and_where_it_is(model: bytes, tiny: Teacher) -> None:
    assert (tiny.digest, tiny.size, tiny.provider) == (digest_bytes(model), SIZE, CPU)
    assert tiny.metadata == METADATA


@pytest.mark.parametrize(
    "images", [np.zeros((1, 8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8), np.zeros((1, 3, 8, 8), np.uint8)]
)
def test_predict_refuses_other_arrays(tiny: Teacher, images: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        tiny.predict(images)


def test_scores_that_are_not_finite_are_a_fault() -> None:
    with pytest.raises(FaultError, match="not finite"):
        Teacher(constant_onnx(label=0, confidence=0), device="cpu").predict(pictures(1, 8, 8))


def test_label_that_is_no_class_is_a_fault() -> None:
    with pytest.raises(FaultError, match="label 200 is not a class"):
        Teacher(constant_onnx(label=200, confidence=255), device="cpu").predict(pictures(1, 8, 8))


def test_model_without_the_contract_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(constant_onnx(label=0, confidence=255, properties={"author": "someone"}))
    with pytest.raises(InputError, match=r"model\.onnx: not a selfsyn teacher .*selfsyn\.classes"):
        Teacher(path, device="cpu")


def test_model_of_another_contract_version_is_refused() -> None:
    properties = contract.to_properties(METADATA) | {"selfsyn.contract": "2"}
    with pytest.raises(InputError, match="contract version 2; expected 1"):
        Teacher(constant_onnx(label=0, confidence=255, properties=properties), device="cpu")


def test_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"model\.onnx: onnxruntime cannot load it") as caught:
        Teacher(path, device="cpu")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        Teacher(tmp_path / "absent.onnx", device="cpu")


def test_load_takes_the_finished_teacher_and_no_other(tmp_path: Path, model: bytes) -> None:
    with pytest.raises(NotReadyError, match="export-teacher"):
        load(tmp_path, device="cpu")
    write_teacher(tmp_path, model)
    assert load(tmp_path, device="cpu").digest == digest_bytes(model)
    (tmp_path / contract.MODEL_FILE).write_bytes(constant_onnx(label=0, confidence=255))
    with pytest.raises(InputError, match="its manifest says sha256:"):
        load(tmp_path, device="cpu")


def with_golden(*, label: int, wrong: int = 0, spoilt: bool = False) -> bytes:
    """A teacher that always answers class 3, and a golden picture that expects `label`, at `wrong` of 100 pixels another."""
    maps = np.full((10, 10), label, np.uint8), np.full((10, 10), 200, np.uint8)
    maps[0].ravel()[:wrong] = 7
    properties = contract.to_properties(METADATA, golden=contract.Golden(pictures(10, 10), *maps))
    if spoilt:
        properties["selfsyn.golden.label"] = "no base64"
    return constant_onnx(label=3, confidence=200, properties=properties)


def test_golden_picture_is_answered_before_a_job_begins(tmp_path: Path) -> None:
    for wrong in (0, 3):
        write_teacher(tmp_path, with_golden(label=3, wrong=wrong))
        golden = load(tmp_path, device="cpu").golden
        assert golden is not None and np.array_equal(golden.image, pictures(10, 10))
    for model, share in ((with_golden(label=3, wrong=4), "4.0%"), (with_golden(label=5), "100.0%")):
        write_teacher(tmp_path, model)
        with pytest.raises(FaultError, match=f"{share} of its golden picture differs from torch's answer.*--device cpu"):
            load(tmp_path, device="cpu")


def test_golden_picture_that_is_spoilt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its golden picture is damaged"):
        Teacher(with_golden(label=3, spoilt=True), device="cpu")


def test_early_files_say_nothing_of_precision_and_have_no_golden_picture() -> None:
    properties = contract.to_properties(METADATA)
    del properties["selfsyn.precision"]
    early = Teacher(constant_onnx(label=0, confidence=255, properties=properties), device="cpu")
    assert early.metadata == METADATA and early.golden is None
    early.check()


def test_cuda_that_cannot_be_had_is_refused_and_auto_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(teacher, "why_no_cuda", lambda: "libcurand.so.10 cannot be loaded")
    with pytest.raises(InputError, match=r"--device cuda: libcurand.* cannot be loaded; install .*--device cpu"):
        usable_device("cuda")
    assert usable_device("auto") == "cpu"
    assert "no CUDA (libcurand.so.10 cannot be loaded)" in capsys.readouterr().err


def test_session_that_lands_elsewhere_is_refused(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    if why_no_cuda() is None:
        pytest.skip("this machine has CUDA")
    monkeypatch.setattr(teacher, "why_no_cuda", lambda: None)  # the probe is wrong, and the session falls back in silence
    with pytest.raises(InputError, match="asked for CUDAExecutionProvider, got CPUExecutionProvider"):
        Teacher(model, device="auto")


def test_graph_that_stays_partly_on_the_cpu_is_refused(tiny: Teacher) -> None:
    class Elsewhere:
        def get_providers(self) -> list[str]:
            return [teacher.CUDA, CPU]

        def get_provider_graph_assignment_info(self) -> object:
            return tiny.session.get_provider_graph_assignment_info()

    with pytest.raises(InputError, match=r"Conv\b.* would run on the CPU"):
        teacher._refuse_other_provider(Elsewhere(), provider=teacher.CUDA, name="model")


def test_triton_configuration_names_the_contracts_tensors(model: bytes) -> None:
    text = contract.triton_configuration()
    graph = onnx.load_from_string(model).graph
    for tensor in (*graph.input, *graph.output):
        assert f'name: "{tensor.name}"' in text
    assert text.startswith('name: "segmenter"\nbackend: "onnxruntime"\n')
    assert text.count("TYPE_UINT8") == 3 and text.count("{") == text.count("}") and text.count("[") == text.count("]")


def test_labelling_and_scoring_never_import_torch() -> None:
    code = "import export.pipeline, export.teacher, selfsyn.metrics, selfsyn.pseudo_labels, jobs.pseudo_label, jobs.evaluate, sys"
    shown = subprocess.run([sys.executable, "-c", f"{code}; print('torch' in sys.modules)"], capture_output=True, text=True)
    assert shown.stdout.strip() == "False", shown.stderr


def test_metadata_survives_the_file(model: bytes) -> None:
    properties = {item.key: item.value for item in onnx.load_from_string(model).metadata_props}
    assert contract.from_properties(properties, name="m") == METADATA
    assert json.loads(properties["selfsyn.size"]) == [64, 48]
