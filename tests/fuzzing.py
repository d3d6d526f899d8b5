"""Mutated files for every reader: each is read right, or refused in one line.

    python tests/fuzzing.py 20000        # files; --seed N, --keep FOLDER for those that failed

Two processes read; a third watches. A file fails when its reader raises anything but InputError (exit code 2) or NotReadyError
(3), says it in several lines or without the file's name, returns other pixels than an independent reader, takes more than five
seconds, or ends its process.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import random
import struct
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

Reader = Callable[[Path], Any]
SECONDS = 5.0
STARTUP = 60.0  # a reader's process imports torch first
MEBIBYTE = 1 << 20
SHARES = {"data": 3, "nets": 1}  # quarters of the files
LIMIT = 1024  # MiB of a reader's process
HEADERS = (
    b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"%PDF-1.7", b"RIFF\x10\0\0\0WEBPVP8 ", b"\0\0\0\x1cftypavif", b"8BPS", b"\0\0\1\0",
    b"PK\x03\x04", b"\x80\x02", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"\xff\xfe", b"\xef\xbb\xbf", b"{", b"",
)  # fmt: skip
SIDES = (0, 1, 2, 65, 4096, 8192, 8193, 13_000, 30_000, 65_535, 2**31 - 1)


@dataclass(frozen=True)
class Subject:
    """A kind of file. files: {name: sound contents}; the first is mutated.  read: reads the first, by its path.

    right: whether what was read is right, given the path.
    """

    name: str
    files: dict[str, bytes]
    read: Reader
    right: Callable[[Path, Any], bool] = lambda path, value: True


@dataclass(frozen=True)
class Failure:
    """A file that failed. why: the last line of a traceback, or what else was wrong."""

    subject: str
    number: int
    why: str
    data: bytes


# ---- mutations: each is a function of the contents and the dice ----


def cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data) + 1)]


def flipped(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def swapped(data: bytes, dice: random.Random) -> bytes:
    """Two blocks exchanged; of a PNG, two chunks, so that each is still whole."""
    blocks = chunks(data)
    if len(blocks) < 2:
        edges = sorted(dice.randrange(len(data) + 1) for _ in range(4))
        blocks = [data[start:end] for start, end in zip([0, *edges], [*edges, len(data)], strict=True)]
    first, second = dice.randrange(len(blocks)), dice.randrange(len(blocks))
    blocks[first], blocks[second] = blocks[second], blocks[first]
    return (data[:8] if chunks(data) else b"") + b"".join(blocks)


def repeated(data: bytes, dice: random.Random) -> bytes:
    blocks = chunks(data) or [data]
    place = dice.randrange(len(blocks))
    blocks[place:place] = [blocks[place]] * dice.choice((1, 2, 100))
    return (data[:8] if chunks(data) else b"") + b"".join(blocks)


def headed(data: bytes, dice: random.Random) -> bytes:
    head = dice.choice(HEADERS)
    return head + data[dice.choice((0, len(head))) :]


def blanked(data: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(data) + 1)
    length = dice.choice((1, 4, 64, 1024))
    return data[:start] + dice.choice((b"\0", b"\xff", b"9", b'"', b"[")) * length + data[start + length :]


def inserted(data: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(data) + 1)
    return data[:start] + dice.randbytes(dice.choice((1, 4, 100, 5000))) + data[start:]


def resized(data: bytes, dice: random.Random) -> bytes:
    """A header that says another size, with a checksum that holds; of other files, a number made long."""
    width, height = dice.choice(SIDES), dice.choice(SIDES)
    if data.startswith(b"\x89PNG"):
        header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    for marker in (b"\xff\xc0", b"\xff\xc2"):
        if (at := data.find(marker)) >= 0:
            return data[: at + 5] + struct.pack(">HH", height & 0xFFFF, width & 0xFFFF) + data[at + 9 :]
    digits = [place for place, byte in enumerate(data) if chr(byte).isdigit()]
    place = dice.choice(digits) if digits else 0
    return data[:place] + dice.choice((b"-", b"1e999", b"9" * 400, b"nan", b"null")) + data[place + 1 :]


def patched(data: bytes, dice: random.Random) -> bytes:
    """A PNG with one byte of a chunk changed and its checksum made to fit: the decoder itself must find the fault."""
    blocks = chunks(data)
    if not blocks:
        return flipped(data, dice)
    place = dice.randrange(len(blocks))
    body = bytearray(blocks[place][4:-4])
    body[dice.randrange(len(body))] ^= 1 << dice.randrange(8)
    blocks[place] = struct.pack(">I", len(body) - 4) + bytes(body) + struct.pack(">I", zlib.crc32(body))
    return data[:8] + b"".join(blocks)


def sound(data: bytes, dice: random.Random) -> bytes:
    return data


MUTATIONS = (cut, flipped, swapped, repeated, headed, blanked, inserted, resized, patched, sound)


def chunks(data: bytes) -> list[bytes]:
    """The chunks of a sound PNG; none of another file."""
    found, place = [], 8
    while data.startswith(b"\x89PNG") and place < len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4])
        found.append(data[place:end])
        place = end
    return found


# ---- what is mutated, and who reads it ----


def saved(array: np.ndarray, *, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format=kind, **options)
    return buffer.getvalue()


def subjects(group: str) -> list[Subject]:
    """The kinds of files of a group. The sound ones are the same in every process."""
    return GROUPS[group]()


def of_data() -> list[Subject]:
    """What is read without torch."""
    from selfsyn.config import load as load_configuration
    from selfsyn.data.frames import LAYOUTS, names_in

    dice = np.random.default_rng(0)
    photo = cv2.resize(dice.integers(0, 256, (6, 8, 3), dtype=np.uint8), (64, 48))
    ids = np.kron(dice.choice([7, 8, 11, 21, 23, 26], (6, 8)), np.ones((8, 8))).astype(np.uint8)
    pictures = [
        Subject("rgb.png", {"a.png": saved(photo)}, image_of, as_opencv),
        Subject("grey16.png", {"a.png": saved(photo[..., 0].astype(np.uint16) * 257)}, image_of),
        Subject("palette.png", {"a.png": saved(ids, bits=8)}, image_of),
        Subject("rgb.jpg", {"a.jpg": saved(photo, kind="JPEG")}, image_of),
        Subject("progressive.jpg", {"a.jpg": saved(photo, kind="JPEG", progressive=True, exif=turned())}, image_of),
    ]
    labels = [
        Subject(f"label of {layout}", {"a.png": data}, LAYOUTS[layout].read, right)
        for layout, data, right in (
            ("cityscapes", saved(ids), as_opencv),
            ("gta5", palette_of(ids), lambda path, value: True),
            ("synthia-sf", saved(np.dstack([ids % 23] * 3)), lambda path, value: True),
            ("synthia-rand-cityscapes", deep(ids % 23), lambda path, value: True),
        )
    ]
    store = store_files(ids % 19)
    return [
        *pictures,
        *labels,
        Subject("list", {"list.txt": "größe\nb\r\nc\n".encode()}, names_in),
        Subject("run.toml", {"run.toml": b'recipe = "demo"\n' + recipe()}, load_configuration),
        *(Subject(f"store's {name}", {name: store[name], **store}, store_of) for name in store if not name.endswith("1.png")),
    ]


def of_nets() -> list[Subject]:
    """What is read with torch and ONNX Runtime."""
    from tiny_teacher import tiny_onnx

    from selfsyn.checkpoint import load as load_checkpoint
    from selfsyn.task.backbones import read_state

    photo = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return [
        Subject("checkpoint", {"a.pt": checkpoint()}, lambda path: load_checkpoint(path, configuration=None)),
        Subject("weights.safetensors", {"a.safetensors": weights()}, read_state),
        Subject("weights.pth", {"a.pth": checkpoint()}, read_state),
        Subject("teacher", {"model.onnx": tiny_onnx()}, lambda path: answer_of(path, photo)),
    ]


GROUPS = {"data": of_data, "nets": of_nets}


def image_of(path: Path) -> np.ndarray:
    """The photo, as doctor and the phases look at it."""
    from selfsyn.contents import Contents
    from selfsyn.doctor.ends import ends_of
    from selfsyn.errors import InputError
    from selfsyn.images import read_image

    (ends,) = ends_of([path], contents=Contents(path.parent / "inputs"))
    if "\n" in ends.fault:
        raise InputError(ends.fault)
    image = read_image(path)
    assert ends.fault or ends.orientation not in range(1, 5) or ends.size == image.shape[1::-1], "doctor saw another size"
    return image


def as_opencv(path: Path, value: np.ndarray) -> bool:
    """Whether OpenCV reads the same pixels, where it reads the file whole."""
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint8 or found.ndim != value.ndim or (value.ndim == 3 and found.shape[2] != 3):
        return True
    return found.shape == value.shape and bool((found == (value if value.ndim == 2 else value[..., ::-1])).all())


def answer_of(path: Path, photo: np.ndarray) -> Any:
    from export.teacher import Teacher
    from selfsyn.errors import FaultError, InputError

    try:
        teacher = Teacher(path, device="cpu", threads=1)
        return teacher.predict(photo[None])
    except FaultError as error:  # scores that are not finite: a fault that is said, though of the weights
        raise InputError(f"{path}: {error}") from error


def store_of(path: Path) -> Any:
    from selfsyn.pseudo_labels import LabelStore

    store = LabelStore(path if path.is_dir() else folder_of(path))
    store.content()
    return [store.maps(name) for name in store.names]


def folder_of(path: Path) -> Path:
    return path.parents[1] if path.parent.name in ("labels", "confidence") else path.parent


def store_files(ids: np.ndarray) -> dict[str, bytes]:
    from tiny_store import write_shard

    with tempfile.TemporaryDirectory() as folder:
        write_shard(Path(folder), dict.fromkeys(("0", "1"), (ids, ids)))
        return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def recipe() -> bytes:
    import selfsyn

    return (Path(selfsyn.__file__).parent / "recipes/demo.toml").read_bytes()


def checkpoint() -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save({"configuration": "", "state": {"weight": torch.ones(3, 4), "step": 3}}, buffer)
    return buffer.getvalue()


def weights() -> bytes:
    import torch
    from safetensors.torch import save

    return save({"weight": torch.ones(3, 4), "bias": torch.zeros(3)})


def turned() -> bytes:
    told = Image.Exif()
    told[0x0112] = 6
    return told.tobytes()


def palette_of(ids: np.ndarray) -> bytes:
    image = Image.fromarray(ids)
    image.putpalette([37 * k % 256 for k in range(768)])
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def deep(ids: np.ndarray) -> bytes:
    return cv2.imencode(".png", np.dstack([ids] * 3).astype(np.uint16))[1].tobytes()


# ---- one file, one process, all of them ----


def made(subject: Subject, *, number: int, seed: int) -> bytes:
    """The contents of the mutated file number `number` of a subject."""
    dice = random.Random(f"{seed} {subject.name} {number}")
    mutation = MUTATIONS[number % len(MUTATIONS)]
    return mutation(next(iter(subject.files.values())), dice)


def fault_in(subject: Subject, data: bytes, *, folder: Path) -> str:
    """What is wrong with the reader's answer, or ''."""
    from selfsyn.errors import InputError, NotReadyError

    first = next(iter(subject.files))
    for name, contents in {**subject.files, first: data}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(contents)
    try:
        value = subject.read(folder / first)
        return "" if subject.right(folder / first, value) else "other pixels than OpenCV's"
    except (InputError, NotReadyError) as error:
        said = str(error)
        return f"several lines: {said!r}" if "\n" in said else "" if str(folder) in said else f"no path in: {said}"
    except Exception:
        return traceback.format_exc()


def reads(pipe: Connection, group: str, seed: int) -> None:
    """Answer (place in the group, number) with (fault, peak memory in MiB), until the pipe is closed."""
    sys.path.insert(0, str(Path(__file__).parent))
    kinds = subjects(group)
    pipe.send(None)
    with tempfile.TemporaryDirectory() as folder:
        while (task := pipe.recv()) is not None:
            place, number = task
            fault = fault_in(kinds[place], made(kinds[place], number=number, seed=seed), folder=Path(folder) / str(place))
            pipe.send((fault, peak_memory() // MEBIBYTE))


def peak_memory() -> int:
    """Bytes of this process at most. getrusage would count the process that forked it."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


class Reads:
    """A process that reads, started again when it dies or hangs."""

    def __init__(self, group: str, *, seed: int) -> None:
        self.given = group, seed
        self.start()

    def start(self) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=reads, args=(theirs, *self.given), daemon=True)
        self.process.start()
        theirs.close()
        if not self.pipe.poll(STARTUP):
            raise RuntimeError("the reading process did not start")
        self.pipe.recv()

    def ask(self, task: tuple[int, int]) -> tuple[str, int]:
        """-> what is wrong, or '', and the peak memory of the process in MiB."""
        self.pipe.send(task)
        try:
            if self.pipe.poll(SECONDS):
                answer: tuple[str, int] = self.pipe.recv()
                return answer
            why = f"no answer in {SECONDS:.0f} s"
        except (EOFError, ConnectionResetError):
            self.process.join()
            why = f"the process ended with {self.process.exitcode}"
        self.process.kill()
        self.start()
        return why, 0


def fuzz(group: str, *, count: int, seed: int) -> tuple[list[Failure], int, float]:
    """Read `count` mutated files of a group in a process of their own -> failures, peak memory in MiB, longest seconds.

    Each kind of file in turn, and of each kind every mutation in turn.
    """
    kinds, failures, peak, longest = subjects(group), [], 0, 0.0
    process = Reads(group, seed=seed)
    for number, place in (divmod(position, len(kinds)) for position in range(count)):
        began = time.perf_counter()
        why, memory = process.ask((place, number))
        if memory > max(peak, LIMIT // 2):
            print(f"{memory} MiB: {kinds[place].name} {number}", file=sys.stderr)
        peak, longest = max(peak, memory), max(longest, time.perf_counter() - began)
        if why:
            failures.append(Failure(kinds[place].name, number, why, made(kinds[place], number=number, seed=seed)))
    process.pipe.send(None)
    return failures, peak, longest


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    parts = [fuzz(group, count=given.count * share // 4, seed=given.seed) for group, share in SHARES.items()]
    failures = [failure for part in parts for failure in part[0]]
    peak, longest = max(part[1] for part in parts), max(part[2] for part in parts)
    for why, count in Counter((one.subject, one.why.strip().splitlines()[-1][:150]) for one in failures).most_common():
        print(count, *why)
    for one in failures if given.keep else []:
        given.keep.mkdir(parents=True, exist_ok=True)
        (given.keep / f"{one.subject.replace('/', '_')}-{one.number}").write_bytes(one.data)
        (given.keep / f"{one.subject.replace('/', '_')}-{one.number}.txt").write_text(one.why)
    print(f"{given.count} files, {len(failures)} failures, peak {peak} MiB, longest {longest:.2f} s")
    return bool(failures) or peak > LIMIT


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
