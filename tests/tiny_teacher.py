"""A teacher that needs no torch and no export: a hand-made ONNX graph that keeps the contract, and its place in a run folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from export import contract
from export.contract import Metadata
from selfsyn.files import digest_bytes
from selfsyn.labels import CLASS_COUNT, CLASSES

SIZE = (64, 48)
METADATA = Metadata(
    CLASSES, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), SIZE, checkpoint="sha256:0", stage="round-0", program="0.0.0"
)


def tiny_onnx(*, seed: int = 0) -> bytes:
    """One random 3x3 convolution to 19 scores, softmax, arg-max: the answer depends on the picture, and many classes occur."""
    draw = np.random.default_rng(seed)
    weights = draw.normal(0, 0.01, (CLASS_COUNT, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "weights"], ["scores"], pads=[1, 1, 1, 1]),
        helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
        helper.make_node("Cast", ["best"], ["label"], to=TensorProto.UINT8),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=1),
        helper.make_node("ReduceMax", ["shares"], ["share"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["share", "full"], ["level"]),
        helper.make_node("Round", ["level"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["confidence"], to=TensorProto.UINT8),
    ]
    return model_of(nodes, {"weights": weights, "full": np.array(255, np.float32)})


def constant_onnx(*, label: int, confidence: int, properties: dict[str, str] | None = None) -> bytes:
    """The same answer everywhere; other metadata than a teacher's on demand."""
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["plane"], axes=[3], keepdims=0),
        helper.make_node("Mul", ["plane", "zero"], ["none"]),
        helper.make_node("Add", ["none", "l"], ["label"]),
        helper.make_node("Add", ["none", "c"], ["confidence"]),
    ]
    values = {"zero": 0, "l": label, "c": confidence}
    return model_of(nodes, {name: np.array(value, np.uint8) for name, value in values.items()}, properties=properties)


def model_of(nodes: list[NodeProto], constants: dict[str, np.ndarray], *, properties: dict[str, str] | None = None) -> bytes:
    """The bytes of a model with the contract's input and outputs, and its metadata unless `properties` says otherwise."""
    shape = ["batch", "height", "width"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [*shape, 3])],
        [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name in ("label", "confidence")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    helper.set_model_props(model, contract.to_properties(METADATA) if properties is None else properties)
    data: bytes = model.SerializeToString()
    return data


def write_teacher(folder: Path, model: bytes) -> None:
    """What export-teacher leaves in `folder`, as far as later phases read it."""
    path = folder / contract.MODEL_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model)
    manifest = {"digest": digest_bytes(model), "inputs": {}, "outputs": {contract.MODEL_FILE: digest_bytes(model)}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
