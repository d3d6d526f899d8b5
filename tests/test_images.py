"""The images' description, as far as it can be checked without building them. `docker/test.sh` builds and runs them."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import yaml
from serving import put, server
from tiny_run import make
from tiny_teacher import tiny_onnx

from jobs.__main__ import cli
from jobs.cluster.pods import NOBODY
from selfsyn.files import digest_bytes
from selfsyn.pseudo_labels import encode_histogram
from selfsyn.verbs import VERBS

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9.-]", requirement)[0].lower() for requirement in requirements}


def test_the_images_carry_what_the_project_declares() -> None:
    project = PROJECT["project"]
    declared = (
        names(project["dependencies"])
        | names(project["optional-dependencies"]["serve"])
        | names(project["optional-dependencies"]["k8s"])
    )
    later = {"prometheus-client", "python-multipart"}  # of `selfsyn serve`
    for group, requirements in PROJECT["dependency-groups"].items():
        foreign = names(requirements) - declared - later
        assert all(name.startswith("nvidia-") for name in foreign), (group, foreign)  # parts of onnxruntime's extra `cuda`
    assert not names(PROJECT["dependency-groups"]["teacher"]) & {"torch", "torchvision", "timm", "onnxscript"}
    assert names(PROJECT["dependency-groups"]["coordinator"]) <= {"lightkube", "httpx2", "msgspec", "click", "tqdm"}


# Importing anything of the sort is refused, as in an image that has not got it.
WITHOUT = """
import importlib, sys
for name in {missing}:
    sys.modules[name] = None
import jobs.__main__
for verb in {verbs}:
    importlib.import_module("jobs." + verb.replace("-", "_")).command
for module in {modules}:
    importlib.import_module(module)
"""


@pytest.mark.parametrize(
    ("missing", "verbs", "modules"),
    [
        (
            ["torch", "torchvision", "timm", "numpy", "PIL", "cv2", "onnxruntime", "jinja2", "starlette"],
            ["coordinate"],
            ["jobs.cluster.coordinator"],
        ),
        (
            ["torch", "torchvision", "timm", "safetensors", "onnx", "onnxscript", "lightkube"],
            [verb for verb in VERBS if verb in ("init", "world", "pseudo-label", "evaluate", "report", "publish", "serve")],
            ["export.teacher", "export.pipeline", "selfsyn.world.write", "selfsyn.report.page", "selfsyn.report.collect"],
        ),
    ],
)
def test_an_image_needs_no_more_than_it_has(missing: list[str], verbs: list[str], modules: list[str]) -> None:
    program = WITHOUT.format(missing=missing, verbs=verbs, modules=modules)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_without_the_extra_it_says_what_to_install() -> None:
    finder = (
        "import importlib.util as u; real = u.find_spec; u.find_spec = lambda n, p=None: None if n == 'lightkube' else real(n, p)"
    )
    program = f"{finder}; import sys; sys.argv = ['selfsyn', 'k8s', 'render']; import jobs.__main__; jobs.__main__.main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (2, "") and "pip install 'selfsyn[k8s]'" in done.stderr


def test_the_user_is_the_manifests() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.M) == [f"{NOBODY}:0"] * 3
    assert f"useradd --uid {NOBODY} --gid 0" in DOCKERFILE


def test_programs_are_started_without_a_shell() -> None:
    assert re.findall(r"^ENTRYPOINT (.+)$", DOCKERFILE, re.M) == ['["selfsyn"]']
    assert set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.M)) >= {"train", "teacher", "coordinator"}


def test_every_cache_lies_under_the_one_writable_path() -> None:
    (block,) = re.findall(r"^ENV PATH(?:.*\\\n)+.*", DOCKERFILE, re.M)
    values = dict(re.findall(r"(\w+)=(\S+)", block))
    for name in (
        "HOME",
        "TMPDIR",
        "XDG_CACHE_HOME",
        "TORCH_HOME",
        "MPLCONFIGDIR",
        "TRITON_CACHE_DIR",
        "TORCHINDUCTOR_CACHE_DIR",
        "CUDA_CACHE_PATH",
    ):
        assert values[name] == "/tmp" or values[name].startswith("/tmp/"), name
    assert values["USER"] == "selfsyn" and values["SELFSYN_UMASK"] == "0002"


def test_the_compose_file_runs_commands_that_exist_in_images_that_have_them() -> None:
    gpu = yaml.safe_load((ROOT / "docker/compose.gpu.yaml").read_text())
    for file in (COMPOSE, gpu):
        for name, service in file["services"].items():
            verb, *arguments = service["command"]
            image = COMPOSE["services"][name]["image"].split(":")[0]
            assert VERBS[verb].needs_torch == (image == "selfsyn-train"), name
            command = cli.get_command(click.Context(cli), verb)
            assert command is not None, verb
            command.make_context(verb, list(arguments))
    for service in COMPOSE["services"].values():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"]


def test_the_container_test_runs_every_phase_in_an_image_that_has_it(tmp_path: Path) -> None:
    (program,) = re.findall(r"<<'P'\n(.+?)\nP\n", (ROOT / "docker/test.sh").read_text(), re.S)
    configuration = make(tmp_path / "run") / "run.toml"
    done = subprocess.run(
        [sys.executable, "-", configuration], input=program, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    for image, verb, *arguments in lines:
        assert image == VERBS[verb].image
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        command.make_context(verb, arguments)
    assert {verb for _, verb, *_ in lines} >= {"world", "train", "adapt", "pseudo-label", "report"}


def health(process: int, *, port: int) -> int:
    """The exit code of the image's HEALTHCHECK, in whose place process 1 and port 8000 are others."""
    (command,) = re.findall(r"^HEALTHCHECK .*\\\n  CMD (.+)$", DOCKERFILE, re.M)
    python, dash_c, code = json.loads(command)
    assert (python, dash_c) == ("python", "-c") and "/proc/1/" in code and ":8000/" in code
    code = code.replace("/proc/1/", f"/proc/{process}/").replace(":8000/", f":{port}/")
    return subprocess.run([sys.executable, dash_c, code], capture_output=True, check=False).returncode


def test_the_health_check_asks_a_service_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path, tiny_onnx(), version=1)
    with socket.create_server(("127.0.0.1", 0)) as nobody, server(tmp_path) as running:
        assert health(running.process.pid, port=running.port) == 0
        silent = nobody.getsockname()[1]
        nobody.close()
        assert health(running.process.pid, port=silent) == 1  # it does not listen yet, or no longer
        assert health(os.getpid(), port=silent) == 0  # a container that labels has no health to speak of


def test_a_label_store_has_the_same_bytes_under_the_images_python_as_under_ours() -> None:
    counts = np.arange(19 * 256).reshape(19, 256)
    data = encode_histogram(counts)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert [(one.filename, one.extract_version, one.extra) for one in archive.infolist()] == [("counts.npy", 20, b"")]
    assert digest_bytes(data) == "sha256:f7448b3ccb8ddf66d7b388037456fd955dea0418d3cc477ca2e9d66e64b4288a"
    assert (np.load(io.BytesIO(data))["counts"] == counts).all()


def test_the_version_is_everywhere_the_same() -> None:
    version = PROJECT["project"]["version"]
    for path in [*(ROOT / "k8s").rglob("*.yaml"), *(ROOT / "docker").glob("*.yaml")]:
        tags = set(re.findall(r"selfsyn-(?:train|teacher|coordinator):(\S+)", path.read_text()))
        assert tags <= {version}, path
    assert set(re.findall(r"ARG VERSION=(.+)", DOCKERFILE)) == {version}
