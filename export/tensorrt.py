"""TensorRT below onnxruntime, where it is asked for: whether it loads, and the engine that it keeps. Never imports torch."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export import contract
from selfsyn.errors import InputError
from selfsyn.progress import say

PROVIDER: Final = "TensorrtExecutionProvider"
LIBRARY: Final = "libnvinfer.so.10"  # what the provider of the locked onnxruntime is linked to
PACKAGE: Final = "tensorrt_libs"  # where pip puts it
REMEDY: Final = "run `pip install 'tensorrt-cu13>=10,<11'`, or use --device cuda"
# Pooling with indices, and the scatter behind it, which SegNet is made of, do not become one engine.
MISSING: Final = ("ScatterElements",)
MAJOR, MINOR = 75, 76  # the driver's numbers of the two halves of the compute capability


@dataclass(frozen=True)
class Engine:
    """What an engine is built for. Another value of any of them is another engine: onnxruntime does not tell all of them apart.

    model: digest of the file.  shape: (batch, height, width).  precision: contract.FP32 or FP16.  gpu: see gpu_of.
    onnxruntime, tensorrt: versions.  tf32: NVIDIA_TF32_OVERRIDE, with which NVIDIA's libraries are kept from TF32.
    """

    model: str
    shape: tuple[int, int, int]
    precision: str
    gpu: str
    onnxruntime: str
    tensorrt: str
    tf32: str = ""


def engine_here(*, model: str, shape: tuple[int, int, int], precision: str) -> Engine:
    """The engine for this machine's first GPU, with the libraries that it has. Only where why_no_tensorrt says None."""
    version = str(ctypes.CDLL(LIBRARY).getInferLibVersion())
    gpu, tf32 = gpu_of(ctypes.CDLL("libcuda.so.1")), os.environ.get("NVIDIA_TF32_OVERRIDE", "")
    return Engine(model, shape, precision, gpu=gpu, onnxruntime=ort.__version__, tensorrt=version, tf32=tf32)


def gpu_of(driver: Any) -> str:
    """-> 'NVIDIA H200, 9.0', the name and the compute capability of the first GPU; what the driver does not say is '' or 0."""
    device, major, minor, name = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(0), ctypes.create_string_buffer(256)
    driver.cuInit(0)
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), MINOR, device)
    return f"{name.value.decode(errors='replace')}, {major.value}.{minor.value}"


def cache_folder(engine: Engine) -> Path:
    """Where the engine is kept: a folder of its own below $XDG_CACHE_HOME, or ~/.cache. InputError without either."""
    key = hashlib.sha256(json.dumps(asdict(engine), sort_keys=True).encode()).hexdigest()
    return _cache() / "selfsyn" / "tensorrt" / key[:32]


def _cache() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:  # a container's user may have no home
        raise InputError("no home folder to keep TensorRT's engines in; set XDG_CACHE_HOME to a folder for them") from error


def options(*, precision: str, folder: Path) -> dict[str, str]:
    """The provider's options. folder: of the engine alone.

    No optimisation profile: the session's dimensions are fixed, and a profile would have to name every input of every
    part that the graph is cut into. An fp16 file alone is computed in fp16.
    """
    return {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
        "trt_fp16_enable": str(precision == contract.FP16),
    }


def dimensions(shape: tuple[int, int, int]) -> dict[str, int]:
    """The names of the exported input's dimensions, and the sizes that a session with (batch, height, width) fixes them to."""
    return dict(zip(("batch", "height", "width"), shape, strict=True))


@contextlib.contextmanager
def kept(engine: Engine) -> Iterator[Path]:
    """The folder to find the engine in; where there is none yet, one to build it in, kept when the block ends without an error.

    Two processes that build the same engine do not meet: each has its own folder, and the first to end keeps it.
    InputError when the folder cannot be made.
    """
    folder = cache_folder(engine)
    if folder.is_dir():
        yield folder
        return
    batch, height, width = engine.shape
    temporary = _temporary(folder)
    say(f"TensorRT builds an engine for {batch} images of {width}x{height}, which takes minutes the first time; kept in {folder}")
    try:
        yield temporary
        if any(temporary.glob("*.engine")):
            with contextlib.suppress(OSError):  # another process was first: its engine is as good
                temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(folder: Path) -> Path:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
    except OSError as error:
        raise InputError(
            f"{folder.parent}: cannot be written ({error.strerror}); TensorRT keeps its engines there;"
            " set XDG_CACHE_HOME to a folder that can"
        ) from error


def why_no_tensorrt() -> str | None:
    """What keeps ONNX Runtime from TensorRT on a machine where CUDA loads, or None. See export.teacher.why_no_cuda."""
    if PROVIDER not in ort.get_available_providers():
        return f"onnxruntime {ort.__version__} is built without TensorRT"
    preload()
    try:
        ctypes.CDLL(LIBRARY)
        ctypes.CDLL(str(Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_tensorrt.so"))
    except OSError as error:
        return f"{str(error).split(':')[0]} cannot be loaded"
    return None


def preload() -> None:
    """Load the libraries of pip's package, if it is there: the loader does not look where they lie; once loaded it finds them."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for library in sorted(Path(folder).glob("lib*.so*")):
            with contextlib.suppress(OSError):  # what is missing is said by who needs it
                ctypes.CDLL(str(library))


def grown(image_HWC: NDArray[np.uint8], *, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(h, w, 3) -> (height, width, 3) of `size` (width, height): mirrored at its edges until it is large enough, then cut.

    An engine takes one shape, the golden picture has another; enlarged it would show nothing that a net has seen.
    """
    width, height = size
    missing = [(0, max(0, wanted - found)) for wanted, found in zip((height, width), image_HWC.shape[:2], strict=True)]
    return np.pad(image_HWC, [*missing, (0, 0)], mode="symmetric")[:height, :width]
