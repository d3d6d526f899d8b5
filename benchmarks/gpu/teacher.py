"""Part 3: the exported teacher on the GPU. Speed of labelling, comparison with the CPU's labels, the service under load.

    python benchmarks/gpu/teacher.py FOLDER [--rehearse] [--prepare]

Uses the demo's net (DeepLabV3+ on EfficientNet-Lite0, ImageNet weights) and rendered frames of 1024x512 with sensor noise.

labels    The parity check of `export-teacher` on the GPU. Each pixel with another class must be a proven tie of two scores.
speed     session: only runs of the ONNX session, with images in memory. ours: label_frames as in `pseudo-label`, reads PNG
          files, writes two PNG files per image. naive: one image at a time through torch eager on the GPU, arg-max in numpy
          (goal: ours is 5 times as fast). efficiency: ours / session (goal: 0.95); also ours / the lower of session and codecs.
service   `selfsyn serve` under mixed requests on 64 connections that never pause.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from given import BENCHMARKS, TESTS, Given, arguments, made_whole
from record import Record

sys.path.insert(0, str(TESTS))
sys.path.insert(0, str(BENCHMARKS))

import pipeline
import service
from serving import server
from tiny_training import TinyNet

from export import contract, parity
from export.graph import halved
from export.teacher import Teacher, why_no_cuda
from export.to_onnx import Segmenter, to_onnx
from selfsyn.errors import FaultError, InputError
from selfsyn.files import write_atomic
from selfsyn.images import read_image, resize_image
from selfsyn.labels import CLASSES
from selfsyn.task import build

CONNECTIONS = 64


def main(given: Given) -> None:
    """Run every measurement and record a row for each."""
    size = (96, 64) if given.rehearse else (1024, 512)
    segmenter, models = exported(given, size=size)
    paths = pictures(given.folder, size=size)
    if given.prepare:
        return
    reason = None if given.rehearse else why_no_cuda()
    if reason:
        raise SystemExit(f"teacher: onnxruntime cannot use CUDA: {reason}")
    record = Record(given.folder, "teacher")
    devices_ = (given.device,) if given.rehearse else (given.device, "tensorrt")
    wanted = [(device, precision) for device in devices_ for precision in models]
    todo = [(device, precision) for device, precision in wanted if not record.has(what=f"{device} {precision}")]
    naive = speed_of_naive(given, segmenter, paths) if todo else 0.0
    for device, precision in todo:
        path = models[precision]
        one_file(given, record, segmenter, path, paths, device=device, precision=precision, naive=naive)
    for precision, path in models.items():
        served(given, record, path, precision=precision)


def exported(given: Given, *, size: tuple[int, int]) -> tuple[Segmenter, dict[str, Path]]:
    """The net and its two ONNX files, exported once. A rehearsal uses a net with three layers."""
    torch.manual_seed(0)
    net = TinyNet() if given.rehearse else build(pipeline.TASK, pretrained=True)
    segmenter = Segmenter(net.eval(), task=pipeline.TASK)
    paths = {precision: given.folder / f"teacher-{precision}.onnx" for precision in (contract.FP32, contract.FP16)}
    if not all(path.exists() for path in paths.values()):
        metadata = contract.Metadata(CLASSES, pipeline.TASK.mean, pipeline.TASK.std, size, "sha256:0", "benchmark", "0")
        model = to_onnx(segmenter, metadata=metadata)
        write_atomic(paths[contract.FP16], halved(model))
        write_atomic(paths[contract.FP32], model)
    return segmenter, paths


def pictures(folder: Path, *, size: tuple[int, int]) -> list[Path]:
    """PNG files at the working size."""
    place = folder / "teacher-pictures"
    if not place.exists():
        with made_whole(place) as part:
            pipeline.make(part, size=size)
    return sorted(place.iterdir())


def one_file(
    given: Given,
    record: Record,
    segmenter: Segmenter,
    path: Path,
    paths: list[Path],
    *,
    device: str,
    precision: str,
    naive: float,
) -> None:
    """Measure an ONNX file on a device and record a row."""
    try:
        teacher = Teacher(path, device=device)
        teacher.check()
    except (InputError, FaultError) as error:
        record.add(what=f"{device} {precision}", verdict=f"not run: {error}")
        return
    images = [resize_image(read_image(picture), size=teacher.size) for picture in paths]
    session, ours = speed(given, teacher, images, paths)
    row = {"what": f"{device} {precision}", "session_per_s": session, "ours_per_s": ours, "efficiency": ours / session}
    codecs = codecs_alone(teacher, images, paths)
    row |= {"codecs_per_s": codecs, "of_the_lower": ours / min(session, codecs), "naive_per_s": naive, "over_naive": ours / naive}
    record.add(**row, **agreement(given, segmenter, path, teacher, images, device=device, precision=precision))


def agreement(
    given: Given, segmenter: Segmenter, path: Path, teacher: Teacher, images: list[np.ndarray], *, device: str, precision: str
) -> dict[str, object]:
    """Compare the labels with torch in float32 on the CPU, and with onnxruntime on the CPU."""
    batch = np.stack(images[: teacher.batch])
    limits = parity.limits_of(segmenter, precision=precision)
    scores = parity.scorer(path.read_bytes(), device=device)
    found = parity.compare(parity.answers(segmenter, [batch]), teacher, scores=scores, limits=limits)
    labels, _ = teacher.predict(batch)
    on_cpu, _ = Teacher(path, device="cpu").predict(batch)
    case, fault = found["cases"][0], parity.fault_of(found)
    return {
        "verdict": fault or "ok: every differing pixel is a proven tie",
        "other_class_than_torch": f"{case['mismatches']} of {labels.size}, {case['unexplained']} unexplained",
        "other_class_than_cpu": f"{int((labels != on_cpu).sum())} of {labels.size}",
    }


def speed(given: Given, teacher: Teacher, images: list[np.ndarray], paths: list[Path]) -> tuple[float, float]:
    """Images per second of the session alone, and of labelling from file to file; the best of three alternating rounds."""
    count = 8 if given.rehearse else 480
    batch = np.stack(list(islice(cycle(images), teacher.batch)))
    folder = given.folder / "teacher-labels"
    best = [0.0, 0.0]
    for _ in range(1 if given.rehearse else 3):
        shutil.rmtree(folder, ignore_errors=True)
        runs = count // teacher.batch
        best[0] = max(best[0], runs * teacher.batch / _seconds(lambda: [teacher.predict(batch) for _ in range(runs)]))  # noqa: B023
        best[1] = max(best[1], count / _seconds(partial(pipeline.label, teacher, paths, folder, count=count)))
    return best[0], best[1]


def codecs_alone(teacher: Teacher, images: list[np.ndarray], paths: list[Path]) -> float:
    """Images per second that all cores can decode and encode without a net."""
    stages = pipeline.core_seconds(Instant(teacher, images[0]), paths)
    return pipeline.CORES / (stages["decode"] + stages["encode"])


class Instant:
    """A teacher that takes no time: it always returns the answer to the same image."""

    def __init__(self, teacher: Teacher, image: np.ndarray) -> None:
        """teacher: labels `image` once."""
        self.size = teacher.size
        labels, confidences = teacher.predict(np.repeat(image[None], teacher.batch, axis=0))
        self.answer = labels[:1], confidences[:1]

    def predict(self, images_BHWC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As Teacher.predict."""
        return self.answer


def speed_of_naive(given: Given, segmenter: Segmenter, paths: list[Path]) -> float:
    """Images per second of the naive loop on the same device."""
    folder, count = given.folder / "teacher-naive", 2 if given.rehearse else 60
    segmenter.net.to(given.device)
    try:
        for _ in range(2):  # the first pass warms up
            shutil.rmtree(folder, ignore_errors=True)
            seconds = _seconds(partial(pipeline.naive, segmenter, paths, folder, count=count))
    finally:
        segmenter.net.to("cpu")
    return count / seconds


def served(given: Given, record: Record, path: Path, *, precision: str) -> None:
    """Measure a server on the device under load."""
    repository = given.folder / f"teacher-repository-{precision}"
    shutil.rmtree(repository, ignore_errors=True)
    version = repository / contract.MODEL_NAME / "1"
    version.mkdir(parents=True)
    shutil.copy(path, version / "model.onnx")
    write_atomic(repository / contract.CONFIGURATION_FILE, contract.triton_configuration().encode())
    connections, seconds = (4, 2.0) if given.rehearse else (CONNECTIONS, 8.0)
    with server(repository, "--device", given.device) as running:
        answers = service.load(running, seconds=seconds, connections=connections)
    statuses = Counter(status for _, status, _ in answers)
    good = [took for _, status, took in answers if status == 200]
    p50, p99 = np.percentile(good, (50, 99)) if good else (np.nan, np.nan)
    record.add(
        what=f"service {precision}, {connections} connections",
        verdict="ok" if set(statuses) == {200} else f"statuses {dict(statuses)}",
        ours_per_s=len(good) / seconds,
        p50_ms=float(p50 * 1e3),
        p99_ms=float(p99 * 1e3),
    )


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main(arguments(__doc__))
