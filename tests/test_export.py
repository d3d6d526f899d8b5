"""Export: the file answers as the net does, has the same bytes again, and is not written when it differs."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import selfsyn.task
from export import contract, parity, tensorrt, traced
from export import teacher as runtime
from export.contract import Metadata
from export.graph import halved
from export.teacher import Teacher, load
from export.to_onnx import Segmenter, label_and_confidence, to_onnx
from jobs.__main__ import main
from selfsyn.config import Task
from selfsyn.config import Teacher as TeacherConfig
from selfsyn.errors import FaultError, InputError
from selfsyn.files import digest_bytes, digest_file
from selfsyn.images import UnreadableError, encode_png
from selfsyn.labels import CLASS_COUNT, CLASSES
from selfsyn.task.scores import Scores, TaskNet

torch.set_num_threads(1)
SIZE = (64, 48)
TASK = Task(architecture="fcn", backbone="none", weights="scratch")
METADATA = Metadata(CLASSES, TASK.mean, TASK.std, SIZE, checkpoint="sha256:0", stage="round-0", program="0.0.0")


class TinyNet(TaskNet):
    """Two heads on strided features, enlarged: the operators of the real nets, and answers that depend on the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 12, 3, stride=2, padding=1)
        self.main, self.auxiliary = nn.Conv2d(12, CLASS_COUNT, 1), nn.Conv2d(12, CLASS_COUNT, 1)
        draw = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=draw)

    def heads(self, image_BCHW: Tensor) -> Scores:
        features = F.relu(self.features(image_BCHW))
        return Scores(self.main(features), self.auxiliary(F.max_pool2d(features, 2, ceil_mode=True)))


def tiny_model() -> bytes:
    return to_onnx(Segmenter(TinyNet(), task=TASK), metadata=METADATA)


ELSEWHERE = """
import hashlib, sys
sys.path.insert(0, "tests")
from test_export import tiny_model
print(hashlib.sha256(tiny_model()).hexdigest())
"""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[subprocess.Popen[str]]:
    """The same export in another process with another hash seed, under way while this one exports."""
    command, environment = [sys.executable, "-c", ELSEWHERE], {"PYTHONHASHSEED": "7", "PATH": ""}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1], env=environment
    ) as process:
        yield process


@pytest.fixture(scope="module")
def model(elsewhere: subprocess.Popen[str]) -> bytes:
    return tiny_model()


@pytest.fixture
def segmenter() -> Segmenter:
    return Segmenter(TinyNet(), task=TASK)


def pictures(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_label_and_confidence_are_softmaxs() -> None:
    scores = torch.randn(2, CLASS_COUNT, 9, 11, generator=torch.Generator().manual_seed(0)) * 5
    label, confidence = label_and_confidence(scores)
    share, best = torch.softmax(scores.double(), dim=1).max(dim=1)
    assert torch.equal(label, best.to(torch.uint8)) and label.dtype == confidence.dtype == torch.uint8
    assert (confidence.int() - (share * 255).round().int()).abs().max() <= 1


def test_label_and_confidence_of_a_hand_made_pixel() -> None:
    scores = torch.full((1, CLASS_COUNT, 1, 3), -100.0)
    scores[0, 4, 0, 0], scores[0, 9, 0, 0] = 1.0, 1.0  # a tie: the lower class, half the probability
    scores[0, 18, 0, 1] = 100.0  # beyond doubt
    label, confidence = label_and_confidence(scores)
    assert label.flatten().tolist() == [4, 18, 0]
    assert confidence.flatten().tolist() == [128, 255, 13]  # 127.5 rounds to even; 255 / 19 = 13.4


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_get_confidence_zero(value: float) -> None:
    scores = torch.zeros(1, CLASS_COUNT, 1, 2)
    scores[0, 3, 0, 0] = value
    label, confidence = label_and_confidence(scores)
    assert confidence.flatten().tolist() == [0, 13] and label.max() < CLASS_COUNT


def test_segmenter_normalises_and_adds_the_auxiliary_scores() -> None:
    net = TinyNet()
    image = torch.from_numpy(pictures(1, 6, 8))
    mean, std = torch.tensor(TASK.mean).view(3, 1, 1), torch.tensor(TASK.std).view(3, 1, 1)
    main, auxiliary = net.heads((image.permute(0, 3, 1, 2) / 255 - mean) / std)
    assert (main.shape[-2:], auxiliary.shape[-2:]) == ((3, 4), (2, 2))
    auxiliary = F.interpolate(auxiliary, size=(3, 4), mode="bilinear")
    for share in (0.0, 0.5):
        task = Task(architecture="fcn", auxiliary_at_inference=share)
        wanted = F.interpolate(main + share * auxiliary, size=(6, 8), mode="bilinear")
        assert torch.allclose(Segmenter(net, task=task).scores(image), wanted, atol=1e-4)


def test_with_fixed_dimensions_no_size_is_left_to_compute(model: bytes) -> None:
    def kinds(dimensions: dict[str, int] | None) -> set[str]:
        session = runtime._session(model, [runtime.CPU], name="m", threads=1, dimensions=dimensions)
        return {node.op_type for one in session.get_provider_graph_assignment_info() for node in one.get_nodes()}

    assert "Shape" in kinds(None)  # so that each part of the graph that TensorRT takes has inputs of known size
    assert "Shape" not in kinds(tensorrt.dimensions((4, 48, 64)))


def test_model_is_one_file_with_named_dimensions_and_our_opset(model: bytes) -> None:
    proto = onnx.load_from_string(model)
    shapes = {
        tensor.name: [d.dim_param or d.dim_value for d in tensor.type.tensor_type.shape.dim]
        for tensor in (*proto.graph.input, *proto.graph.output)
    }
    dynamic = ["batch", "height", "width"]
    assert shapes == {"image": [*dynamic, 3], "label": dynamic, "confidence": dynamic}
    assert [(item.domain, item.version) for item in proto.opset_import] == [("", contract.OPSET)]
    assert not any(tensor.external_data for tensor in proto.graph.initializer)
    assert "Softmax" not in {node.op_type for node in proto.graph.node}


def test_model_says_nothing_about_the_machine_that_made_it(model: bytes) -> None:
    for leak in (b".py", str(Path.home()).encode() + b"/", b"site-packages", b"stack_trace", str(Path(__file__).parent).encode()):
        assert leak not in model


def test_same_weights_give_the_same_bytes_in_another_process(elsewhere: subprocess.Popen[str], model: bytes) -> None:
    shown, said = elsewhere.communicate()
    assert shown.strip() == hashlib.sha256(model).hexdigest(), said
    assert len(said.splitlines()) == 1 and "MB of ONNX in" in said  # no chatter of the exporter's


def test_examples_are_a_batch_and_two_odd_sizes(tmp_path: Path) -> None:
    for count in (1, 9):
        paths = [tmp_path / f"{position}.png" for position in range(count)]
        for path in paths:
            path.write_bytes(encode_png(pictures(40, 40)))
        shapes = [images.shape for images in parity.examples(paths, size=SIZE)]
        assert shapes == [(2, 48, 64, 3), (1, 51, 65, 3), (1, 65, 81, 3)]


def test_an_example_that_cannot_be_read_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        path.write_bytes(encode_png(np.full((30, 40, 3), 10 * i, np.uint8)))
    paths[2].write_bytes(paths[2].read_bytes()[:60])
    examples = parity.examples(paths, size=SIZE)
    assert [int(one[0, 0, 0, 0]) for one in examples] == [0, 0, 0]  # images 0, 1, 2 and 0: the third gives way to the first
    assert int(examples[0][1, 0, 0, 0]) == 10
    assert "2.png: not a readable image" in capsys.readouterr().err
    for path in paths:
        path.write_bytes(b"")
    with pytest.raises(UnreadableError, match="not a readable image"):
        parity.examples(paths, size=SIZE)


def compared(segmenter: Segmenter, model: bytes, *shapes: tuple[int, int, int], precision: str = "fp32") -> dict[str, Any]:
    images, limits = [pictures(*shape) for shape in shapes], parity.limits_of(segmenter, precision=precision)
    teacher = Teacher(model, device="cpu")
    return parity.compare(parity.answers(segmenter, images), teacher, scores=parity.scorer(model), limits=limits)


def test_parity_holds_between_net_and_file(model: bytes, segmenter: Segmenter) -> None:
    result = compared(segmenter, model, (2, 48, 64), (1, 51, 65))
    parity.refuse_difference(result, name="round-0")
    assert [(case["batch"], case["height"], case["width"]) for case in result["cases"]] == [(2, 48, 64), (1, 51, 65)]
    assert all(case["mismatches"] == 0 and case["classes"] > 3 for case in result["cases"])
    assert all(case["largest_score_difference"] < 1e-4 * case["largest_score"] for case in result["cases"])
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_parity_refuses_other_weights(model: bytes, segmenter: Segmenter) -> None:
    with torch.no_grad():
        segmenter.net.main.bias[2] += 0.05  # type: ignore[union-attr, index]
    result = compared(segmenter, model, (1, 48, 64))
    with pytest.raises(FaultError, match=r"round-0: ONNX differs from torch at 64x48 .*allowed.*no model was written"):
        parity.refuse_difference(result, name="round-0")


class OnePixelOff:
    """Answers as the net does, but for one pixel."""

    provider, digest = "none", "sha256:0"

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter

    def predict(self, images_BHWC: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        with torch.no_grad():
            labels, confidences = (answer.numpy() for answer in self.segmenter(torch.from_numpy(images_BHWC)))
        labels[0, 5, 5] = (labels[0, 5, 5] + 1) % CLASS_COUNT
        return labels, confidences


def one_pixel_off(segmenter: Segmenter, *, side: int, raised: float = 0.0) -> dict[str, Any]:
    """The comparison with a file whose class differs at a pixel, where its score of that class is higher by `raised`."""
    images = pictures(1, side, side)
    wrong = int(OnePixelOff(segmenter).predict(images)[0][0, 5, 5])

    def scores(images_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            found = segmenter.scores(torch.from_numpy(images_BHWC)).numpy()
        found[0, wrong, 5, 5] += raised
        return found

    limits = parity.limits_of(segmenter, precision="fp32")
    teacher: Any = OnePixelOff(segmenter)
    return parity.compare(parity.answers(segmenter, [images]), teacher, scores=scores, limits=limits)


def test_one_wrong_pixel_is_refused_unless_the_classes_tie(segmenter: Segmenter) -> None:
    result = one_pixel_off(segmenter, side=128)  # one of 16384 pixels is below the allowed share
    assert (result["cases"][0]["mismatches"], result["cases"][0]["unexplained"]) == (1, 1)
    with pytest.raises(FaultError, match="unexplained 1, allowed 0"):
        parity.refuse_difference(result, name="round-0")
    for parameter in segmenter.parameters():
        nn.init.zeros_(parameter)  # now all classes tie everywhere
    result = one_pixel_off(segmenter, side=128)
    assert result["cases"][0]["mismatches"] == 1
    parity.refuse_difference(result, name="round-0")


def test_a_score_that_is_off_is_refused_though_it_explains_the_class(segmenter: Segmenter) -> None:
    result = one_pixel_off(segmenter, side=128, raised=1000.0)
    assert result["cases"][0]["unexplained"] == 0
    with pytest.raises(FaultError, match="beyond_share"):
        parity.refuse_difference(result, name="round-0")


def test_net_that_unpools_by_index_may_jump_at_a_few_pixels(segmenter: Segmenter) -> None:
    segnet = Segmenter(segmenter.net, task=Task(architecture="segnet", backbone="vgg16_bn"))
    result = one_pixel_off(segnet, side=128, raised=1000.0)
    assert result["cases"][0]["beyond_share"] == 1 / 128**2
    parity.refuse_difference(result, name="round-0")
    with pytest.raises(FaultError, match="mismatch_share 0.000977, allowed 0.0005"):
        parity.refuse_difference(one_pixel_off(segnet, side=32, raised=1000.0), name="round-0")
    with pytest.raises(FaultError, match="unexplained 1"):
        parity.refuse_difference(one_pixel_off(segnet, side=128), name="round-0")  # no jump is no excuse


def test_half_precision_is_half_the_weights_and_within_its_limits(model: bytes, segmenter: Segmenter) -> None:
    half = halved(model)
    assert half == halved(model)
    proto = onnx.load_from_string(half)
    weights = {item.data_type for item in proto.graph.initializer if len(item.dims) == 4}
    assert weights == {onnx.TensorProto.FLOAT16}
    casts = [node.output[0].rsplit(".")[-1] for node in proto.graph.node if node.name.startswith("cast ")]
    assert casts == ["fp16", "fp32", "fp32"]  # into the first convolution, out of the two heads
    assert {tensor.type.tensor_type.elem_type for tensor in (*proto.graph.input, *proto.graph.output)} == {onnx.TensorProto.UINT8}
    teacher = Teacher(half, device="cpu")
    assert teacher.metadata == replace(Teacher(model, device="cpu").metadata, precision="fp16")
    teacher.check()
    result = compared(segmenter, half, (2, 48, 64), (1, 51, 65), precision="fp16")
    assert parity.fault_of(result) is None
    largest = max(case["largest_score_difference"] / case["largest_score"] for case in result["cases"])
    assert 1e-5 < largest < 2e-2  # eleven bits: neither float32 nor nonsense
    assert parity.fault_of(compared(segmenter, half, (1, 48, 64))) is not None  # it is no float32


def test_the_golden_picture_travels_with_its_answer(model: bytes, segmenter: Segmenter) -> None:
    teacher = Teacher(model, device="cpu")
    golden = teacher.golden
    assert golden is not None and golden.image.shape == (96, 128, 3) and len(np.unique(golden.label)) > 3
    assert digest_bytes(golden.image.tobytes())[7:23] == "f3b5599c843c8845"  # another picture would change every exported file
    with torch.no_grad():
        label, confidence = segmenter(torch.tensor(golden.image)[None])
    assert np.array_equal(golden.label, label[0]) and np.array_equal(golden.confidence, confidence[0])
    teacher.check()


def test_views_are_mirrored_and_scaled_back(segmenter: Segmenter) -> None:
    image = torch.from_numpy(pictures(1, 48, 64))
    plain = segmenter.scores(image)
    flipping = Segmenter(segmenter.net, task=TASK, teacher=TeacherConfig(flip=True))
    assert torch.allclose(flipping.scores(image), (plain + segmenter.scores(image.flip(2)).flip(3)) / 2, atol=1e-4)
    both = Segmenter(segmenter.net, task=TASK, teacher=TeacherConfig(flip=True, scales=(1.0, 1.25)))
    assert len(both.views) == 4 and both.scores(image).shape == plain.shape
    assert torch.allclose(both.scores(image.flip(2)), both.scores(image).flip(3), atol=1e-3)  # the same for either side


def test_views_are_in_the_exported_graph(model: bytes, segmenter: Segmenter) -> None:
    both = Segmenter(segmenter.net, task=TASK, teacher=TeacherConfig(flip=True, scales=(0.75, 1.0)))
    seeing = to_onnx(both, metadata=METADATA)
    assert sum(node.op_type == "Conv" for node in onnx.load_from_string(seeing).graph.node) == 4 * 3
    assert len(seeing) < 2 * len(model)  # the weights are there once
    parity.refuse_difference(compared(both, seeing, (1, 51, 65), (2, 48, 64)), name="round-0")
    answers = [Teacher(one, device="cpu").predict(pictures(1, 48, 64))[0] for one in (model, seeing)]
    assert not np.array_equal(*answers)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose round 0 is trained: tiny weights, tiny real images."""
    monkeypatch.setattr(selfsyn.task, "build", lambda task, *, pretrained, classes: TinyNet())
    (tmp_path / "run.toml").write_text(
        f'recipe = "test"\nseed = 0\nsize = {list(SIZE)}\nsynthetic = {{ layout = "gta5", root = "unused" }}\n'
        'real = { layout = "camvid", root = "data" }\nadapter = { crop = 32 }\ntask = { architecture = "fcn" }\n'
    )
    for position in range(4):
        path = tmp_path / f"data/train/images/{position}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(pictures(50, 70)))
    task = tmp_path / "round-0" / "task"
    task.mkdir(parents=True)
    save_file(TinyNet().state_dict(), task / "weights.safetensors")
    (task / "manifest.json").write_text(json.dumps({"digest": "sha256:1"}))
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, run: Path, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["selfsyn", "export-teacher", "--run", str(run), *arguments])
    try:
        main()
    except SystemExit as left:
        return int(left.code or 0)
    return 0


@pytest.mark.parametrize(("shares", "views"), [("[0.0]", 1), ("[0.0, 0.5]", 2)])
def test_the_last_round_looks_once_where_views_are_for_labelling(
    run: Path, monkeypatch: pytest.MonkeyPatch, shares: str, views: int
) -> None:
    with (run / "run.toml").open("a") as file:
        file.write(f'teacher = {{ flip = true, views = "labelling" }}\nrounds = {{ real_share = {shares} }}\n')
    assert call(monkeypatch, run, "--round", "0") == 0
    folder = run / "round-0/teacher"
    assert json.loads((folder / "manifest.json").read_text())["counts"]["views"] == views
    graph = onnx.load(folder / "segmenter/1/model.onnx").graph
    assert sum(node.op_type == "Conv" for node in graph.node) == 3 * views


def test_verb_writes_the_model_repository(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, run, "--round", "0") == 0
    folder = run / "round-0" / "teacher"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    models = {"segmenter/1/model.onnx", "segmenter/1/model.fp16.onnx"}
    assert names == models | {"segmenter/config.pbtxt", "parity.json", "manifest.json"}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["outputs"] == {name: digest_file(folder / name) for name in models}
    metadata = load(folder, device="cpu").metadata
    assert load(folder, device="cpu", precision="fp16").metadata == replace(metadata, precision="fp16")
    compared = json.loads((folder / "parity.json").read_text())
    assert compared["model"] == manifest["outputs"]["segmenter/1/model.onnx"] and len(compared["cases"]) == 3
    assert compared["fp16"]["model"] == manifest["outputs"]["segmenter/1/model.fp16.onnx"]
    assert metadata.checkpoint == digest_file(run / "round-0/task/weights.safetensors")
    assert (metadata.stage, metadata.size, metadata.classes) == ("round-0", SIZE, CLASSES)
    before = (folder / "segmenter/1/model.onnx").stat().st_mtime_ns
    capsys.readouterr()
    assert call(monkeypatch, run, "--round", "0") == 0
    assert "already done" in capsys.readouterr().err
    assert (folder / "segmenter/1/model.onnx").stat().st_mtime_ns == before


def test_verb_traces_the_net_of_the_second_stage_no_more(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(run / "round-0", run / "source-only")
    other = TinyNet()
    other.main.bias.data[2] += 5
    save_file(other.state_dict(), run / "source-only/task/weights.safetensors")
    assert call(monkeypatch, run, "--round", "0") == 0
    assert [path.suffix for path in (run / "graphs").iterdir()] == [".graph"]
    monkeypatch.delattr(traced, "_traced")
    assert call(monkeypatch, run, "--bound", "source-only") == 0
    image = pictures(48, 64)
    wanted, _ = Segmenter(other, task=TASK).eval()(torch.from_numpy(image)[None])
    assert np.array_equal(load(run / "source-only/teacher", device="cpu").predict(image[None])[0], wanted.numpy())


def test_verb_writes_no_model_that_differs(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: bytes
) -> None:
    other = TinyNet()
    other.main.bias.data[2] += 5
    save_file(other.state_dict(), run / "round-0/task/weights.safetensors")
    monkeypatch.setattr("export.to_onnx.to_onnx", lambda *_, **__: model)  # the export went wrong
    monkeypatch.setattr(Teacher, "check", lambda self: None)  # or its golden picture had told
    assert call(monkeypatch, run, "--round", "0") == 1
    assert "ONNX differs from torch" in capsys.readouterr().err
    folder = run / "round-0" / "teacher"
    assert not list(folder.rglob("*.onnx")) and not (folder / "manifest.json").exists()
    assert json.loads((folder / "parity.json").read_text())["cases"]


def test_half_precision_that_differs_is_left_out_unless_it_is_to_label(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: bytes
) -> None:
    monkeypatch.setattr("export.to_onnx.to_onnx", lambda *_, **__: model)  # made once is enough
    strict = parity.Limits(1e-9, 0.0, 0.0)
    monkeypatch.setitem(parity.LIMITS, "fp16", strict)
    assert call(monkeypatch, run, "--round", "0") == 0
    assert "no fp16 file: ONNX differs from torch" in capsys.readouterr().err
    folder = run / "round-0/teacher"
    assert [path.name for path in folder.rglob("*.onnx")] == ["model.onnx"]
    with pytest.raises(InputError, match="no fp16 file passed the comparison"):
        load(folder, device="cpu", precision="fp16")
    (run / "run.toml").write_text((run / "run.toml").read_text() + 'teacher = { precision = "fp16" }\n')
    (run / "sealed.toml").unlink()
    assert call(monkeypatch, run, "--round", "0", "--force") == 1
    assert "fp16: ONNX differs from torch" in capsys.readouterr().err
    assert not list(folder.rglob("*.onnx"))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--round", "1"], 3, "round-1/task"),
        ([], 2, "give either --round N or --bound"),
        (["--round", "0", "--bound", "oracle"], 2, "give either --round N or --bound"),
    ],
)
def test_verb_refuses_in_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert call(monkeypatch, run, *arguments) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]
    assert not (run / "sealed.toml").exists()


def test_weights_of_another_net_are_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({"strange": torch.zeros(1)}, run / "round-0/task/weights.safetensors")
    assert call(monkeypatch, run, "--round", "0") == 2
    assert "weights.safetensors: not this net's weights" in capsys.readouterr().err
