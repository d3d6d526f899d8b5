"""What a user meets: help, the README's words, and one line for each mistake, with nothing written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tiny_run import make, selfsyn, selfsyn_here

from jobs.__main__ import VERBS, cli
from selfsyn import config as configuration

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    done = CliRunner().invoke(cli, [verb, "--help"])
    assert done.exit_code == 0, done.output
    assert {"serve": "--model"}.get(verb, "--run") in done.output
    text = done.output.split("Options:")[0]
    assert len(text.split()) > 8


def test_help_imports_no_library_of_the_work() -> None:
    heavy = ("torch", "torchvision", "timm", "onnx", "onnxruntime", "matplotlib", "numpy", "cv2", "PIL", "yaml", "lightkube")
    called = "import sys; from jobs.__main__ import cli; cli(['--help'], standalone_mode=False)"
    code = f"{called}; print(set({heavy}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_the_readme_names_every_verb_and_only_targets_that_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [verb for verb in VERBS if f"selfsyn {verb}" not in readme] == []
    targets = set(re.findall(r"(?:^|`)make ([a-z]+)", readme, re.M))
    makefile = (ROOT / "Makefile").read_text()
    assert {"demo", "test", "check"} <= targets
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.M)] == []


def files_of(folder: Path) -> list[str]:
    names = (path.relative_to(folder) for path in folder.rglob("*"))
    return sorted(str(name) for name in names if name.parts[0] != "inputs")


def refused(run: Path, *arguments: object, code: int = 2) -> str:
    """The one line that a refused verb says; the run folder is as before, but for what it remembers of the data."""
    before = files_of(run)
    ended, said = selfsyn_here(*arguments)
    assert ended == code, (ended, said)
    assert len(said.strip().splitlines()) == 1, said
    assert files_of(run) == before
    return said


def picture(path: Path, value: int = 9, size: tuple[int, int] = (64, 48)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(value).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def users_run(tmp_path: Path, *settings: str) -> Path:
    """A run on data that a user brought: GTA5's and Cityscapes' layouts."""
    for number in (1, 2, 3):
        picture(tmp_path / f"gta/images/{number:05d}.png", number)
        label = Image.fromarray(np.full((48, 64), 7, dtype=np.uint8))
        (tmp_path / "gta/labels").mkdir(exist_ok=True)
        label.save(tmp_path / f"gta/labels/{number:05d}.png")
        picture(tmp_path / f"city/leftImg8bit/train/ulm/ulm_{number}_leftImg8bit.png", 10 + number)
        picture(tmp_path / f"city/leftImg8bit/val/ulm/ulm_v{number}_leftImg8bit.png", 20 + number)
        (tmp_path / "city/gtFine/val/ulm").mkdir(parents=True, exist_ok=True)
        label.save(tmp_path / f"city/gtFine/val/ulm/ulm_v{number}_gtFine_labelIds.png")
    roots = [f"synthetic.root={tmp_path}/gta", f"real.root={tmp_path}/city", f"held_out.root={tmp_path}/city"]
    return make(tmp_path / "run", *roots, *settings)


def test_a_mistake_is_one_line_and_exit_code_2_of_the_real_program(tmp_path: Path) -> None:
    done = selfsyn("adapt", "--run", tmp_path)
    assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (2, 1, ""), done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("trian", "selfsyn: no such command 'trian'; did you mean train?; see `selfsyn --help`"),
        ("xyzzy", "selfsyn: no such command 'xyzzy'; expected one of init, doctor,"),
        ("train", "selfsyn train: Missing option '--run'; see `selfsyn train --help`"),
        ("train --run x --round a", "selfsyn train: Invalid value for '--round': 'a' is not a valid integer range; see"),
        ("train --rund x", "selfsyn train: No such option '--rund'."),
        ("labels exprot", "selfsyn labels: No such command 'exprot'"),
        ("init demo --run x --set real.layout=camvit", "selfsyn: run.toml: real: layout 'camvit' is not known; expected"),
        ("doctor --run=", "selfsyn doctor: Invalid value for '--run': is empty; expected a path; see"),
        ("init demo --run /dev/null/x", "selfsyn: /dev/null/x/run.toml: cannot be written (Not a directory); give another path"),
        ("serve --model x --timeout nan", "selfsyn serve: Invalid value for '--timeout': nan is not a number; see"),
    ],
)
def test_a_typing_mistake_is_one_line(arguments: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, found = selfsyn_here(*arguments.split())
    assert code == 2 and len(found.splitlines()) == 1, found
    assert found.startswith(said)
    assert not list(tmp_path.iterdir())


def test_no_command_shows_the_help() -> None:
    code, said = selfsyn_here()
    assert code == 2 and "Usage: selfsyn" in said and "pseudo-label" in said


def test_a_folder_without_images(tmp_path: Path) -> None:
    run = users_run(tmp_path, f"real.root={tmp_path}/empty")
    assert "no image of layout cityscapes" in refused(run, "round", "--run", run, "--rounds", 1)


def test_labels_that_do_not_match(tmp_path: Path) -> None:
    run = users_run(tmp_path)
    (tmp_path / "gta/labels/00002.png").unlink()
    for verb in (["round", "--rounds", "1"], ["train", "--bound", "source-only"]):
        assert "1 of 3 images have no label" in refused(run, verb[0], "--run", run, *verb[1:])


def test_a_truncated_png(tmp_path: Path) -> None:
    run = users_run(tmp_path)
    victim = tmp_path / "gta/images/00002.png"
    victim.write_bytes(victim.read_bytes()[:-30])
    assert "00002.png: truncated" in refused(run, "train", "--run", run, "--bound", "source-only")


def test_a_missing_weights_file(tmp_path: Path) -> None:
    run = users_run(tmp_path, f"task.weights={tmp_path}/none.safetensors")
    assert "none.safetensors: no such file" in refused(run, "train", "--run", run, "--bound", "source-only")
    assert "none.safetensors: no such file" in refused(run, "round", "--run", run, "--rounds", 1)


def test_an_unknown_key_in_run_toml(tmp_path: Path) -> None:
    run = users_run(tmp_path)
    path = run / "run.toml"
    path.write_text(path.read_text().replace("decoder_channels", "decoder_chanels"))
    assert "unknown key task.decoder_chanels; did you mean task.decoder_channels?" in refused(run, "adapt", "--run", run)


def test_held_out_images_that_are_trained_on(tmp_path: Path) -> None:
    run = users_run(tmp_path, "real.split=val")
    assert "in real and in held_out" in refused(run, "round", "--run", run, "--rounds", 1)


def test_a_phase_before_its_time_names_what_to_run(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    for verb, missing in ((["train", "--round", 0], "world"), (["pseudo-label", "--round", 1], "world"), (["adapt"], "world")):
        assert f"{missing}: not finished" in refused(run, verb[0], "--run", run, *verb[1:], code=3)


def test_a_run_folder_without_configuration(tmp_path: Path) -> None:
    assert "run.toml: not found; make it with `selfsyn init" in refused(tmp_path, "adapt", "--run", tmp_path)


ON_A_DEVICE = {
    "train": ["--bound", "source-only"],
    "fit-adapter": [],
    "adapt": [],
    "pseudo-label": ["--round", "1"],
    "evaluate": ["--round", "0"],
    "probe-gap": [],
}


@pytest.mark.parametrize("verb", ON_A_DEVICE)
def test_cuda_that_is_not_there_is_said_before_all_else_that_is_missing(
    tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("export.teacher.why_no_cuda", lambda: "no driver")
    run = make(tmp_path / "run")  # nothing is finished: without --device cuda each of them ends with 3
    said = refused(run, verb, "--run", run, *ON_A_DEVICE[verb], "--device", "cuda")
    assert said.startswith("selfsyn: --device cuda: ") and "use --device cpu" in said
    refused(run, verb, "--run", run, *ON_A_DEVICE[verb], "--device", "cpu", code=3)


def test_every_verb_with_a_device_is_tried_without_one() -> None:
    with_device = [verb for verb in VERBS if "--device" in CliRunner().invoke(cli, [verb, "--help"]).output]
    whole_runs = ["serve", "round", "demo", "compare"]  # serve: tests/test_service.py; the others run these verbs
    assert sorted(with_device) == sorted([*ON_A_DEVICE, *whole_runs])


def test_init_from_a_file_names_the_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("seed = 0\n[train]\nstpes = 3\n")
    code, said = selfsyn_here("init", mine, "--run", tmp_path / "run")
    assert (code, said) == (2, f"selfsyn: {mine}: unknown key train.stpes; did you mean train.steps?\n")


def test_only_the_looks_that_the_run_reads_are_rendered(tmp_path: Path) -> None:
    own = ["synthetic.root=/data/gta5", "real.root=/data/city", "held_out.root=/data/city"]

    def rendered(*settings: str) -> list[str]:
        run = make(tmp_path / f"{len(list(tmp_path.iterdir()))}", *settings)
        counts = vars(configuration.load(run / "run.toml").rendered)
        done = CliRunner().invoke(cli, ["world", "--run", str(run), "--dry-run"])
        assert (done.exit_code == 0) == any(counts.values()), done
        return [look for look, count in counts.items() if count]

    assert rendered() == ["engine", "camera", "held_out"]
    assert rendered(own[0]) == ["camera", "held_out"]
    assert rendered(own[2]) == ["engine", "camera"]
    assert rendered(*own) == []


def test_own_data_beside_rendered_data_are_checked_first(tmp_path: Path) -> None:
    run = make(tmp_path / "run", f"real.root={tmp_path}/nothing")
    assert f"{tmp_path}/nothing: no image of layout" in refused(run, "round", "--run", run, "--rounds", 0)
    assert not (run / "world").exists()


def test_init_keeps_an_existing_run(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    assert "there already, and differs" in refused(run, "init", "demo", "--run", run, "--set", "seed=5")


def test_dry_runs_write_nothing(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    before = files_of(run)
    for verb in (["world"], ["train", "--round", 0], ["fit-adapter"], ["adapt"], ["round", "--rounds", 1]):
        code, said = selfsyn_here(verb[0], "--run", run, *verb[1:], "--dry-run")
        assert code == 0, said
    assert files_of(run) == before


@pytest.fixture
def small_disk(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A file system of 200 KiB; needs the right to mount."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no right to mount a tmpfs here: the full disk is not tried")
    yield folder
    subprocess.run(["umount", "-l", folder], check=False)


def test_a_full_disk_stops_the_phase_and_room_lets_it_go_on(small_disk: Path) -> None:
    run = make(small_disk / "run", "size=[192, 128]")
    full = selfsyn("world", "--run", run, "--workers", 1)
    assert full.returncode not in (0, 2, 3), full.stderr
    assert "disk is full" in full.stderr.strip().splitlines()[-1]
    assert "Traceback" not in full.stderr
    assert not (run / "world/manifest.json").exists()
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    done = selfsyn("world", "--run", run, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert len(list((run / "world").rglob("[!.]*.png"))) == 2 * (6 + 5 + 3)


def finished(run: Path, text: str) -> Path:
    """A source-only training whose manifest holds `text`."""
    path = run / "source-only" / "task" / "manifest.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not a JSON object"), ("[]", "it has no 'inputs'"), ("{}", "it has no 'inputs'")]
)
def test_a_broken_manifest(tmp_path: Path, text: str, message: str) -> None:
    run = users_run(tmp_path)
    path = finished(run, text)
    said = refused(run, "train", "--run", run, "--bound", "source-only")
    assert message in said and str(path) in said


def test_a_finished_phase_whose_data_are_gone(tmp_path: Path) -> None:
    run = users_run(tmp_path, f"synthetic.root={tmp_path}/gone")
    finished(run, json.dumps({"inputs": {"synthetic": "sha256:0"}}))
    done = selfsyn("train", "--run", run, "--bound", "source-only")
    assert done.returncode == 0, done.stderr
    assert "its inputs are not compared" in done.stderr and "already done" in done.stderr


def test_a_run_folder_with_too_long_a_name(tmp_path: Path) -> None:
    done = selfsyn("init", "demo", "--run", tmp_path / (300 * "a"))
    assert done.returncode == 2 and "File name too long" in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_home_of_nobody(tmp_path: Path) -> None:
    run = users_run(tmp_path, "synthetic.root=~no-such-user/x")
    assert "~no-such-user/x: no image of layout" in refused(run, "round", "--run", run, "--dry-run")
