"""The teacher at run time: an onnxruntime session on a device that was checked. Never imports torch."""

from __future__ import annotations

import contextlib
import ctypes
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export import contract, tensorrt
from export.contract import Golden, Metadata
from selfsyn.cores import usable_cores
from selfsyn.errors import FaultError, InputError
from selfsyn.files import digest_bytes
from selfsyn.manifest import finished_manifest
from selfsyn.packages import remedy
from selfsyn.progress import say

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = tensorrt.PROVIDER
PROVIDERS: Final = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}
REMEDY: Final = remedy(
    "install `onnxruntime-gpu[cuda,cudnn]` on a machine with a recent NVIDIA driver, or use --device cpu",
    in_image="give the container a GPU with driver 580 or later (nvidia.com/gpu, docker run --gpus all), or use --device cpu",
)
# On a GPU, ONNX Runtime may leave arithmetic on sizes to the CPU, but none of these operators.
HEAVY: Final = (
    *("Conv", "ConvTranspose", "Resize", "MaxPool", "Exp", "ScatterElements"),
    *("MatMul", "FusedMatMul", "Gemm", "Softmax", "LayerNormalization", "SkipLayerNormalization", "Erf", "Gelu"),  # of a ViT
)
# Images in a batch. A CPU gains nothing from more; a GPU always gets exactly this many (see export.pipeline).
BATCH: Final = {CPU: 1, CUDA: 4, TENSORRT: 4}
# Tolerated share of the golden picture's pixels, and levels of confidence: rounding changes few pixels, a fault most of them.
GOLDEN_SHARE: Final = 0.03
GOLDEN_LEVELS: Final = 16
SHOWN: Final = 3  # names in an error


class Teacher:
    """An ONNX file that keeps the contract, loaded on one device.

    metadata: what the file says about itself.  digest: sha256 of the file.  provider: ONNX Runtime's name of the device.
    size: (width, height) of its input images.  batch: images in a run.  golden: a picture with its answer, or None.
    fixed: whether it takes only batches of exactly `batch` images of `size`, like a TensorRT engine.
    """

    def __init__(
        self,
        model: Path | bytes,
        *,
        device: str = "auto",
        threads: int | None = None,
        batch: int | None = None,
        name: str = "model",
    ) -> None:
        """model: the file or its bytes.  device: 'cpu', 'cuda', 'tensorrt' or 'auto' (CUDA or CPU).

        threads: of a run on the CPU; default: usable_cores().  batch: on a GPU; default: BATCH.  name: of bytes, for errors.
        InputError when the file is not a selfsyn teacher, or the requested GPU cannot be used: there is no silent fallback.
        """
        data, name = (model, name) if isinstance(model, bytes) else (_read(model), str(model))
        device, threads = usable_device(device), threads or usable_cores()
        self.digest = digest_bytes(data)
        self.provider = PROVIDERS[device]
        self.batch = batch or BATCH[self.provider]
        self.fixed = self.provider == TENSORRT
        self.session: ort.InferenceSession
        self.golden: Golden | None
        if self.fixed:
            plain = Teacher(data, device="cpu", threads=threads, name=name)
            _refuse_unsupported(plain.session, name=name)
            self.golden = _grown_golden(plain, name=name)
            self.session = _engine(data, plain, name=name, batch=self.batch, threads=threads)
        else:
            self.session = _session(data, _providers(self.provider), name=name, threads=threads)
            self.golden = contract.golden_of(_properties(self.session, name=name), name=name)
            _refuse_other_provider(self.session, provider=self.provider, name=name)
        self.metadata: Metadata = contract.from_properties(_properties(self.session, name=name), name=name)
        self.size = self.metadata.size

    def predict(self, images_BHWC: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(B, H, W, 3) uint8 RGB -> labels and confidences, each (B, H, W) uint8; see export.contract.

        FaultError for scores that are not finite, and for a label that is not a class.
        """
        if images_BHWC.ndim != 4 or images_BHWC.shape[3] != 3 or images_BHWC.dtype != np.uint8:
            raise ValueError(f"images {images_BHWC.dtype} {images_BHWC.shape}; expected uint8 (batch, height, width, 3)")
        labels, confidences = self.session.run([contract.LABEL, contract.CONFIDENCE], {contract.IMAGE: images_BHWC})
        if confidences.min() < self.metadata.lowest_confidence:
            raise FaultError(f"teacher {self.digest}: scores that are not finite; export it again from sound weights")
        if labels.max() >= len(self.metadata.classes):
            raise FaultError(
                f"teacher {self.digest}: label {labels.max()} is not a class; {self.provider} computed a wrong result"
            )
        return labels, confidences

    def check(self) -> None:
        """Run the golden picture of the file; FaultError when the answer differs from torch's.

        Does nothing for a file without a golden picture. On a GPU this also serves as the slow first run of the session.
        """
        if self.golden is None:
            return
        labels, confidences = self.predict(np.repeat(self.golden.image[None], self.batch, axis=0))
        levels = np.abs(confidences[0].astype(np.int16) - self.golden.confidence)
        wrong = float(((labels[0] != self.golden.label) | (levels > GOLDEN_LEVELS)).mean())
        if wrong > GOLDEN_SHARE:
            raise FaultError(
                f"teacher {self.digest}: {wrong:.1%} of its golden picture differs from torch's answer, expected at most"
                f" {GOLDEN_SHARE:.0%}; {self.provider} computes wrong results on this machine; try another machine,"
                " another onnxruntime, or --device cpu"
            )


def load(folder: Path, *, device: str = "auto", threads: int | None = None, precision: str = contract.FP32) -> Teacher:
    """The finished teacher in a stage's teacher folder, checked on its golden picture. precision: which of its files.

    NotReadyError without a manifest, InputError when the file is missing or changed, FaultError for a wrong answer.
    """
    manifest = finished_manifest(folder, verb="export-teacher")
    name = contract.FILES[precision]
    expected = manifest["outputs"].get(name)
    if expected is None:
        raise InputError(f"{folder}: no {precision} file passed the comparison (parity.json); export again with --force")
    teacher = Teacher(folder / name, device=device, threads=threads)
    if teacher.digest != expected:
        path = folder / name
        raise InputError(f"{path}: {teacher.digest}, but its manifest says {expected}; put it back or export again with --force")
    teacher.check()
    return teacher


def usable_device(device: str) -> str:
    """'auto' -> 'cuda' if CUDA loads, else 'cpu', with a line that says why. InputError when a requested GPU cannot be used."""
    if device == "cpu":
        return "cpu"
    reason, remedy = why_no_cuda(), REMEDY
    if reason is None and device == "tensorrt":
        reason, remedy = tensorrt.why_no_tensorrt(), tensorrt.REMEDY
    if reason is None:
        return "cuda" if device == "auto" else device
    if device != "auto":
        raise InputError(f"--device {device}: {reason}; {remedy}")
    say(f"no CUDA ({reason}): computing on the CPU")
    return "cpu"


def why_no_cuda() -> str | None:
    """Why ONNX Runtime cannot use CUDA on this machine, or None.

    ONNX Runtime lists CUDA whenever the package was built with it, and a session falls back silently. So this loads the
    provider's library and everything that it needs, and asks the driver for a device.
    """
    if CUDA not in ort.get_available_providers():
        return f"onnxruntime {ort.__version__} is built without CUDA"
    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls()  # finds the nvidia packages of pip; prints what is missing, which is reported below
    libraries = Path(ort.__file__).parent / "capi"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        ctypes.CDLL("libcudnn.so.9")  # without it the provider loads, and then has no convolutions
        ctypes.CDLL(str(libraries / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(libraries / "libonnxruntime_providers_cuda.so"))
    except OSError as error:
        return f"{str(error).split(':')[0]} cannot be loaded"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "the NVIDIA driver finds no GPU"
    return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected a teacher; run `selfsyn export-teacher`"
        ) from error


def _session(
    data: bytes, providers: list[Any], *, name: str, threads: int, dimensions: Mapping[str, int] | None = None
) -> ort.InferenceSession:
    """providers: the requested one first.  dimensions: fixed sizes of the input, by name."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what it would warn of is checked below and reported in one line
    # Threads that spin while they wait take the cores from the codecs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    for dimension, size in (dimensions or {}).items():
        options.add_free_dimension_override_by_name(dimension, size)
    try:
        # Otherwise a CUDA fault in the middle of a job would move the job to the CPU.
        return ort.InferenceSession(data, options, providers=providers, enable_fallback=False)
    except Exception as error:  # onnxruntime's errors share no class of their own
        reason = str(error).splitlines()[0]
        remedy = "export it again, or use --device cpu" if dimensions is None else "use --device cuda"
        raise InputError(f"{name}: onnxruntime cannot load it ({reason}); {remedy}") from error


def _properties(session: ort.InferenceSession, *, name: str) -> Mapping[str, str]:
    """What the file says about itself. InputError for text that is damaged."""
    try:
        properties: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
        return properties
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: its metadata is damaged ({error.reason}); export the teacher again") from error


def _providers(provider: str) -> list[Any]:
    if provider == CPU:
        return [CPU]
    # TF32 is off so that labels equal the CPU's. There is one shape, so a heuristic search for convolutions is enough.
    cuda = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
    return [(CUDA, cuda), CPU]


def _engine(data: bytes, plain: Teacher, *, name: str, batch: int, threads: int) -> ort.InferenceSession:
    """A session on TensorRT for `batch` images of the teacher's size. plain: the same file on the CPU."""
    width, height = plain.size
    shape, precision = (batch, height, width), plain.metadata.precision
    with tensorrt.kept(tensorrt.engine_here(model=plain.digest, shape=shape, precision=precision)) as folder:
        first = (TENSORRT, tensorrt.options(precision=precision, folder=folder))
        session = _session(data, [first, *_providers(CUDA)], name=name, threads=threads, dimensions=tensorrt.dimensions(shape))
        _refuse_other_provider(session, provider=TENSORRT, name=name)
        _refuse_other_shape(session, shape=shape, name=name)
    return session


def _grown_golden(plain: Teacher, *, name: str) -> Golden:
    """The golden picture extended to the working size, with the CPU's answer; the CPU is checked against torch first."""
    if plain.golden is None:
        raise InputError(f"{name}: has no golden picture to try TensorRT on; export it again, or use --device cuda")
    plain.check()
    image = tensorrt.grown(plain.golden.image, size=plain.size)
    labels, confidences = plain.predict(image[None])
    return Golden(image, labels[0], confidences[0])


def _refuse_unsupported(session: ort.InferenceSession, *, name: str) -> None:
    kinds = {node.op_type for assigned in session.get_provider_graph_assignment_info() for node in assigned.get_nodes()}
    found = sorted(kinds & set(tensorrt.MISSING))
    if found:
        raise InputError(f"{name}: {', '.join(found)} (SegNet's unpooling) does not run on TensorRT; use --device cuda")


def _refuse_other_shape(session: ort.InferenceSession, *, shape: tuple[int, int, int], name: str) -> None:
    found, expected = session.get_inputs()[0].shape, [*shape, 3]
    if found != expected:
        raise InputError(
            f"{name}: its input is {found} under TensorRT, expected {expected}; export it again, or use --device cuda"
        )


def _refuse_other_provider(session: ort.InferenceSession, *, provider: str, name: str) -> None:
    found = session.get_providers()[0]
    if found != provider:
        remedy = tensorrt.REMEDY if provider == TENSORRT else REMEDY
        raise InputError(f"{name}: asked for {provider}, got {found}; {remedy}")
    everywhere = session.get_provider_graph_assignment_info()
    on_cpu = [assigned for assigned in everywhere if assigned.ep_name not in (provider, CUDA)]
    astray = sorted({node.op_type for assigned in on_cpu for node in assigned.get_nodes()} & set(HEAVY))
    if astray:
        remedy = "use --device cuda" if provider == TENSORRT else REMEDY
        raise InputError(f"{name}: {', '.join(astray)} would run on the CPU, not on {provider}; {remedy}")
    if provider == TENSORRT:
        _refuse_convolutions_on_cuda(everywhere, name=name)


def _refuse_convolutions_on_cuda(everywhere: Iterable[Any], *, name: str) -> None:
    nodes = [node for assigned in everywhere if assigned.ep_name == CUDA for node in assigned.get_nodes()]
    astray = [node.name or node.op_type for node in nodes if node.op_type == "Conv"]
    if astray:
        shown = ", ".join(astray[:SHOWN]) + (", ..." if len(astray) > SHOWN else "")
        raise InputError(f"{name}: convolutions ({len(astray)}: {shown}) would run on CUDA, not on TensorRT; use --device cuda")
