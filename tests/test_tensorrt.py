"""TensorRT, as far as a machine without a GPU can tell: what is asked of it, what is refused, and what is kept.

Sessions here are real ones on the CPU that say they are on TensorRT. No engine was ever built.
"""

from __future__ import annotations

import asyncio
import ctypes.util
import importlib.util
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from click.testing import CliRunner
from onnx import helper
from serving import pictures, put
from test_batches import Recorder
from tiny_run import make, selfsyn_here
from tiny_teacher import METADATA, SIZE, constant_onnx, model_of, tiny_onnx, write_teacher

from export import contract, teacher, tensorrt
from export.service.batches import Batches
from export.service.metrics import Metrics
from export.service.models import Model, Models
from export.service.refusals import Refusal
from export.service.routes import described
from export.teacher import CPU, CUDA, TENSORRT, Teacher, load, usable_device
from export.tensorrt import Engine, cache_folder, gpu_of, grown, kept, options
from jobs import doctor
from jobs.__main__ import VERBS, cli
from selfsyn.errors import FaultError, InputError

ENGINE = Engine("sha256:1", (4, 48, 64), "fp32", gpu="NVIDIA H200, 9.0", onnxruntime="1.31.1", tensorrt="101601")
WIDTH, HEIGHT = SIZE
ABSENT = importlib.util.find_spec(tensorrt.PACKAGE) is None and ctypes.util.find_library("nvinfer") is None


class Node:
    """A node as onnxruntime reports it."""

    def __init__(self, op_type: str, name: str = "") -> None:
        self.op_type, self.name = op_type, name


class Assigned:
    """The nodes of one provider, as onnxruntime reports them."""

    def __init__(self, ep_name: str, *nodes: Node) -> None:
        self.ep_name, self.nodes = ep_name, nodes

    def get_nodes(self) -> tuple[Node, ...]:
        return self.nodes


class Placed:
    """A session that says where its nodes are."""

    def __init__(self, *assigned: Assigned, providers: tuple[str, ...] = (TENSORRT, CUDA, CPU)) -> None:
        self.assigned, self.providers = assigned, providers

    def get_providers(self) -> list[str]:
        return list(self.providers)

    def get_provider_graph_assignment_info(self) -> list[Assigned]:
        return list(self.assigned)


class OnTensorrt(ort.InferenceSession):  # type: ignore[misc]
    """Computes on the CPU and says TensorRT where that was asked for; leaves an engine where it was told to."""

    def __init__(self, data: bytes, options: ort.SessionOptions, *, providers: list[Any], enable_fallback: bool) -> None:
        self.pretends = providers[0][0] == TENSORRT
        super().__init__(data, options, providers=[CPU], enable_fallback=enable_fallback)
        if self.pretends:
            (Path(providers[0][1]["trt_engine_cache_path"]) / "graph_sm90.engine").touch()

    def get_providers(self) -> list[str]:
        return [TENSORRT, CUDA, CPU] if self.pretends else [CPU]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        everywhere = super().get_provider_graph_assignment_info()
        return [Assigned(TENSORRT, *one.get_nodes()) for one in everywhere] if self.pretends else everywhere


def golden_onnx(*, label: int = 3, expected: int = 3) -> bytes:
    """A teacher that answers `label` everywhere, and whose golden picture of 10 x 10 expects another answer on demand."""
    golden = contract.Golden(pictures(10, 10), np.full((10, 10), expected, np.uint8), np.full((10, 10), 200, np.uint8))
    return constant_onnx(label=label, confidence=200, properties=contract.to_properties(METADATA, golden=golden))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that seems to have a GPU and TensorRT's libraries; onnxruntime itself finds neither."""
    monkeypatch.setattr(teacher, "why_no_cuda", lambda: None)
    monkeypatch.setattr(tensorrt, "why_no_tensorrt", lambda: None)
    monkeypatch.setattr(tensorrt, "engine_here", lambda **found: replace(ENGINE, **found))


@pytest.fixture
def pretended(libraries: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "InferenceSession", OnTensorrt)


# ---- what is asked of it ----


@pytest.mark.parametrize(("precision", "half"), [("fp32", "False"), ("fp16", "True")])
def test_options_of_the_provider(precision: str, half: str) -> None:
    assert options(precision=precision, folder=Path("/cache/key")) == {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": "/cache/key",
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": "/cache/key",
        "trt_fp16_enable": half,
    }


def test_onnxruntime_knows_the_options() -> None:
    (library,) = (Path(ort.__file__).parent / "capi").glob("onnxruntime_pybind11_state*")
    known = library.read_bytes()  # it loads TensorRT before it looks at options, so it cannot be asked without
    assert b"trt_fp61_enable" not in known
    for key, value in options(precision="fp16", folder=Path("/cache")).items():
        expected = f"The value for the key '{key}' should be" + (" 'True' or 'False'" if value == "True" else " a path string")
        assert expected.encode() in known, key


def test_an_engine_is_kept_by_all_that_it_depends_on(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder(ENGINE) == cache / "selfsyn/tensorrt" / "c8262b99ecf26a9569bfd3bed22f7c60"
    others = [
        {"model": "sha256:2"},
        {"shape": (1, 48, 64)},
        {"shape": (4, 64, 48)},
        {"precision": "fp16"},
        {"gpu": "NVIDIA H200, 8.0"},
        {"onnxruntime": "1.31.2"},
        {"tensorrt": "101500"},
        {"tf32": "0"},
    ]
    assert len({cache_folder(ENGINE), *(cache_folder(replace(ENGINE, **other)) for other in others)}) == 1 + len(others)
    assert {name for other in others for name in other} == set(vars(ENGINE))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder(ENGINE).parent == Path("/home/someone/.cache/selfsyn/tensorrt")


def test_the_gpu_is_named_by_the_driver() -> None:
    class Driver:
        def cuInit(self, flags: int) -> int:
            return 0

        def cuDeviceGet(self, device: Any, number: int) -> int:
            device._obj.value = 7
            return number

        def cuDeviceGetName(self, name: Any, length: int, device: Any) -> int:
            assert (length, device.value) == (256, 7)
            name.value = b"NVIDIA H200"
            return 0

        def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
            value._obj.value = {75: 9, 76: 0}[attribute]
            return 0

    assert gpu_of(Driver()) == "NVIDIA H200, 9.0"


def test_a_picture_grows_by_mirroring() -> None:
    image = np.array([[[1, 1, 1], [2, 2, 2]], [[3, 3, 3], [4, 4, 4]]], np.uint8)
    assert grown(image, size=(5, 1))[..., 0].tolist() == [[1, 2, 2, 1, 1]]
    assert grown(image, size=(1, 4))[..., 0].tolist() == [[1], [3], [3], [1]]
    assert np.array_equal(grown(image, size=(2, 2)), image)


# ---- what is kept ----


def test_an_engine_is_built_once_and_kept_whole(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cache_folder(ENGINE)
    with kept(ENGINE) as first, kept(ENGINE) as second:  # two processes at once
        assert len({first, second, folder}) == 3 and first.parent == folder.parent
        for number, place in enumerate((first, second)):
            (place / "graph.engine").write_text(str(number))
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert (folder / "graph.engine").read_text() == "1"
    said = capsys.readouterr().err
    assert "builds an engine for 4 images of 64x48 (minutes, once); it is kept in" in said and str(folder) in said
    with kept(ENGINE) as again:
        assert again == folder
    assert capsys.readouterr().err == ""


def test_what_ends_with_an_error_or_without_an_engine_is_not_kept() -> None:
    def broken() -> None:
        with kept(ENGINE) as place:
            (place / "graph.engine").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    with kept(ENGINE) as place:
        (place / "graph.timing").touch()
    assert list(cache_folder(ENGINE).parent.iterdir()) == []


def test_a_cache_that_cannot_be_is_said(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write_text("a file")
    with pytest.raises(InputError, match=r"cache/selfsyn/tensorrt: cannot be written .*; set XDG_CACHE_HOME"), kept(ENGINE):
        pass
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(InputError, match="no home folder .*; set XDG_CACHE_HOME"):
        cache_folder(ENGINE)


# ---- what is refused ----


def test_tensorrt_that_cannot_be_had_is_refused_and_auto_never_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher, "why_no_cuda", lambda: "libcuda.so.1 cannot be loaded")
    monkeypatch.setattr(tensorrt, "why_no_tensorrt", lambda: "libnvinfer.so.10 cannot be loaded")
    with pytest.raises(InputError, match=r"^--device tensorrt: libcuda\.so\.1 cannot be loaded; install .*--device cpu$"):
        usable_device("tensorrt")
    monkeypatch.setattr(teacher, "why_no_cuda", lambda: None)
    with pytest.raises(InputError) as caught:
        usable_device("tensorrt")
    assert str(caught.value) == (
        "--device tensorrt: libnvinfer.so.10 cannot be loaded; run `pip install 'tensorrt-cu13>=10,<11'`, or use --device cuda"
    )
    monkeypatch.setattr(tensorrt, "why_no_tensorrt", lambda: None)
    assert [usable_device(device) for device in ("tensorrt", "cuda", "auto")] == ["tensorrt", "cuda", "cuda"]


def test_the_libraries_are_looked_for_truly(monkeypatch: pytest.MonkeyPatch) -> None:
    if not ABSENT:
        pytest.skip("this machine has TensorRT")
    assert re.fullmatch(r"lib\S+ cannot be loaded|onnxruntime \S+ is built without TensorRT", tensorrt.why_no_tensorrt() or "")
    monkeypatch.setattr(tensorrt, "LIBRARY", "libc.so.6")  # with NVIDIA's library there, the provider's own is tried
    assert re.fullmatch(r"lib\S+ cannot be loaded|onnxruntime \S+ is built without TensorRT", tensorrt.why_no_tensorrt() or "")
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    assert tensorrt.why_no_tensorrt() == f"onnxruntime {ort.__version__} is built without TensorRT"


def test_pips_libraries_are_found_where_the_loader_does_not_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / tensorrt.PACKAGE
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "libbroken.so.10").write_text("no library")
    shutil.copy(Path(ort.__file__).parent / "capi/libonnxruntime_providers_shared.so", package / "libnvinfer.so.10")
    monkeypatch.syspath_prepend(tmp_path)
    tensorrt.preload()
    assert str(package / "libnvinfer.so.10") in Path("/proc/self/maps").read_text()


def test_a_session_that_falls_back_in_silence_is_refused() -> None:
    for found in (CUDA, CPU):
        with pytest.raises(InputError) as caught:
            teacher._refuse_other_provider(Placed(providers=(found, CPU)), provider=TENSORRT, name="m")
        remedy = "run `pip install 'tensorrt-cu13>=10,<11'`, or use --device cuda"
        assert str(caught.value) == f"m: asked for TensorrtExecutionProvider, got {found}; {remedy}"


def test_an_onnxruntime_that_cannot_load_it_after_all_is_refused(libraries: None, cache: Path) -> None:
    if not ABSENT:
        pytest.skip("this machine has TensorRT")
    with pytest.raises(InputError, match="^model: ") as caught:  # the real one, whose libraries are missing
        Teacher(golden_onnx(), device="tensorrt")
    assert "\n" not in str(caught.value) and str(caught.value).endswith("--device cuda")
    assert [path for path in cache.rglob("*") if path.name.startswith(".tmp-") or path.is_file()] == []


@pytest.mark.parametrize(
    ("assigned", "said"),
    [
        (
            [Assigned(TENSORRT, Node("Conv")), Assigned(CUDA, Node("Where"), Node("Exp")), Assigned(CPU, Node("Gather"))],
            None,
        ),
        ([Assigned(CPU, Node("Resize"), Node("Conv"), Node("Shape"))], f"Conv, Resize would run on the CPU, not on {TENSORRT}"),
        (
            [Assigned(CUDA, Node("Conv", "conv_1"), Node("Where")), Assigned(CUDA, Node("Conv"))],
            "convolutions (2: conv_1, Conv) would run on CUDA, not on TensorRT",
        ),
        (
            [Assigned(CUDA, *(Node("Conv", f"c{number}") for number in range(9)))],
            "convolutions (9: c0, c1, c2, ...) would run on CUDA, not on TensorRT",
        ),
    ],
)
def test_what_may_run_elsewhere(assigned: list[Assigned], said: str | None) -> None:
    if said is None:
        teacher._refuse_other_provider(Placed(*assigned), provider=TENSORRT, name="m")
        return
    with pytest.raises(InputError) as caught:
        teacher._refuse_other_provider(Placed(*assigned), provider=TENSORRT, name="m")
    assert str(caught.value) == f"m: {said}; use --device cuda"


def test_convolutions_of_a_session_on_cuda_are_where_they_belong() -> None:
    teacher._refuse_other_provider(Placed(Assigned(CUDA, Node("Conv")), providers=(CUDA, CPU)), provider=CUDA, name="m")


def test_segnet_is_refused_before_anything_is_built(pretended: None, cache: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["label"], axes=[3], keepdims=0),
        helper.make_node("Cast", ["image"], ["whole"], to=7),
        helper.make_node("ScatterElements", ["image", "whole", "image"], ["scattered"], axis=3),
        helper.make_node("ReduceMax", ["scattered"], ["confidence"], axes=[3], keepdims=0),
    ]
    with pytest.raises(InputError) as caught:
        Teacher(model_of(nodes, {}), device="tensorrt")
    assert str(caught.value) == "model: ScatterElements (SegNet's unpooling) does not run on TensorRT; use --device cuda"
    assert not cache.exists()


def test_a_file_without_a_golden_picture_is_refused_before_anything_is_built(
    pretended: None, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "early.onnx").write_bytes(tiny_onnx())
    with pytest.raises(InputError, match=r"early\.onnx: has no golden picture to try TensorRT on; .*--device cuda"):
        Teacher(tmp_path / "early.onnx", device="tensorrt")
    assert not cache.exists()


def test_a_file_whose_dimensions_have_other_names_is_refused(pretended: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "dimensions", lambda shape: {"n": 4})
    with pytest.raises(InputError, match=r"its input is \['batch', 'height', 'width', 3\] .*expected \[4, 48, 64, 3\]"):
        Teacher(golden_onnx(), device="tensorrt")


# ---- a teacher that says it is on TensorRT ----


def test_a_teacher_on_tensorrt_takes_one_shape(pretended: None, cache: Path) -> None:
    found = Teacher(golden_onnx(), device="tensorrt")
    assert (found.provider, found.batch, found.fixed, found.size) == ("TensorrtExecutionProvider", 4, True, SIZE)
    engine = replace(ENGINE, model=found.digest, shape=(4, HEIGHT, WIDTH))
    assert [path.name for path in cache_folder(engine).iterdir()] == ["graph_sm90.engine"]
    assert found.session.get_inputs()[0].shape == [4, HEIGHT, WIDTH, 3]
    assert found.predict(pictures(4, HEIGHT, WIDTH))[0].shape == (4, HEIGHT, WIDTH)
    for shape in ((3, HEIGHT, WIDTH), (4, WIDTH, HEIGHT)):
        with pytest.raises(Exception, match="invalid dimensions"):
            found.predict(pictures(*shape))
    assert Teacher(golden_onnx(), device="tensorrt", batch=2).session.get_inputs()[0].shape == [2, HEIGHT, WIDTH, 3]


def test_its_golden_picture_has_the_engines_size_and_the_cpus_answer(
    pretended: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_teacher(tmp_path, golden_onnx())
    golden = load(tmp_path, device="tensorrt").golden
    assert golden is not None and golden.image.shape == (HEIGHT, WIDTH, 3)
    assert (golden.label == 3).all() and (golden.confidence == 200).all()
    with pytest.raises(FaultError, match="golden picture differs from torch's answer.*CPUExecutionProvider"):
        Teacher(golden_onnx(expected=5), device="tensorrt")
    run = OnTensorrt.run
    wrong = lambda self, *given: [array + self.pretends for array in run(self, *given)]  # noqa: E731
    monkeypatch.setattr(OnTensorrt, "run", wrong)
    with pytest.raises(FaultError, match="100.0% of its golden picture differs from torch's answer.*TensorrtExecutionProvider"):
        load(tmp_path, device="tensorrt")


def answered(model: Model, images: np.ndarray, *, pixels: int) -> tuple[list[int], Any]:
    """The sizes of the runs of a service that may see `pixels` at once, and its answer."""
    recorder = model.teacher.session = Recorder(model.teacher.session)
    batches = Batches(runs=1, images=None, pixels=pixels, metrics=Metrics())

    async def ask() -> Any:
        return await batches.answers(model, images)

    try:
        return recorder.runs, asyncio.run(ask())
    finally:
        batches.close()


def test_the_service_fills_each_run_and_refuses_other_sizes(pretended: None) -> None:
    model = Model(1, Teacher(golden_onnx(), device="tensorrt"), None)
    assert described(model)["inputs"][0]["shape"] == [-1, HEIGHT, WIDTH, 3]
    assert [entry["shape"] for entry in described(model)["outputs"]] == [[-1, HEIGHT, WIDTH]] * 2
    for pixels, runs in ((10 * HEIGHT * WIDTH, [4]), (2 * HEIGHT * WIDTH, [4, 4])):  # always the engine's number of images
        found, (labels, _) = answered(model, pictures(3, HEIGHT, WIDTH), pixels=pixels)
        assert found == runs and labels.shape == (3, HEIGHT, WIDTH)
    with pytest.raises(Refusal, match=f"images of 30x20; expected {WIDTH}x{HEIGHT}, the size of the TensorRT engine"):
        answered(model, pictures(1, 20, 30), pixels=10_000)


@pytest.mark.parametrize("device", ["cpu", "tensorrt"])
def test_the_service_tries_a_version_on_its_golden_picture(pretended: None, tmp_path: Path, device: str) -> None:
    found = Models(tmp_path, load=partial(Teacher, device=device), refused=lambda: None, served=lambda model: None)
    put(tmp_path, golden_onnx(expected=5), version=1)
    with pytest.raises(InputError, match="none of its versions can be served"):
        found.first()
    put(tmp_path, golden_onnx(), version=2)
    assert found.first().version == 2


def test_the_services_batch_is_the_engines(pretended: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, golden_onnx(), version=1)
    served: list[tuple[str, int]] = []

    def serve(listener: Any, models: Models, **_: Any) -> None:
        listener.close()
        served.append((models.first().teacher.provider, models.first().teacher.batch))

    monkeypatch.setattr("export.service.server.serve", serve)
    for device, batch in (("tensorrt", 2), ("cpu", 8)):  # on a CPU the queue alone keeps to it
        assert selfsyn_here("serve", "--model", tmp_path, "--port", 0, "--device", device, "--batch", batch)[0] == 0
    assert served == [(TENSORRT, 2), (CPU, 1)]


# ---- the command line ----

TEACHERS = {"pseudo-label": ["--round", "1"], "evaluate": ["--round", "0"]}


@pytest.mark.parametrize("verb", TEACHERS)
def test_without_tensorrt_the_remedy_is_said_before_all_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    run = make(tmp_path / "run")
    if teacher.why_no_cuda() is not None:
        code, said = selfsyn_here(verb, "--run", run, *TEACHERS[verb], "--device", "tensorrt")
        assert code == 2 and said.startswith("selfsyn: --device tensorrt: ") and len(said.splitlines()) == 1, said
        assert "install `onnxruntime-gpu[cuda,cudnn]`" in said
    monkeypatch.setattr(teacher, "why_no_cuda", lambda: None)
    monkeypatch.setattr(tensorrt, "why_no_tensorrt", lambda: "libnvinfer.so.10 cannot be loaded")
    code, said = selfsyn_here(verb, "--run", run, *TEACHERS[verb], "--device", "tensorrt")
    assert (code, said) == (
        2,
        "selfsyn: --device tensorrt: libnvinfer.so.10 cannot be loaded;"
        " run `pip install 'tensorrt-cu13>=10,<11'`, or use --device cuda\n",
    )


def test_the_service_says_the_remedy_too(tmp_path: Path) -> None:
    if teacher.why_no_cuda() is None:
        pytest.skip("this machine has CUDA")
    code, said = selfsyn_here("serve", "--model", tmp_path, "--port", 0, "--device", "tensorrt")
    assert code == 2 and said.startswith("selfsyn: --device tensorrt: ") and len(said.splitlines()) == 1, said


def test_only_the_verbs_that_run_a_teacher_alone_offer_it() -> None:
    offered = {verb for verb in VERBS if "tensorrt" in CliRunner().invoke(cli, [verb, "--help"]).output}
    assert offered == {*TEACHERS, "serve"}
    for verb in ("train", "fit-adapter", "adapt", "round", "compare", "demo", "probe-gap"):
        refused = CliRunner().invoke(cli, [verb, "--run", ".", "--device", "tensorrt"])
        assert refused.exit_code == 2 and "'tensorrt' is not one of 'auto', 'cpu', 'cuda'" in refused.output, refused.output


def test_doctor_lists_tensorrt_where_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = {"cuda": "no driver", "tensorrt": "libnvinfer.so.10 cannot be loaded"}
    monkeypatch.setattr(teacher, "why_no_cuda", lambda: reasons.get("cuda"))
    monkeypatch.setattr(tensorrt, "why_no_tensorrt", lambda: reasons.get("tensorrt"))
    assert doctor._providers() == ((CPU,), "no driver")
    del reasons["cuda"]
    assert doctor._providers() == ((CUDA, CPU), "")
    del reasons["tensorrt"]
    assert doctor._providers() == ((TENSORRT, CUDA, CPU), "")
