"""A traced graph is reused: the file of the next net is, byte for byte, what the exporter makes of it in one call."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from onnxscript.optimizer import optimize_ir
from test_export import METADATA, SIZE, TASK, TinyNet
from torch import Tensor, nn
from torch.nn import functional as F

from export import contract, to_onnx, traced
from export.to_onnx import Segmenter
from selfsyn.config import Task
from selfsyn.config import Teacher as TeacherConfig
from selfsyn.files import stream_atomic
from selfsyn.labels import CLASS_COUNT
from selfsyn.task import build
from selfsyn.task.scores import Scores, TaskNet

torch.set_num_threads(1)
NETS = {
    "deeplabv3plus": Task(backbone="efficientnet_lite0", weights="scratch", decoder_channels=16, output_stride=32),
    "fcn": Task(architecture="fcn", backbone="resnet18", weights="scratch"),
    "segnet": Task(architecture="segnet", backbone="vgg16_bn", weights="scratch"),
}


class Normed(TaskNet):
    """What the exporter computes with when it optimises: a batch norm behind a convolution, two heads of one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.norm = nn.Conv2d(3, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12)
        self.main, self.auxiliary = nn.Conv2d(12, CLASS_COUNT, 1), nn.Conv2d(12, CLASS_COUNT, 1)

    def heads(self, image_BCHW: Tensor) -> Scores:
        features = F.relu6(self.norm(self.features(image_BCHW)))
        return Scores(self.main(features), self.auxiliary(features))


def random(net: nn.Module, *, seed: int = 0) -> None:
    draw = torch.Generator().manual_seed(seed)
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            drawn = torch.randn(value.shape, generator=draw)
            value.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)


def constant(net: nn.Module, *, value: float) -> None:
    """Every weight alike: those of one shape are equal, before batch norms are folded and after it."""
    for tensor in net.state_dict().values():
        tensor.fill_(value)


def equal_heads(net: nn.Module) -> None:
    """Two pairs of equal weights, of which the exporter makes two."""
    random(net)
    net.auxiliary.load_state_dict(net.main.state_dict())  # type: ignore[union-attr, operator]


def equal_in_turn(net: nn.Module) -> None:
    """A third of the vectors zeros, a third ones, a third drawn; so for the kernels."""
    random(net, seed=3)
    for place, tensor in enumerate(net.state_dict().values()):
        if place % 3 and tensor.is_floating_point():
            tensor.fill_(place % 3 - 1)


KINDS: dict[str, Callable[[Any], None]] = {
    "random": random,
    "zeros": lambda net: constant(net, value=0.0),
    "ones": lambda net: constant(net, value=1.0),
    "equal heads": equal_heads,
}


def normed(kind: str, *, teacher: TeacherConfig = to_onnx.PLAIN) -> Segmenter:
    net = Normed()
    KINDS[kind](net)
    return Segmenter(net, task=TASK, teacher=teacher).eval()


def in_one_call(segmenter: Segmenter) -> bytes:
    """The file as the exporter makes it, from tracing to the end."""
    with traced._quiet(), torch.no_grad():
        program = torch.onnx.export(
            segmenter.eval(),
            (torch.zeros(2, SIZE[1], SIZE[0], 3, dtype=torch.uint8),),
            input_names=[contract.IMAGE],
            output_names=[contract.LABEL, contract.CONFIDENCE],
            opset_version=contract.OPSET,
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: "batch", 1: "height", 2: "width"},),
            verbose=False,
            optimize=False,
        )
        assert program is not None
        optimize_ir(program.model, num_iterations=1)
    properties = contract.to_properties(METADATA, golden=to_onnx.golden(segmenter))
    return to_onnx._anonymous(program.model_proto, properties=properties)


def in_parts(segmenter: Segmenter, *, graphs: Path) -> bytes:
    return to_onnx.to_onnx(segmenter, metadata=METADATA, graphs=graphs)


@pytest.fixture
def untraceable(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function after which nothing can be traced."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("traced again")

    return lambda: monkeypatch.setattr(traced, "_traced", refuse)


@pytest.fixture(scope="module")
def wanted() -> dict[str, bytes]:
    return {kind: in_one_call(normed(kind)) for kind in KINDS}


@pytest.mark.parametrize("first", ["random", "ones"])
def test_the_graph_of_one_net_serves_every_other(
    first: str, wanted: dict[str, bytes], tmp_path: Path, untraceable: Callable[[], None]
) -> None:
    assert in_parts(normed(first), graphs=tmp_path) == wanted[first]
    untraceable()
    for kind in KINDS:
        assert in_parts(normed(kind), graphs=tmp_path) == wanted[kind], kind
    assert len(list(tmp_path.iterdir())) == 1
    assert len(set(wanted.values())) == len(KINDS)


def test_views_are_filled_in(tmp_path: Path, untraceable: Callable[[], None]) -> None:
    teacher = TeacherConfig(flip=True, scales=(0.75,))
    in_parts(normed("zeros", teacher=teacher), graphs=tmp_path)
    untraceable()
    segmenter = normed("equal heads", teacher=teacher)
    assert in_parts(segmenter, graphs=tmp_path) == in_one_call(segmenter)


@pytest.mark.parametrize("architecture", NETS)
def test_real_nets(architecture: str, tmp_path: Path, untraceable: Callable[[], None]) -> None:
    nets = [Segmenter(build(NETS[architecture], pretrained=False), task=NETS[architecture]) for _ in range(2)]
    equal_in_turn(nets[1].net)
    in_parts(nets[0], graphs=tmp_path)
    untraceable()
    assert in_parts(nets[1], graphs=tmp_path) == in_one_call(nets[1])


@pytest.mark.parametrize(
    "other",
    [
        Segmenter(TinyNet(), task=replace(TASK, auxiliary_at_inference=0.25)),
        Segmenter(TinyNet(), task=TASK, teacher=TeacherConfig(flip=True)),
        Segmenter(Normed(), task=TASK),
    ],
    ids=["task", "views", "weights"],
)
def test_another_net_has_another_graph(other: Segmenter) -> None:
    def key(segmenter: Segmenter, size: tuple[int, int] = SIZE) -> bytes:
        return traced.key_of(segmenter, dict(segmenter.state_dict()), size=size)

    assert key(other) != key(Segmenter(TinyNet(), task=TASK))
    assert key(other) == key(other) != key(other, (48, 64))


@pytest.mark.parametrize("what", ["LIBRARIES", "_sources"])
def test_other_libraries_or_sources_have_another_graph(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = Segmenter(TinyNet(), task=TASK)
    before = traced.key_of(segmenter, {}, size=SIZE)
    monkeypatch.setattr(traced, what, ("pytest",) if what == "LIBRARIES" else lambda: "sha256:1")
    assert traced.key_of(segmenter, {}, size=SIZE) != before


def test_sources_are_those_of_both_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    monkeypatch.setattr(traced, "digest_file", lambda path: seen.append(path) or "")
    traced._sources()
    root = Path(traced.__file__).parents[1]
    assert {root / "selfsyn/task/deeplabv3plus.py", root / "selfsyn/labels.py", root / "export/to_onnx.py"} <= set(seen)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path]:
    """A model, and the graph that was kept when it was made."""
    folder = tmp_path_factory.mktemp("graphs")
    model = in_parts(Segmenter(TinyNet(), task=TASK), graphs=folder)
    (path,) = folder.iterdir()
    return model, path


def test_a_kept_graph_says_nothing_about_the_machine_and_holds_no_weight(kept: tuple[bytes, Path]) -> None:
    data = kept[1].read_bytes()
    for leak in (b'.py"', b"site-packages", b"stack_trace", str(Path(__file__).parent).encode()):
        assert leak not in data
    weight = TinyNet().main.weight.detach().numpy().tobytes()
    assert weight in kept[0] and weight not in data


def cut(data: bytes) -> bytes:
    return data[:-1]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def of_another(data: bytes) -> bytes:
    header, graph = data.split(b"\n", 1)
    made_for = json.loads(header)["made_for"] | {"opset": 7}
    return traced._file(graph, key=json.dumps(made_for, sort_keys=True).encode())


@pytest.mark.parametrize("spoil", [cut, flipped, of_another, lambda data: b"", lambda data: None])
def test_a_file_that_is_not_the_graph_is_not_taken(
    spoil: Callable[[bytes], bytes | None], kept: tuple[bytes, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segmenter, path = Segmenter(TinyNet(), task=TASK), tmp_path / kept[1].name
    key = traced.key_of(segmenter, dict(segmenter.named_parameters()), size=SIZE)
    sound = kept[1].read_bytes()
    path.write_bytes(sound)
    assert traced._kept(path, key=key) == sound.split(b"\n", 1)[1]
    spoilt = spoil(sound)
    if spoilt is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(spoilt)
    assert traced._kept(path, key=key) is None
    (said,) = capsys.readouterr().err.splitlines()
    assert str(path) in said and said.endswith("the net is traced again")


def test_a_damaged_graph_is_replaced(kept: tuple[bytes, Path], tmp_path: Path) -> None:
    model, path = kept
    (tmp_path / path.name).write_bytes(flipped(path.read_bytes()))
    assert in_parts(Segmenter(TinyNet(), task=TASK), graphs=tmp_path) == model
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_two_exports_at_once_do_not_harm_each_other(tmp_path: Path) -> None:
    path = tmp_path / "graphs" / "1.graph"
    with stream_atomic(path) as slow:
        slow.write(traced._file(b"graph", key=b"{}"))
        traced._keep(path, b"graph", key=b"{}")
        assert [found.name for found in path.parent.iterdir()] == ["1.graph"]  # what looks left over is gone
    assert traced._kept(path, key=b"{}") == b"graph"


class Remembering(TinyNet):
    """Keeps something that it computed from its weights where nobody can see whence it came."""

    def __init__(self) -> None:
        super().__init__()
        self.remembered = self.main.bias.detach() * 2

    def heads(self, image_BCHW: Tensor) -> Scores:
        main, auxiliary = super().heads(image_BCHW)
        return Scores(main + self.remembered[:, None, None], auxiliary)


def test_a_tensor_of_unknown_origin_is_exported_in_one_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segmenter = Segmenter(Remembering(), task=TASK)
    assert in_parts(segmenter, graphs=tmp_path) == in_one_call(segmenter)
    assert "not cached for later exports: its tensor" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
