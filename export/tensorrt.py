"""TensorRT as an onnxruntime provider: whether it loads, and the cache of engines. Never imports torch."""

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
from selfsyn.packages import remedy
from selfsyn.progress import say

PROVIDER: Final = "TensorrtExecutionProvider"
LIBRARY: Final = "libnvinfer.so.10"  # the version that the locked onnxruntime links to
PACKAGE: Final = "tensorrt_libs"  # pip's package of it
REMEDY: Final = remedy(
    "run `pip install 'tensorrt-cu13>=10,<11'`, or use --device cuda",
    in_image="our images have no TensorRT: use --device cuda, or build on the image with `pip install 'tensorrt-cu13>=10,<11'`",
)
# SegNet's pooling with indices and its scatter do not compile into one engine.
MISSING: Final = ("ScatterElements",)
MAJOR, MINOR = 75, 76  # the driver's attributes for the compute capability


@dataclass(frozen=True)
class Engine:
    """Everything that an engine depends on, as its cache key: onnxruntime itself does not check all of it.

    model: digest of the file.  shape: (batch, height, width).  precision: contract.FP32 or FP16.  gpu: see gpu_of.
    onnxruntime, tensorrt: versions.  tf32: NVIDIA_TF32_OVERRIDE.
    """

    model: str
    shape: tuple[int, int, int]
    precision: str
    gpu: str
    onnxruntime: str
    tensorrt: str
    tf32: str = ""


def engine_here(*, model: str, shape: tuple[int, int, int], precision: str) -> Engine:
    """The engine for this machine's first GPU and libraries. Only for machines where why_no_tensorrt is None."""
    version = str(ctypes.CDLL(LIBRARY).getInferLibVersion())
    gpu, tf32 = gpu_of(ctypes.CDLL("libcuda.so.1")), os.environ.get("NVIDIA_TF32_OVERRIDE", "")
    return Engine(model, shape, precision, gpu=gpu, onnxruntime=ort.__version__, tensorrt=version, tf32=tf32)


def gpu_of(driver: Any) -> str:
    """-> 'NVIDIA H200, 9.0', name and compute capability of the first GPU; '' or 0 if the driver does not tell."""
    device, major, minor, name = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(0), ctypes.create_string_buffer(256)
    driver.cuInit(0)
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), MINOR, device)
    return f"{name.value.decode(errors='replace')}, {major.value}.{minor.value}"


def cache_folder(engine: Engine) -> Path:
    """The engine's own folder below $XDG_CACHE_HOME or ~/.cache. InputError without either."""
    key = hashlib.sha256(json.dumps(asdict(engine), sort_keys=True).encode()).hexdigest()
    return _cache() / "selfsyn" / "tensorrt" / key[:32]


def _cache() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:  # a container's user may have no home
        raise InputError("no home folder to keep TensorRT's engines in; set XDG_CACHE_HOME to a folder for them") from error


def options(*, precision: str, folder: Path) -> dict[str, str]:
    """The provider's options. folder: the engine's own.

    No optimisation profile: the session's dimensions are fixed, and a profile would have to name every input of every
    subgraph. Only an fp16 file is computed in fp16.
    """
    return {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
        "trt_fp16_enable": str(precision == contract.FP16),
    }


def dimensions(shape: tuple[int, int, int]) -> dict[str, int]:
    """(batch, height, width) -> the sizes that a session fixes, by the exported input's dimension names."""
    return dict(zip(("batch", "height", "width"), shape, strict=True))


@contextlib.contextmanager
def kept(engine: Engine) -> Iterator[Path]:
    """The engine's cache folder, or a temporary one to build it in that becomes the cache when the block ends without error.

    Two processes may build the same engine: each has its own temporary folder, and the first to finish keeps its engine.
    InputError when the folder cannot be made.
    """
    folder = cache_folder(engine)
    if folder.is_dir():
        yield folder
        return
    batch, height, width = engine.shape
    temporary = _temporary(folder)
    say(f"TensorRT builds an engine for {batch} images of {width}x{height} (minutes, once); it is kept in {folder}")
    try:
        yield temporary
        if any(temporary.glob("*.engine")):
            with contextlib.suppress(OSError):  # another process was first, with an equal engine
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
    """Why ONNX Runtime cannot use TensorRT on a machine where CUDA loads, or None. See export.teacher.why_no_cuda."""
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
    """Load the libraries of pip's package, if installed: their folder is not on the loader's path."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for library in sorted(Path(folder).glob("lib*.so*")):
            with contextlib.suppress(OSError):  # whoever needs a missing library reports it
                ctypes.CDLL(str(library))


def grown(image_HWC: NDArray[np.uint8], *, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(h, w, 3) -> (height, width, 3), `size` is (width, height): extended by mirroring at its edges, then cropped.

    An engine takes one shape, and the golden picture has another. Scaled up, it would show objects of unknown sizes.
    """
    width, height = size
    missing = [(0, max(0, wanted - found)) for wanted, found in zip((height, width), image_HWC.shape[:2], strict=True)]
    return np.pad(image_HWC, [*missing, (0, 0)], mode="symmetric")[:height, :width]
