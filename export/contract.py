"""The contract of a teacher: names and meaning of its inputs, outputs and metadata. Never imports torch.

image       uint8 (batch, height, width, 3)   RGB of any height and width; the net was trained at metadata.size
label       uint8 (batch, height, width)      train id of the most probable class, always below the number of classes
confidence  uint8 (batch, height, width)      that class's softmax probability, times 255, rounded; 0 marks scores
                                              that were not finite (a real maximum over K classes is at least 255 / K)
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from selfsyn.classes import CITYSCAPES_19, MOST, ClassList, of_names
from selfsyn.errors import InputError
from selfsyn.images import decode_ids, decode_image, encode_png
from selfsyn.labels import CLASS_COUNT

VERSION: Final = 1
MODEL_NAME: Final = "segmenter"
MODEL_FILE: Final = f"{MODEL_NAME}/1/model.onnx"  # below a stage's teacher folder, which is a Triton model repository
HALF_FILE: Final = f"{MODEL_NAME}/1/model.fp16.onnx"  # beside the fp32 file of its version; Triton ignores it
FP32: Final = "fp32"
FP16: Final = "fp16"
FILES: Final = {FP32: MODEL_FILE, FP16: HALF_FILE}
CONFIGURATION_FILE: Final = f"{MODEL_NAME}/config.pbtxt"
IMAGE: Final = "image"
LABEL: Final = "label"
CONFIDENCE: Final = "confidence"
OPSET: Final = 18  # the newest whose Resize every ONNX Runtime since 1.18 runs on CUDA
LOWEST_CONFIDENCE: Final = 255 // CLASS_COUNT  # of finite scores of Cityscapes' classes; see Metadata.lowest_confidence
PREFIX: Final = "selfsyn."
GOLDEN: Final = f"{PREFIX}golden."
OPTIONAL: Final = ("precision", "colours")  # missing in early files; colours in those of Cityscapes' classes too


@dataclass(frozen=True)
class Metadata:
    """What a model file says about itself.

    classes: names by train id.  mean, std: of RGB in 0..1; the graph applies them.  size: (width, height) of training.
    checkpoint: digest of the weights.  stage: 'round-0', ...  program: selfsyn's version.  contract: VERSION.
    precision: of the arithmetic, 'fp32' or 'fp16'.  colours: '#rrggbb' of each class; empty: those of Cityscapes.
    """

    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]
    checkpoint: str
    stage: str
    program: str
    opset: int = OPSET
    contract: int = VERSION
    precision: str = FP32
    colours: tuple[str, ...] = ()

    @property
    def class_list(self) -> ClassList:
        """The classes with their colours: what labels, legends and pictures go by."""
        return of_names(self.classes, self.colours)

    @property
    def lowest_confidence(self) -> int:
        """The least confidence of finite scores: a softmax maximum over K classes is at least 1 / K."""
        return 255 // len(self.classes)


@dataclass(frozen=True)
class Golden:
    """A picture with torch's answer to it, kept in the model file: a runtime that loads the file can check itself.

    image: (H, W, 3) uint8 RGB.  label, confidence: (H, W) uint8.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    confidence: NDArray[np.uint8]


def to_properties(metadata: Metadata, *, golden: Golden | None = None) -> dict[str, str]:
    """-> the key and value strings of a model's metadata_props, sorted by key. Golden maps are PNG in base64."""
    maps = {} if golden is None else vars(golden)
    pictures = {GOLDEN + key: base64.b64encode(encode_png(array)).decode() for key, array in sorted(maps.items())}
    said = {key: value for key, value in sorted(asdict(metadata).items()) if key != "colours" or value}
    return {PREFIX + key: json.dumps(value) for key, value in said.items()} | pictures


def colours_of(classes: ClassList) -> tuple[str, ...]:
    """What the metadata says of the colours: nothing for Cityscapes' classes."""
    return () if classes == CITYSCAPES_19 else classes.hexes


def golden_of(properties: Mapping[str, str], *, name: str) -> Golden | None:
    """The golden picture of a model file and its answer, or None. InputError, naming the model, when it is damaged."""
    try:
        data = {item.name: base64.b64decode(properties[GOLDEN + item.name], validate=True) for item in fields(Golden)}
    except KeyError:
        return None
    except ValueError as error:
        raise InputError(f"{name}: its golden picture is damaged ({error}); export it again") from error
    maps = {key: decode_ids(png, name=f"{name} golden {key}") for key, png in data.items() if key != "image"}
    return Golden(image=decode_image(data["image"], name=f"{name} golden image"), **maps)


def from_properties(properties: Mapping[str, str], *, name: str) -> Metadata:
    """The inverse of to_properties; other keys are ignored. InputError, naming the model, when it is not a teacher."""
    try:
        written = [item.name for item in fields(Metadata) if item.name not in OPTIONAL or PREFIX + item.name in properties]
        values = {key: _plain(json.loads(properties[PREFIX + key])) for key in written}
        found = int(values["contract"])
        _refuse_odd_classes(values["classes"], values.get("colours", ()))
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{name}: not a selfsyn teacher ({reason}); expected a file that `selfsyn export-teacher` wrote"
        ) from error
    if found != VERSION:
        raise InputError(f"{name}: contract version {found}; expected {VERSION}; export it again with this version of selfsyn")
    return Metadata(**values)


def _refuse_odd_classes(names: tuple[str, ...], colours: tuple[str, ...]) -> None:
    if not 2 <= len(names) <= MOST or len(colours) not in (0, len(names)):
        raise ValueError(f"{len(names)} classes with {len(colours)} colours")


def triton_configuration() -> str:
    """The text of config.pbtxt, for Triton's ONNX Runtime backend.

    max_batch_size is 0: the batch is one of the model's own dimensions.
    """
    blocks = [
        f'name: "{MODEL_NAME}"\nbackend: "onnxruntime"\nmax_batch_size: 0',
        _tensors("input", [(IMAGE, "-1, -1, -1, 3")]),
        _tensors("output", [(LABEL, "-1, -1, -1"), (CONFIDENCE, "-1, -1, -1")]),
    ]
    return "\n".join(blocks) + "\n"


def _tensors(side: str, tensors: list[tuple[str, str]]) -> str:
    entries = [f'  {{ name: "{name}" data_type: TYPE_UINT8 dims: [ {dims} ] }}' for name, dims in tensors]
    return f"{side} [\n" + ",\n".join(entries) + "\n]"


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
