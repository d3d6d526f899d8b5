"""pseudo-label and evaluate through the command line: exit codes, files, shards, kills and resumes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from merging import merged
from tiny_run import selfsyn
from tiny_teacher import SIZE, tiny_onnx, write_teacher

from export.contract import HALF_FILE
from export.teacher import Teacher, why_no_cuda
from jobs.__main__ import main
from selfsyn.data.sources import listed_real, real
from selfsyn.errors import InputError
from selfsyn.files import digest_bytes
from selfsyn.frame_counts import FRAMES, read_frames
from selfsyn.images import encode_png, read_ids, read_image, resize_image, resize_label
from selfsyn.labels import CLASSES, PROTOCOLS, TRAIN_ID_OF_CAMVID_ID, colourise
from selfsyn.metrics import confusion
from selfsyn.phase import open_run
from selfsyn.pseudo_labels import LabelStore
from selfsyn.stage import Stage

NAMES = [f"street-{position}" for position in range(7)]
RUN = f"""
recipe = "test"
seed = 0
size = {list(SIZE)}
synthetic = {{ layout = "gta5", root = "unused" }}
real = {{ layout = "camvid", root = "data" }}
held_out = {{ layout = "camvid", root = "data", split = "val", protocol = "camvid-11" }}
adapter = {{ crop = 32 }}
"""

Call = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a finished teacher of round 0, seven real images and three held-out ones of another size."""
    draw = np.random.default_rng(0)
    for split, names, size in (("train", NAMES, SIZE), ("val", NAMES[:3], (81, 61))):
        for name in names:
            picture = draw.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            label = draw.integers(0, 12, (size[1], size[0]), dtype=np.uint8)
            for folder, data in (("images", picture), ("labels", label)):
                path = tmp_path / "data" / split / folder / f"{name}-{split}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode_png(data))
    (tmp_path / "run.toml").write_text(RUN)
    write_teacher(tmp_path / "round-0" / "teacher", tiny_onnx())
    return tmp_path


@pytest.fixture
def call(run: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a verb in this process; -> its exit code."""
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def called(verb: str, *arguments: object) -> int:
        line = [verb, *map(str, arguments), "--run", str(run)]
        monkeypatch.setattr(sys, "argv", ["selfsyn", *line])
        try:
            main()
        except SystemExit as left:
            return int(left.code or 0)
        return 0

    return called


def label(call: Call, *arguments: object) -> int:
    return call("pseudo-label", "--round", 1, "--device", "cpu", *arguments)


def files(folder: Path) -> dict[str, bytes]:
    """Every file that a phase leaves, without its manifest (which has the wall time)."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if not name.endswith("manifest.json")}


def outputs(shard: Path) -> dict[str, str]:
    manifest = json.loads((shard / "manifest.json").read_text())
    return {**manifest["outputs"], "digest": manifest["digest"]}


def test_labels_are_the_teachers_answers(run: Path, call: Call) -> None:
    assert label(call) == 0
    shard = run / "round-1/labels/shard-00000-of-00001"
    teacher = Teacher(tiny_onnx(), device="cpu")
    for name in NAMES:
        expected = teacher.predict(read_image(run / f"data/train/images/{name}-train.png")[None])
        for kind, answer in zip(("labels", "confidence"), expected, strict=True):
            assert np.array_equal(read_ids(shard / kind / f"{name}-train.png"), answer[0])
    rows = [json.loads(line) for line in (shard / "index.jsonl").read_text().splitlines()]
    assert [row["name"] for row in rows] == [f"{name}-train" for name in NAMES]
    assert rows[0]["image"] == "train/images/street-0-train.png"
    manifest = json.loads((shard / "manifest.json").read_text())
    assert manifest["counts"] == {"images": 7, "teacher": teacher.digest}
    assert set(manifest["inputs"]) == {"round-0/teacher", "real"}
    assert len(LabelStore(run / "round-1/labels").names) == 7


def test_device_is_the_one_asked_for_or_exit_two(run: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert label(call) == 0
    manifest = json.loads((run / "round-1/labels/shard-00000-of-00001/manifest.json").read_text())
    assert manifest["device"] == "CPUExecutionProvider"
    if why_no_cuda() is None:
        pytest.skip("this machine has CUDA")
    shutil.rmtree(run / "round-1")
    for verb in (["pseudo-label", "--round", 1], ["evaluate", "--round", 0]):
        assert call(*verb, "--device", "cuda") == 2
        said = failed(capsys)
        assert said.startswith("selfsyn: --device cuda: ") and "install `onnxruntime-gpu[cuda,cudnn]`" in said
        assert "use --device cpu" in said
    assert not (run / "round-1").exists()


def test_half_precision_labels_where_run_toml_says_so(run: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "run.toml").write_text(RUN + 'teacher = { precision = "fp16" }\n')
    assert label(call) == 2
    assert "no fp16 file passed the comparison" in failed(capsys)
    assert not (run / "round-1").exists()
    teacher, half = run / "round-0/teacher", tiny_onnx(seed=1)  # other weights, so that it shows which file labelled
    (teacher / HALF_FILE).write_bytes(half)
    manifest = json.loads((teacher / "manifest.json").read_text())
    manifest["outputs"][HALF_FILE] = digest_bytes(half)
    (teacher / "manifest.json").write_text(json.dumps(manifest))
    assert label(call) == 0
    assert LabelStore(run / "round-1/labels").teacher == digest_bytes(half)
    assert call("evaluate", "--round", 0, "--device", "cpu") == 0
    manifest = json.loads((run / "round-0/evaluation/manifest.json").read_text())
    assert manifest["counts"]["teacher"] == digest_bytes(half)


def test_again_is_done_at_once_and_changes_nothing(run: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert label(call) == 0
    before = files(run)
    (run / "round-0/teacher/segmenter/1/model.onnx").unlink()  # not even opened
    assert label(call) == 0
    assert "already done" in capsys.readouterr().err
    del before["round-0/teacher/segmenter/1/model.onnx"]
    assert files(run) == before


def test_workers_do_not_change_a_byte(run: Path, call: Call) -> None:
    folder = run / "round-1/labels"
    results = []
    for workers in (0, 1, 3):
        assert label(call, "--workers", workers, "--force") == 0
        results.append(files(folder))
    assert results[0] == results[1] == results[2]


def test_a_fixed_batch_is_filled_up_and_does_not_change_a_byte(run: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert label(call) == 0
    alone = files(run / "round-1/labels")
    monkeypatch.setattr("export.teacher.BATCH", {"CPUExecutionProvider": 4})
    shapes, predict = [], Teacher.predict
    monkeypatch.setattr(Teacher, "predict", lambda self, images: shapes.append(images.shape) or predict(self, images))
    assert label(call, "--force") == 0
    assert files(run / "round-1/labels") == alone
    assert shapes == [(4, 48, 64, 3)] * 2


def test_a_fixed_batch_keeps_the_order_of_what_passes_it_by(run: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    corrupt(run / "data/train/images/street-2-train.png")
    assert label(call) == 0
    shard = run / "round-1/labels/shard-00000-of-00001"
    whole = files(shard)
    monkeypatch.setattr("export.teacher.BATCH", {"CPUExecutionProvider": 2})
    for passing in (0, 64):
        monkeypatch.setattr("export.pipeline.PASSING", passing)
        (shard / "manifest.json").unlink()
        for missing in (0, 3, 6):  # between them: recalled ones, and one that cannot be read
            (shard / f"labels/street-{missing}-train.png").unlink()
        assert label(call) == 0
        assert files(shard) == whole


def test_training_goes_without_the_images_that_were_skipped(run: Path, call: Call) -> None:
    from selfsyn.task.stages import sources_of

    for spoil, name in ((corrupt, "street-2"), (truncate, "street-4")):
        spoil(run / f"data/train/images/{name}-train.png")
    (run / "run.toml").write_text(RUN + "teacher = { unreadable = 0.2 }\ntrain = { batch = 4 }\n")
    assert label(call) == 0
    for kind, size in (("images", (*SIZE[::-1], 3)), ("labels", SIZE[::-1])):
        (run / "adapted" / kind).mkdir(parents=True)
        (run / "adapted" / kind / "a.png").write_bytes(encode_png(np.zeros(size, np.uint8)))
    layout, config = open_run(run)
    pseudo = sources_of(layout, config, stage=Stage("round-1"))[0].pseudo
    assert pseudo is not None
    assert [Path(example.name).name for example in pseudo.examples] == [
        f"{name}-train.png" for name in NAMES if name not in ("street-2", "street-4")
    ]
    assert pseudo.mix.sizes == (5,)
    for example in pseudo.examples:
        assert example.read()["label"].shape == SIZE[::-1]
    (run / "round-1/labels/shard-00000-of-00001/index.jsonl").write_text("")
    with pytest.raises(InputError, match="no pseudo-label for image 'street-0-train'"):
        sources_of(layout, config, stage=Stage("round-1"))


def test_missing_images_alone_are_labelled_again(run: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert label(call) == 0
    shard = run / "round-1/labels/shard-00000-of-00001"
    whole = files(shard)
    (shard / "manifest.json").unlink()
    (shard / "labels/street-1-train.png").unlink()
    (shard / "confidence/street-4-train.png").unlink()
    shown, predict = [], Teacher.predict
    monkeypatch.setattr(Teacher, "predict", lambda self, images: shown.append(len(images)) or predict(self, images))
    assert label(call) == 0
    assert files(shard) == whole and sum(shown) == 2


def test_shards_together_are_the_whole(run: Path, call: Call) -> None:
    stores = {}
    for shards in (1, 2, 3):
        for shard in range(shards):
            assert label(call, "--shard", shard, "--shards", shards) == 0
        store = LabelStore(run / "round-1/labels")
        maps = [store.read(name, portion=0.5).tobytes() for name in store.names]
        stores[shards] = (store.names, store.counts.tobytes(), maps, store.content())
        shutil.rmtree(run / "round-1/labels")
    assert stores[1] == stores[2] == stores[3]


def test_shard_numbers_come_from_the_environment(run: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    monkeypatch.setenv("SELFSYN_SHARDS", "3")
    assert label(call) == 0
    shard = run / "round-1/labels/shard-00001-of-00003"
    assert sorted(path.stem for path in (shard / "labels").iterdir()) == ["street-1-train", "street-4-train"]


# Ends the process at the N-th atomic rename, before or after it: with SIGKILL, or by asking it to stop.
ENDING = """
import os, signal, sys
real, left = os.replace, [int(sys.argv.pop(1))]
number = getattr(signal, sys.argv.pop(1))
def replace(*paths):
    left[0] -= 1
    if left[0] == 0 and number == signal.SIGKILL: os.kill(os.getpid(), number)
    real(*paths)
    if left[0] == 0: os.kill(os.getpid(), number)
os.replace = replace
from jobs.__main__ import main
main()
"""


def ended(run: Path, *, after: int, by: str) -> subprocess.CompletedProcess[str]:
    arguments = ["pseudo-label", "--run", str(run), "--round", "1", "--device", "cpu", "--workers", "1"]
    command = [sys.executable, "-c", ENDING, str(after), by, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])


# Renames: sealed.toml, started.json, then two for each image, index, histogram, manifest: 19 in all.
@pytest.mark.parametrize("after", [2, 4, 9, 18, 19])
def test_killed_anywhere_and_run_again_leaves_the_same_bytes(run: Path, call: Call, after: int) -> None:
    assert ended(run, after=after, by="SIGKILL").returncode == -9
    shard = run / "round-1/labels/shard-00000-of-00001"
    assert not (shard / "manifest.json").exists()
    assert all(read_ids(path).shape == SIZE[::-1] for path in shard.rglob("[!.]*.png"))  # raises for half a file
    assert label(call) == 0
    resumed, digests = files(shard), outputs(shard)
    assert label(call, "--force") == 0
    assert (files(shard), outputs(shard)) == (resumed, digests)


def test_sigterm_stops_with_143_and_the_rest_follows(run: Path, call: Call) -> None:
    assert ended(run, after=5, by="SIGTERM").returncode == 143
    shard = run / "round-1/labels/shard-00000-of-00001"
    kept = {path: path.stat().st_mtime_ns for path in shard.rglob("*.png")}
    assert 0 < len(kept) < 14 and not (shard / "manifest.json").exists()
    assert label(call) == 0
    whole = [path for path in kept if (shard / "labels" / path.name) in kept and (shard / "confidence" / path.name) in kept]
    assert all(path.stat().st_mtime_ns == kept[path] for path in whole)
    assert len(list(shard.rglob("*.png"))) == 14


def failed(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr that a user's mistake leaves, other lines being timed ones."""
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("[")]
    assert len(lines) == 1 and lines[0].startswith("selfsyn: ")
    return lines[0]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def corrupt(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[200:400] = bytes(200)
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(truncate, "not a readable image (image file is truncated"), (corrupt, "not a readable image ("),
     (empty, "not a readable image (damaged, or of an unknown format)")],
)  # fmt: skip
def test_image_that_cannot_be_read_is_recorded_and_left_out(
    run: Path, call: Call, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(run / "data/train/images/street-3-train.png")
    assert label(call) == 0
    shard = run / "round-1/labels/shard-00000-of-00001"
    rows = [json.loads(line) for line in (shard / "index.jsonl").read_text().splitlines()]
    assert [row["name"] for row in rows] == [f"{name}-train" for name in NAMES]
    assert set(rows[3]) == {"name", "image", "skipped"} and rows[3]["skipped"].startswith(reason)
    assert str(run) not in (shard / "index.jsonl").read_text()
    assert len(list(shard.rglob("*.png"))) == 12
    counts = json.loads((shard / "manifest.json").read_text())["counts"]
    assert (counts["images"], counts["skipped"], counts["skipped_at_most"]) == (6, 1, 1)
    store = LabelStore(run / "round-1/labels")
    assert len(store.names) == 6 and list(store.skipped) == ["street-3-train"]
    assert store.counts.sum() == 6 * SIZE[0] * SIZE[1]
    with pytest.raises(InputError, match="'street-3-train' has no pseudo-label: not a readable image"):
        store.place("street-3-train")
    written = files(shard)
    (shard / "manifest.json").unlink()
    assert label(call) == 0 and files(shard) == written  # the reason is the same words again


def test_each_unreadable_image_is_named_as_it_is_left_out(run: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    spoiled = run / "data/train/images/street-3-train.png"
    corrupt(spoiled)
    assert label(call) == 0
    assert f"{spoiled.name}: not a readable image" in (said := capsys.readouterr().err)
    assert "left out (1 of at most 1, see teacher.unreadable)" in said


def test_more_unreadable_images_than_allowed_are_refused(run: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("street-1", "street-2"):
        corrupt(run / f"data/train/images/{name}-train.png")
    assert label(call) == 2
    said = failed(capsys)
    assert "street-2-train.png: not a readable image" in said and "2 images cannot be read, teacher.unreadable allows 1" in said
    assert not (run / "round-1/labels/shard-00000-of-00001/manifest.json").exists()
    (run / "run.toml").write_text(RUN + "teacher = { unreadable = 0.0 }\n")
    (run / "sealed.toml").unlink()
    assert label(call) == 2
    assert "teacher.unreadable allows 0" in failed(capsys)


def test_phases_that_need_every_image_whole_leave_truncated_ones_out(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout, config = open_run(run)
    truncate(run / "data/train/images/street-3-train.png")
    frames, digest = real(layout, config)
    assert [frame.name for frame in frames] == [f"{name}-train" for name in NAMES if name != "street-3"]
    assert "left out 1 of 7 images that are not complete" in capsys.readouterr().err
    listed, same = listed_real(layout, config)
    assert (len(listed), same) == (7, digest)
    truncate(run / "data/train/images/street-5-train.png")
    with pytest.raises(InputError, match=r"street-3-train\.png: truncated.*; 2 of 7 images, 1 allowed: copy the file again"):
        real(layout, config)


def test_the_limit_holds_for_all_shards_together(run: Path, call: Call) -> None:
    for name in ("street-1", "street-2"):
        corrupt(run / f"data/train/images/{name}-train.png")
    for shard in range(7):
        assert label(call, "--shard", shard, "--shards", 7) == 0  # each shard alone is within it
    with pytest.raises(InputError, match="2 images of all shards could not be read, teacher.unreadable allows 1"):
        LabelStore(run / "round-1/labels")


def test_shards_of_different_images_are_refused(run: Path, call: Call) -> None:
    assert label(call, "--shard", 0, "--shards", 2) == 0
    shutil.copy(run / "data/train/images/street-0-train.png", run / "data/train/images/street-9.png")
    assert label(call, "--shard", 1, "--shards", 2) == 0
    with pytest.raises(InputError, match="shard-00000-of-00002 and shard-00001-of-00002 were made from different images"):
        LabelStore(run / "round-1/labels")


def test_shard_beyond_the_last_is_refused(run: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert label(call, "--shard", 2, "--shards", 2) == 2
    assert "--shard 2 of --shards 2; expected 0 to 1" in failed(capsys)


def test_round_zero_has_no_pseudo_labels(call: Call) -> None:
    assert call("pseudo-label", "--round", 0) == 2


def test_without_a_teacher_nothing_is_ready(run: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("pseudo-label", "--round", 2, "--device", "cpu") == 3
    assert "round-1/teacher" in failed(capsys)
    assert call("evaluate", "--round", 1, "--device", "cpu") == 3
    assert not (run / "round-2").exists() and not (run / "sealed.toml").exists()


def test_changed_images_are_refused_until_forced(run: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert label(call) == 0
    shutil.copy(run / "data/train/images/street-0-train.png", run / "data/train/images/street-9.png")
    assert label(call) == 2
    assert "real changed" in failed(capsys)
    assert label(call, "--force") == 0
    assert "street-9" in LabelStore(run / "round-1/labels").names


@pytest.mark.parametrize("verb", ["pseudo-label", "evaluate", "export-teacher"])
def test_dry_run_writes_nothing(run: Path, call: Call, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(run)
    assert call(verb, "--round", 1, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "reads" in shown and "writes" in shown and str(run / "round-1") in shown
    assert files(run) == before


@pytest.mark.parametrize("verb", ["pseudo-label", "evaluate", "export-teacher"])
def test_help_says_what_a_verb_does(call: Call, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(verb, "--help") == 0
    shown = capsys.readouterr().out
    assert "--run" in shown and "--round" in shown and "teacher" in shown.lower()


def test_evaluation_counts_at_the_labels_own_size(run: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("evaluate", "--round", 0, "--device", "cpu") == 0
    rules, teacher = PROTOCOLS["camvid-11"], Teacher(tiny_onnx(), device="cpu")
    counts = np.zeros((11, 11), np.int64)
    for name in NAMES[:3]:
        image = resize_image(read_image(run / f"data/val/images/{name}-val.png"), size=SIZE)
        predicted = teacher.predict(image[None])[0][0]
        picture = run / f"round-0/evaluation/pictures/{name}-val.png"
        assert np.array_equal(read_ids(picture), predicted)
        true = TRAIN_ID_OF_CAMVID_ID[read_ids(run / f"data/val/labels/{name}-val.png")]
        counts += confusion(merged(rules, true), merged(rules, resize_label(predicted, size=(81, 61))), classes=11)
    metrics = json.loads((run / "round-0/evaluation/metrics.json").read_text())
    assert metrics["confusion"] == counts.tolist() and metrics["protocol"] == "camvid-11"
    frames = read_frames(run / "round-0/evaluation" / FRAMES)
    assert frames is not None and list(frames) == [f"{name}-val" for name in NAMES[:3]]
    assert sum(frames.values()).tolist() == metrics["confusion_19"]
    manifest = json.loads((run / "round-0/evaluation/manifest.json").read_text())
    assert set(manifest["outputs"]) == {"metrics.json", FRAMES}
    assert manifest["counts"] == {
        "images": 3,
        "miou": metrics["miou"],
        "pixel_accuracy": metrics["pixel_accuracy"],
        "teacher": teacher.digest,
    }
    shown = capsys.readouterr().out
    assert f"mIoU{100 * metrics['miou']:>18.1f}" in shown and "pedestrian" in shown


def test_evaluation_again_is_done_at_once(run: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    for workers in (0, 2):
        assert call("evaluate", "--round", 0, "--device", "cpu", "--workers", workers, "--force") == 0
    before = files(run)
    assert call("evaluate", "--round", 0) == 0
    assert "already done" in capsys.readouterr().err
    assert files(run) == before


def test_evaluation_without_held_out_labels_says_so(run: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "run.toml").write_text("\n".join(line for line in RUN.splitlines() if not line.startswith("held_out")))
    assert call("evaluate", "--round", 0) == 2
    assert "no held_out data set" in failed(capsys)


@pytest.mark.parametrize("verb", [["pseudo-label", "--round", "1"], ["evaluate", "--round", "0"]])
def test_verb_works_where_torch_is_not_installed(run: Path, verb: list[str]) -> None:
    code = "import sys; sys.modules['torch'] = None; from jobs.__main__ import main; main()"
    command = [sys.executable, "-c", code, *verb, "--run", str(run), "--device", "cpu"]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert shown.returncode == 0, shown.stderr


def test_labels_show_tells_where_a_label_comes_from(
    run: Path, call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corrupt(run / "data/train/images/street-5-train.png")
    for shard in (0, 1):
        assert label(call, "--shard", shard, "--shards", 2) == 0
    capsys.readouterr()
    name, picture = "street-2-train", tmp_path / "shown.png"
    assert call("labels", "show", name, "--to", picture) == 0
    shown = capsys.readouterr().out
    store = LabelStore(run / "round-1/labels")
    assert store.teacher in shown and "round-1/labels/shard-00000-of-00002" in shown
    assert "teacher of round-0" in shown and "CPUExecutionProvider" in shown
    classes, confidence = store.maps(name)
    assert f"mean {confidence.mean() / 2.55:.1f} %" in shown
    counted = store.read(name, portion=0.5) != 255
    assert f"{counted.mean():.1%} of pixels (rounds.kept_fraction 0.5" in shown
    commonest = int(np.bincount(classes.ravel()).argmax())
    row = next(line for line in shown.splitlines() if line.startswith(f"{CLASSES[commonest]} "))
    assert f"{(classes == commonest).mean():.1%}" in row and f"{counted[classes == commonest].mean():.1%}" in row
    panels = np.split(read_image(picture), 3, axis=1)
    image = read_image(run / f"data/train/images/{name}.png")
    assert np.array_equal(panels[0], image)
    blended = ((1 - 0.55) * image + 0.55 * colourise(classes)).round()
    assert np.array_equal(panels[1], blended)
    assert np.array_equal(panels[2], np.where(counted[..., None], blended, (0.25 * image).round()))

    monkeypatch.chdir(tmp_path)
    assert call("labels", "show", run / f"data/train/images/{name}.png", "--round", 1) == 0
    assert (tmp_path / f"{name}-round-1.png").read_bytes() == picture.read_bytes()
    capsys.readouterr()
    assert call("labels", "show", "street-5-train") == 0
    assert "not a readable image" in capsys.readouterr().out
    assert call("labels", "show", "street-2-trian") == 2
    assert "the nearest name is 'street-2-train'" in failed(capsys)
    assert call("labels", "show", name, "--round", 2) == 3


SLOW = """
import pathlib, sys, time
import export.pipeline as pipeline
from jobs.__main__ import main
write, gate = pipeline.write_atomic, pathlib.Path(sys.argv[1])
def waiting(path, data):
    while not gate.exists():
        time.sleep(0.01)
    write(path, data)
pipeline.write_atomic = waiting
sys.argv = ["selfsyn", *sys.argv[2:]]
main()
"""


def test_two_attempts_of_a_shard_at_once_do_not_harm_each_other(run: Path) -> None:
    arguments = ["pseudo-label", "--run", str(run), "--round", "1", "--device", "cpu"]
    folder = run / "round-1/labels/shard-00000-of-00001"
    with subprocess.Popen([sys.executable, "-c", SLOW, str(run / "gate"), *arguments], stderr=subprocess.PIPE, text=True) as slow:
        wait_for(lambda: list(folder.glob(".tmp-*-index.jsonl")), process=slow)
        (its,) = folder.glob(".tmp-*-index.jsonl")
        quick = selfsyn(*arguments)
        assert quick.returncode == 0, quick.stderr
        assert slow.poll() is None and its.exists()  # the first attempt is still at work, and keeps its file
        before = files(folder)
        (run / "gate").touch()
        told = slow.communicate(timeout=120)[1]
        assert slow.returncode == 0, told
    assert files(folder) == {name: data for name, data in before.items() if ".tmp-" not in name}
    assert [path.name for path in folder.rglob(".tmp-*")] == []
    assert len(LabelStore(run / "round-1/labels").names) == 7


def wait_for(condition: Callable[[], object], *, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
