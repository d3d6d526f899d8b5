"""Edits of an exported graph: scores as the output (for the parity check), and convolutions in float16."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper

from export import contract

SCORES: Final = "scores"
FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def scored(model: bytes) -> bytes:
    """The model without its post-processing; its only output is SCORES, (B, K, H, W) float32."""
    proto = onnx.load_from_string(model)
    classes = len(contract.from_properties({item.key: item.value for item in proto.metadata_props}, name="model").classes)
    # The last one: attention, too, may split its tensors into as many parts.
    *_, planes = (node for node in proto.graph.node if node.op_type == "Split" and len(node.output) == classes)
    scores = onnx.helper.make_node("Identity", [planes.input[0]], [SCORES], name=SCORES)
    before = _before([scores], proto.graph)
    nodes = [node for node in (*proto.graph.node, scores) if node.name in before]
    del proto.graph.node[:], proto.graph.output[:]
    proto.graph.node.extend(nodes)
    shape = ["batch", classes, "height", "width"]
    proto.graph.output.append(onnx.helper.make_tensor_value_info(SCORES, onnx.TensorProto.FLOAT, shape))
    return proto.SerializeToString(deterministic=True)


def halved(model: bytes) -> bytes:
    """The same model with float16 weights and float16 arithmetic from its first convolutions to its last.

    The normalisation before them and the post-processing behind them (enlarged scores, maximum, confidence) stay float32:
    they cost little, and there eleven bits would change labels. The metadata says 'fp16'.
    """
    proto = onnx.shape_inference.infer_shapes(onnx.load_from_string(model))
    graph = proto.graph
    half = _Half(graph)
    nodes = [made for node in graph.node for made in half.converted(node)]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    weights = [weight for weight in (*graph.initializer, *half.weights.values()) if weight.name in used]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    for item in proto.metadata_props:
        if item.key == contract.PREFIX + "precision":
            item.value = json.dumps(contract.FP16)
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


class _Half:
    """The conversion of one graph, node after node. onnxruntime's own converter gave graphs that onnx refuses: casts used
    before they are made, and two casts with one name."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.inside = _between_convolutions(graph)
        self.constants = {weight.name: weight for weight in graph.initializer}
        self.floats = {value.name for value in graph.value_info if value.type.tensor_type.elem_type == FLOAT}
        self.floats |= {name for name, weight in self.constants.items() if weight.data_type == FLOAT}
        self.half = {name for node in graph.node if node.name in self.inside for name in node.output} & self.floats
        self.weights: dict[str, onnx.TensorProto] = {}
        self.casts: set[str] = set()

    def converted(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """The node, after the casts that no earlier node needed."""
        inside = node.name in self.inside
        for position, name in enumerate(node.input):
            # A Resize takes its scales as float32 whatever it resizes.
            if name not in self.floats or (name in self.half) == inside or (node.op_type == "Resize" and position):
                continue
            other = f"{name}.{contract.FP16 if inside else contract.FP32}"
            node.input[position] = other
            if name in self.constants:
                array = numpy_helper.to_array(self.constants[name])
                self.weights[other] = numpy_helper.from_array(array.astype(np.float16), other)
            elif other not in self.casts:
                self.casts.add(other)
                yield onnx.helper.make_node("Cast", [name], [other], name=f"cast {other}", to=FLOAT16 if inside else FLOAT)
        for attribute in node.attribute if inside else ():
            _halve(attribute)
        yield node


def _halve(attribute: onnx.AttributeProto) -> None:
    """Turn a float32 constant or cast target into float16, in place."""
    if attribute.name == "to" and attribute.i == FLOAT:
        attribute.i = FLOAT16
    elif attribute.t.data_type == FLOAT:
        attribute.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(attribute.t).astype(np.float16)))


def _between_convolutions(graph: onnx.GraphProto) -> set[str]:
    """Names of the convolutions, of all nodes on a path between two of them, and of the nodes that only change their weights.

    A ViT with several views transposes each weight in the graph, once for a view.
    """
    takers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            takers.setdefault(name, []).append(node)
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    behind = _reached(convolutions, lambda node: (taker for name in node.output for taker in takers.get(name, ())))
    inside = behind & _before(convolutions, graph)
    weights = {weight.name for weight in graph.initializer}

    def prepares(node: onnx.NodeProto) -> bool:
        after = [taker.name for name in node.output for taker in takers.get(name, ())]
        return set(node.input) <= weights and inside.issuperset(after)

    return inside | {node.name for node in graph.node if prepares(node)}


def _before(nodes: Iterable[onnx.NodeProto], graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes and of everything that they depend on."""
    makers = {name: node for node in graph.node for name in node.output}
    return _reached(nodes, lambda node: (makers[name] for name in node.input if name in makers))


def _reached(start: Iterable[onnx.NodeProto], neighbours: Callable[[onnx.NodeProto], Iterable[onnx.NodeProto]]) -> set[str]:
    """Names of the start nodes and of all nodes reachable from them."""
    reached: set[str] = set()
    todo = list(start)
    while todo:
        node = todo.pop()
        if node.name not in reached:
            reached.add(node.name)
            todo += neighbours(node)
    return reached
