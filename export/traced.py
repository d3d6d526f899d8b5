"""A cache of traced graphs without weights: a kind of net is traced once, and filled with weights at every export.

torch.export traces with tensors that hold no data, so nets that differ only in weights share a graph. Optimisations that depend
on values, such as folding batch norms and merging equal initializers, are left to the exporter, after the weights are filled in.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import platform
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import onnx
import onnx_ir
import onnx_ir.passes.common
import torch
from onnxscript.optimizer import optimize_ir
from torch import Tensor

import export
import selfsyn
from export import contract
from selfsyn.files import TEMPORARY, digest_bytes, digest_file, digest_lines, write_atomic
from selfsyn.packages import installed
from selfsyn.progress import say

if TYPE_CHECKING:
    from export.to_onnx import Segmenter

EXAMPLE_BATCH: Final = 2  # the exporter would treat a size of 0 or 1 as constant
LITERAL: Final = "lifted_tensor_"  # torch.export's name for a tensor that the code creates, such as the mean colour
LIBRARIES: Final = ("torch", "torchvision", "timm", "onnx", "onnx-ir", "onnxscript", "ml_dtypes", "numpy")
SUFFIX: Final = ".graph"


def exported(segmenter: Segmenter, *, size: tuple[int, int], folder: Path | None = None) -> onnx.ModelProto:
    """The optimised ONNX model of the segmenter, weights inside; batch, height and width are dynamic.

    size: (width, height) of the traced example.  folder: of the cache. A file there that is damaged, or belongs to another
    net, is replaced.
    """
    tensors = dict([*segmenter.named_parameters(remove_duplicate=False), *segmenter.named_buffers(remove_duplicate=False)])
    key = key_of(segmenter, tensors, size=size)
    path = folder / f"{digest_bytes(key)[7:23]}{SUFFIX}" if folder else None
    graph = _kept(path, key=key) if path else None
    if graph is None:
        with _quiet(), torch.no_grad():
            program = _traced(segmenter, size=size)
        strange = _unexplained(program, tensors)
        if strange:
            say(f"the graph is not cached for later exports: its tensor {strange[0]!r} is not a weight of the net")
            return _optimised(program)
        graph = _without_weights(program, tensors)
        del program  # it has as many objects as the rest of the process, and slows garbage collection
        if path:
            _keep(path, graph, key=key)
    return _optimised(torch.onnx.ONNXProgram(filled(graph, tensors), None))


def key_of(segmenter: Segmenter, tensors: Mapping[str, Tensor], *, size: tuple[int, int]) -> bytes:
    """Everything that the graph depends on, as a line of JSON: names, shapes and types of the weights, but no values."""
    made_for = {
        "task": asdict(segmenter.task),
        "views": segmenter.views,
        "size": size,
        "opset": contract.OPSET,
        "weights": digest_lines(f"{name}\t{tuple(tensor.shape)}\t{tensor.dtype}" for name, tensor in tensors.items()),
        "sources": _sources(),
        "libraries": installed(LIBRARIES),
        "python": platform.python_version(),
    }
    return json.dumps(made_for, sort_keys=True).encode()


def filled(graph: bytes, tensors: Mapping[str, Tensor]) -> onnx_ir.Model:
    """A graph of `_without_weights` filled with the values of `tensors`, by name; not yet optimised."""
    proto = onnx.load_from_string(graph)
    numbers = {item.key: int(item.value) for item in proto.metadata_props}
    del proto.metadata_props[:]
    model = onnx_ir.serde.deserialize_model(proto)
    for item in proto.graph.initializer:
        if not item.HasField("raw_data"):
            model.graph.initializers[item.name].const_value = onnx_ir.tensor(tensors[item.name].detach().numpy(), name=item.name)
    _count_on(model.graph, nodes=numbers["nodes"], values=numbers["values"])
    return model


def _traced(segmenter: Segmenter, *, size: tuple[int, int]) -> torch.onnx.ONNXProgram:
    width, height = size
    program = torch.onnx.export(
        segmenter,
        (torch.zeros(EXAMPLE_BATCH, height, width, 3, dtype=torch.uint8),),
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
    return program


def _optimised(program: torch.onnx.ONNXProgram) -> onnx.ModelProto:
    # `program.optimize()` does this twice. The second time costs a second and removes 3 of 289 nodes, as ONNX Runtime does.
    with _quiet(), torch.no_grad():
        optimize_ir(program.model, num_iterations=1)
        return program.model_proto


def _unexplained(program: torch.onnx.ONNXProgram, tensors: Mapping[str, Tensor]) -> list[str]:
    """The initializers that are neither one of `tensors`, by name and memory, nor a literal of the code."""

    def explained(name: str, value: onnx_ir.Value) -> bool:
        found, wanted = getattr(value.const_value, "raw", None), tensors.get(name)
        if wanted is None:
            return name.startswith(LITERAL)
        return isinstance(found, Tensor) and found.data_ptr() == wanted.data_ptr() and found.shape == wanted.shape

    return [name for name, value in program.model.graph.initializers.items() if not explained(name, value)]


def _without_weights(program: torch.onnx.ONNXProgram, tensors: Mapping[str, Tensor]) -> bytes:
    """The traced graph as an ONNX file whose weights have names, shapes and types, and no data; see `filled`."""
    onnx_ir.passes.common.ClearMetadataAndDocStringPass()(program.model)  # stack traces, with local paths
    nodes, values = _next_numbers(program.model.graph)
    proto = program.model_proto
    for item in proto.graph.initializer:
        if item.name in tensors:
            item.ClearField("raw_data")
    onnx.helper.set_model_props(proto, {"nodes": str(nodes), "values": str(values)})
    return proto.SerializeToString(deterministic=True)


# onnx_ir numbers nodes and values without a name, and a file does not keep the counters. The optimiser continues them, and
# names are part of the bytes: so the counters are stored and restored.


def _next_numbers(graph: onnx_ir.Graph) -> tuple[int, int]:
    """The numbers of the next unnamed node and the next unnamed value."""
    node = _numbered(graph, onnx_ir.Node("", "Identity", inputs=[]))
    return _number(node.name), _number(node.outputs[0].name)


def _count_on(graph: onnx_ir.Graph, *, nodes: int, values: int) -> None:
    """Advance the graph's counters until these are the next numbers."""
    node = value = -1
    while node < nodes - 1:
        named_value = [onnx_ir.Value(name="of a removed node")]
        node = _number(_numbered(graph, onnx_ir.Node("", "Identity", inputs=[], outputs=named_value)).name)
    while value < values - 1:
        value = _number(_numbered(graph, onnx_ir.Node("", "Identity", inputs=[], name="a removed node")).outputs[0].name)


def _numbered(graph: onnx_ir.Graph, node: onnx_ir.Node) -> onnx_ir.Node:
    """The node with the names that the graph gives it; the graph is as before, except for its counters."""
    graph.append(node)
    graph.remove(node)
    return node


def _number(name: str | None) -> int:
    return int(str(name).rsplit("_", 1)[1])


def _kept(path: Path, *, key: bytes) -> bytes | None:
    """The graph in that file if it is intact and made for `key`, otherwise None; a bad file is reported."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        say(f"{path}: cannot be read ({error.strerror}); the net is traced again")
        return None
    graph = data[data.find(b"\n") + 1 :]
    if data != _file(graph, key=key):
        say(f"{path}: damaged, or the graph of another net; the net is traced again")
        return None
    return graph


def _keep(path: Path, graph: bytes, *, key: bytes) -> None:
    write_atomic(path, _file(graph, key=key))
    # Temporary files of killed exports; an export that is still running copes with their loss.
    for leftover in path.parent.glob(f"{TEMPORARY}*-{path.name}"):
        leftover.unlink(missing_ok=True)


def _file(graph: bytes, *, key: bytes) -> bytes:
    return json.dumps({"digest": digest_bytes(graph), "made_for": json.loads(key)}, sort_keys=True).encode() + b"\n" + graph


def _sources() -> str:
    """A digest of the source of selfsyn and export: tracing may follow any of it."""
    folders = [Path(file).parent for file in (selfsyn.__file__, export.__file__) if file]
    paths = [(path.relative_to(folder.parent), path) for folder in folders for path in sorted(folder.rglob("*.py"))]
    return digest_lines(f"{name}\t{digest_file(path)}" for name, path in paths)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # Silence progress marks on stdout and warnings about optional packages.
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
