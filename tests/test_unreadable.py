"""Real images that are damaged inside: found, recorded, left out up to the limit, and the same ones after a resume."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from tiny_run import make, selfsyn_here

from selfsyn.data.frames import Frame
from selfsyn.data.unreadable import readable
from selfsyn.errors import InputError
from selfsyn.images import UnreadableError, decode_image, encode_png

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def damage(path: Path) -> None:
    """Both ends and the size stay as they were."""
    data = bytearray(path.read_bytes())
    data[200:400] = bytes(200)
    path.write_bytes(data)


@pytest.fixture
def frames(tmp_path: Path) -> list[Frame]:
    """Five images, the second of them damaged inside."""
    found = [Frame(f"f{i}", tmp_path / f"{i}.png") for i in range(5)]
    for frame in found:
        frame.image.write_bytes(encode_png(NOISE))
    damage(found[1].image)
    return found


def test_they_are_left_out_and_recorded(frames: list[Frame], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "unreadable.json"
    assert [frame.name for frame in readable(frames, record=record, spoiled=1)] == ["f0", "f2", "f3", "f4"]
    ((name, reason),) = json.loads(record.read_text()).items()
    assert name == "f1" and reason.startswith("not a readable image (") and str(tmp_path) not in reason
    assert f"left out 1 of 5 images that cannot be read, first {tmp_path}/1.png (not a" in capsys.readouterr().err


def test_the_record_is_believed(frames: list[Frame], tmp_path: Path) -> None:
    readable(frames, record=tmp_path / "unreadable.json", spoiled=1)
    frames[1].image.write_bytes(encode_png(NOISE))
    frames[2].image.write_bytes(b"")
    assert [frame.name for frame in readable(frames, record=tmp_path / "unreadable.json", spoiled=1)] == ["f0", "f2", "f3", "f4"]


@pytest.mark.parametrize(("spoiled", "count"), [(0, 5), (1, 1)], ids=["beyond the limit", "no image left"])
def test_too_many_are_refused_and_nothing_is_recorded(frames: list[Frame], tmp_path: Path, spoiled: int, count: int) -> None:
    chosen = frames[:5] if count == 5 else frames[1:2]
    with pytest.raises(
        InputError, match=rf"1\.png: not a .* 1 of {count} images cannot be read, and .* allows {spoiled}; replace"
    ):
        readable(chosen, record=tmp_path / "unreadable.json", spoiled=spoiled)
    assert not (tmp_path / "unreadable.json").exists()


def test_whatever_a_damaged_file_makes_the_decoder_raise_names_the_file() -> None:
    exif = Image.Exif()
    exif[0x112], exif[0x10F] = 6, "maker"  # orientation; make
    buffer = io.BytesIO()
    Image.fromarray(NOISE[:8, :8]).save(buffer, format="JPEG", exif=exif.tobytes())
    damaged = buffer.getvalue().replace(b"\x01\x0f\x00\x02", b"\x01\x00\x00\x02")  # a width that is a word: struct.error
    with pytest.raises(UnreadableError, match=r"x\.jpg: not a readable image \(required argument is not an integer\)"):
        decode_image(damaged, name="x.jpg")


def test_fit_adapter_goes_without_them_and_says_so(tmp_path: Path) -> None:
    run = make(tmp_path / "run", "teacher.unreadable=0.2")
    for verb in (["world"], ["train", "--bound", "source-only"]):
        assert selfsyn_here(verb[0], "--run", run, *verb[1:])[0] == 0
    victim, other, *_ = sorted((run / "world/camera/leftImg8bit/train").rglob("*.png"))
    whole = victim.read_bytes()
    damage(victim)
    code, said = selfsyn_here("fit-adapter", "--run", run)
    assert code == 0 and f"left out 1 of 5 images that cannot be read, first {victim}" in said, said
    finished = json.loads((run / "adapter/manifest.json").read_text())
    assert {name: finished["counts"][name] for name in ("real", "skipped", "skipped_at_most")} == {
        "real": 4,
        "skipped": 1,
        "skipped_at_most": 1,
    }
    # Stopped before its end and gone on with, it keeps to what it began with, though the file was mended meanwhile.
    (run / "adapter/manifest.json").unlink()
    victim.write_bytes(whole)
    assert selfsyn_here("fit-adapter", "--run", run)[0] == 0
    again = json.loads((run / "adapter/manifest.json").read_text())
    assert [again[key] for key in ("digest", "counts")] == [finished[key] for key in ("digest", "counts")]
    damage(victim)
    damage(other)
    code, said = selfsyn_here("fit-adapter", "--run", run, "--force")
    assert code == 2 and "2 of 5 images cannot be read, and teacher.unreadable allows 1" in said


def png_of(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


def pictures() -> dict[str, bytes]:
    """PNG files of every kind that Pillow writes, with a turned one."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 4), dtype=np.uint8)
    colour, turned, told = Image.fromarray(pixels[..., :3]), Image.Exif(), PngInfo()
    turned[0x0112] = 6
    told.add_text("Comment", "a street")
    return {
        "plain": png_of(colour),
        "with alpha": png_of(Image.fromarray(pixels)),
        "grey": png_of(colour.convert("L")),
        "palette": png_of(colour.convert("P")),
        "1-bit": png_of(colour.convert("1")),
        "with a transparent colour": png_of(colour, transparency=tuple(map(int, pixels[0, 0, :3]))),
        "turned": png_of(colour, exif=turned),
        "with text": png_of(colour, pnginfo=told),
        "with bytes behind its end": png_of(colour) + b"stray",
    }


@pytest.mark.parametrize("kind", pictures())
def test_a_png_has_the_pixels_that_pillow_finds(kind: str) -> None:
    data = pictures()[kind]
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert np.array_equal(decode_image(data), wanted)
    assert wanted.shape == ((60, 40, 3) if kind == "turned" else (40, 60, 3))


def test_a_png_with_a_wrong_byte_is_refused_whichever_byte_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    data = pictures()["plain"]
    for place in range(0, len(data), 61):
        damaged = data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]
        with pytest.raises(UnreadableError, match=r"^street\.png: not a readable image"):
            decode_image(damaged, name="street.png")
        with pytest.raises(UnreadableError):
            decode_image(data[:place], name="street.png")
    assert capfd.readouterr().err == ""
