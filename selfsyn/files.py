"""Atomic writes (temporary name in the same folder, fsync, rename), and digests."""

from __future__ import annotations

import codecs
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from selfsyn.errors import FaultError, InputError

TEMPORARY = ".tmp-"
ABANDONED_SECONDS = 3600.0  # without a write; an attempt that works writes more often
# In this order: the mark of UTF-32 begins with that of UTF-16.
MARKS = {
    codecs.BOM_UTF8: "UTF-8-sig",
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
OF_PATHS = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EROFS)  # a path that the user must change
BLOCK = 1 << 20  # bytes that are read at a time


def write_atomic(path: Path, data: bytes, *, lasting: bool = True) -> None:
    """Write `data` to `path` atomically; parent folders are created.

    Two processes may write the same path: each has its own temporary file, and the last rename wins. FaultError when it
    cannot be written.
    lasting: the bytes survive a loss of power after the call; without it, after the next os.sync().
    """
    with stream_atomic(path, lasting=lasting) as stream:
        stream.write(data)


@contextlib.contextmanager
def stream_atomic(path: Path, *, lasting: bool = True) -> Iterator[BinaryIO]:
    """A file to write into, which becomes `path` when the block ends without error; see write_atomic.

    Until then the temporary file is locked, so that `remove_temporaries` of another process leaves it alone.
    """
    temporary = temporary_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(temporary) as stream:
            yield stream
            stream.flush()
            if lasting:
                os.fsync(stream.fileno())
            _rename(temporary, path)
    except OSError as error:
        raise explained(error, path=path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    if lasting:
        _sync_folder(path.parent)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as indented JSON, with keys in their order. ValueError for NaN, which is not JSON."""
    write_atomic(path, to_json(value).encode())


def to_json(value: Mapping[str, Any]) -> str:
    """`value` as indented JSON; see write_json."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in that file, or None when there is no such file. InputError for a file that holds no JSON object."""
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON object ({error}); delete the file and run the same command again") from error


def read_text(path: Path) -> str:
    """The text of a user's file: UTF-8, or UTF-16 or UTF-32 with a byte order mark, as Windows writes. All line ends become \\n.

    OSError when it cannot be read, InputError for another encoding and for NUL characters.
    """
    data = path.read_bytes()
    encoding = next((encoding for mark, encoding in MARKS.items() if data.startswith(mark)), "UTF-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        what = f"byte {error.start} ({data[error.start]:#04x}) is not {encoding.removesuffix('-sig')}"
        raise InputError(f"{path}: not text ({what}); expected UTF-8; save the file in it") from error
    if "\0" in text:
        raise InputError(f"{path}: not text (a NUL character at {text.index(chr(0))}); expected UTF-8; save the file in it")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def printable(path: Path) -> str:
    """The path as text that every stream takes: a byte that is not UTF-8 becomes \\xNN, and a line end stays on the line."""
    return os.fsencode(path).decode(errors="backslashreplace").replace("\n", "\\n")


def expanded(path: str) -> Path:
    """The path with ~ as the home folder. That of a user who does not exist stays as it is: no such file, later."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def digest_bytes(data: bytes) -> str:
    """-> 'sha256:<64 hex digits>' of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """-> 'sha256:<64 hex digits>' of the file's bytes, read in blocks."""
    with open(path, "rb") as stream:
        return digest_stream(stream)


def digest_stream(stream: BinaryIO) -> str:
    """-> 'sha256:<64 hex digits>' of the rest of an open file."""
    digest = hashlib.sha256()
    while block := stream.read(BLOCK):
        digest.update(block)
    return "sha256:" + digest.hexdigest()


def digest_lines(lines: Iterable[str]) -> str:
    """-> 'sha256:<64 hex digits>' of the lines, in order, each ended by a newline. File names need not be UTF-8."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode(errors="surrogateescape") + b"\n")
    return "sha256:" + digest.hexdigest()


def remove_temporaries(folder: Path) -> None:
    """Delete temporary files of killed attempts in `folder` and below; another attempt that is running keeps its own."""
    for leftover in folder.rglob(f"{TEMPORARY}*"):
        with contextlib.suppress(FileNotFoundError, IsADirectoryError), open(leftover, "r+b") as stream:
            if _is_abandoned(stream):
                leftover.unlink(missing_ok=True)


def temporary_of(path: Path) -> Path:
    """A name beside `path` for the file that is to become it, different in each attempt."""
    return path.with_name(f"{TEMPORARY}{os.getpid()}-{uuid.uuid4().hex[:8]}-{path.name}")


def locked(temporary: Path) -> BinaryIO:
    """A new temporary file, open for writing, that `remove_temporaries` of another process leaves alone until it is closed."""
    while True:
        stream = open(temporary, "wb")  # noqa: SIM115 (the caller closes it)
        with contextlib.suppress(OSError):  # a file system without locks; see _is_abandoned
            fcntl.flock(stream, fcntl.LOCK_EX)
        if temporary.exists():
            return stream
        stream.close()  # another process took it for a leftover before it was locked


def _is_abandoned(stream: BinaryIO) -> bool:
    """Whether no process, on this or another machine, is writing the temporary file. If so, it is locked from now on."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: only time tells
        return time.time() - os.fstat(stream.fileno()).st_mtime > ABANDONED_SECONDS
    return True


def adopt(temporary: Path, path: Path) -> None:
    """Give a finished temporary file of the same folder its name, for good. Raises OSError."""
    _rename(temporary, path)
    _sync_folder(path.parent)


def _rename(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except FileNotFoundError:
        # On a file system without locks, another attempt finished this phase and removed our temporary file; it wrote the same.
        if not path.exists():
            raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def explained(error: OSError, *, path: Path) -> Exception:
    """The error for a file that cannot be written: InputError if another path is needed, or FaultError."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FaultError(f"{path}: the disk is full; free some space and run the same command again")
    if error.errno in OF_PATHS:
        return InputError(f"{path}: cannot be written ({error.strerror}); give another path")
    return FaultError(f"{path}: cannot be written ({error.strerror}); check the folder and run the same command again")
