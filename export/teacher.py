"""A teacher at work: one onnxruntime session whose device is checked, not hoped for. Never imports torch."""

from __future__ import annotations

import contextlib
import ctypes
import io
import math
import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export import contract
from export.contract import Metadata
from selfsyn.errors import FaultError, InputError, NotReadyError
from selfsyn.files import digest_bytes
from selfsyn.phase import read_manifest
from selfsyn.progress import say

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
REMEDY: Final = "install `onnxruntime-gpu[cuda,cudnn]` on a machine with a recent NVIDIA driver, or use --device cpu"
# What ONNX Runtime may leave to the CPU on a GPU: arithmetic on sizes, never on pictures.
HEAVY: Final = ("Conv", "Resize", "MaxPool", "Exp", "ScatterElements")
# Images in one run. A CPU gains nothing from more; a GPU does, and always gets this many (see export.pipeline).
BATCH: Final = {CPU: 1, CUDA: 4}
# Of the golden picture: rounding moves classes where two tie and confidences by little, nonsense moves most of it.
GOLDEN_SHARE: Final = 0.03
GOLDEN_LEVELS: Final = 16

CGROUPS: Final = Path("/sys/fs/cgroup")


class Teacher:
    """An ONNX file that keeps the contract, loaded on one device.

    metadata: what the file says about itself.  digest: sha256 of the file.  provider: where it runs.  size: (width, height)
    at which to show it images.  batch: how many of them to show at once.  golden: a picture with its answer, or None.
    """

    def __init__(self, model: Path | bytes, *, device: str = "auto", threads: int | None = None) -> None:
        """model: the file, or its bytes.  device: 'cpu', 'cuda' or 'auto'.  threads: for one image; default: usable_cores().

        InputError when the file is no teacher of ours, or CUDA is asked for and cannot be had: there is no silent fallback.
        """
        data, name = (model, "model") if isinstance(model, bytes) else (_read(model), str(model))
        device = usable_device(device)
        self.digest = digest_bytes(data)
        self.provider = CUDA if device == "cuda" else CPU
        self.session = _session(data, name=name, provider=self.provider, threads=threads or usable_cores())
        properties = self.session.get_modelmeta().custom_metadata_map
        self.metadata: Metadata = contract.from_properties(properties, name=name)
        self.golden = contract.golden_of(properties, name=name)
        self.size = self.metadata.size
        self.batch = BATCH[self.provider]
        _refuse_other_provider(self.session, provider=self.provider, name=name)

    def predict(self, images_BHWC: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(B, H, W, 3) uint8 RGB -> labels and confidences, each (B, H, W) uint8; see export.contract.

        FaultError when scores were not finite, or a label is no class.
        """
        if images_BHWC.ndim != 4 or images_BHWC.shape[3] != 3 or images_BHWC.dtype != np.uint8:
            raise ValueError(f"images {images_BHWC.dtype} {images_BHWC.shape}; expected uint8 (batch, height, width, 3)")
        labels, confidences = self.session.run([contract.LABEL, contract.CONFIDENCE], {contract.IMAGE: images_BHWC})
        if confidences.min() < contract.LOWEST_CONFIDENCE:
            raise FaultError(f"teacher {self.digest}: scores that are not finite; export it again from sound weights")
        if labels.max() >= len(self.metadata.classes):
            raise FaultError(f"teacher {self.digest}: label {labels.max()} is no class; {self.provider} computed nonsense")
        return labels, confidences

    def check(self) -> None:
        """Answer the golden picture that the file carries; FaultError when the answer is another one than the net's.

        A file without one says nothing. The first run of a session on a GPU is slow; this one is it.
        """
        if self.golden is None:
            return
        labels, confidences = self.predict(np.repeat(self.golden.image[None], self.batch, axis=0))
        levels = np.abs(confidences[0].astype(np.int16) - self.golden.confidence)
        wrong = float(((labels[0] != self.golden.label) | (levels > GOLDEN_LEVELS)).mean())
        if wrong > GOLDEN_SHARE:
            raise FaultError(
                f"teacher {self.digest}: {wrong:.1%} of its golden picture is answered otherwise than by the net,"
                f" {GOLDEN_SHARE:.0%} allowed; {self.provider} computes something else here; try another machine,"
                " another onnxruntime, or --device cpu"
            )


def load(folder: Path, *, device: str = "auto", threads: int | None = None, precision: str = contract.FP32) -> Teacher:
    """The finished teacher in a stage's teacher folder, its golden picture answered rightly. precision: which of its files.

    NotReadyError without its manifest, InputError when there is no such file or it changed, FaultError for a wrong answer.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise NotReadyError(f"{folder}: no finished teacher; run `selfsyn export-teacher` first")
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
    """'auto' -> 'cuda' where CUDA truly loads, else 'cpu' with the reason said. InputError for a 'cuda' that cannot be had."""
    if device == "cpu":
        return "cpu"
    reason = why_no_cuda()
    if reason is None:
        return "cuda"
    if device == "cuda":
        raise InputError(f"--device cuda: {reason}; {REMEDY}")
    say(f"no CUDA ({reason}): computing on the CPU")
    return "cpu"


def why_no_cuda() -> str | None:
    """What keeps ONNX Runtime from CUDA on this machine, or None.

    Its own list of providers says CUDA wherever the package was built for it, and a session falls back without a word;
    so the provider's library is loaded here, with all that it needs, and the driver is asked for a device.
    """
    if CUDA not in ort.get_available_providers():
        return f"onnxruntime {ort.__version__} is built without CUDA"
    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls()  # finds the nvidia packages beside it; prints what it misses, as we do below
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


def usable_cores() -> int:
    """Cores this process may use: its affinity, and its container's quota rounded down; at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min(affinity, _quota(CGROUPS))))


def _quota(root: Path) -> float:
    with contextlib.suppress(OSError, ValueError):
        limit, period = (root / "cpu.max").read_text().split()  # cgroup v2
        return math.inf if limit == "max" else int(limit) / int(period)
    with contextlib.suppress(OSError, ValueError):
        quota = int((root / "cpu" / "cpu.cfs_quota_us").read_text())  # cgroup v1
        return quota / int((root / "cpu" / "cpu.cfs_period_us").read_text()) if quota > 0 else math.inf
    return math.inf


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected a teacher; run `selfsyn export-teacher`"
        ) from error


def _session(data: bytes, *, name: str, provider: str, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # its warnings are checked for below, and said in one line
    # Threads that spin while they wait take the cores from the codecs beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        # Without enable_fallback=False a CUDA fault in the middle of a job would turn it into a CPU job.
        return ort.InferenceSession(data, options, providers=_providers(provider), enable_fallback=False)
    except Exception as error:  # onnxruntime's errors share no class of their own
        reason = str(error).splitlines()[0]
        raise InputError(f"{name}: onnxruntime cannot load it ({reason}); export it again, or use --device cpu") from error


def _providers(provider: str) -> list[Any]:
    if provider == CPU:
        return [CPU]
    # TF32 off: labels must be the CPU's. One shape only, so the search for the fastest convolution is short.
    cuda = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
    return [(CUDA, cuda), CPU]


def _refuse_other_provider(session: ort.InferenceSession, *, provider: str, name: str) -> None:
    found = session.get_providers()[0]
    if found != provider:
        raise InputError(f"{name}: asked for {provider}, got {found}; {REMEDY}")
    elsewhere = [assigned for assigned in session.get_provider_graph_assignment_info() if assigned.ep_name != provider]
    astray = sorted({node.op_type for assigned in elsewhere for node in assigned.get_nodes()} & set(HEAVY))
    if astray:
        raise InputError(f"{name}: {', '.join(astray)} would run on the CPU, not on {provider}; {REMEDY}")
