"""A container image without torch says which image has it, and no remedy tells a container to install a package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import make

from selfsyn.verbs import VERBS

ROOT = Path(__file__).parent.parent


def in_image(image: str, *arguments: object, without: tuple[str, ...] = ("torch",)) -> subprocess.CompletedProcess[str]:
    """Run a verb where some packages cannot be imported, with the variable that the image sets."""
    block = "; ".join(f"sys.modules[{name!r}] = None" for name in without)
    code = f"import sys; {block}; from jobs.__main__ import main; main()"
    environment = {**os.environ, "SELFSYN_IMAGE": image, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("run"), "task.weights=scratch")


@pytest.mark.parametrize(
    ("arguments", "without", "message"),
    [
        (["train", "--bound", "source-only", "--run"], "torch", "run it in the image selfsyn-train"),
        (["fit-adapter", "--run"], "torch", "run it in the image selfsyn-train"),
        (["round", "--run"], "torch", "run it in the image selfsyn-train"),
        (["world", "--run"], "numpy", "run it in the image selfsyn-teacher"),
        (["coordinate", "--round", "1", "--goal", "x", "--run"], "lightkube", "run it in the image selfsyn-coordinator"),
        (["k8s", "status", "--run"], "lightkube", "run it outside of our images"),
        (["k8s", "render", "--run"], "yaml", "run it outside of our images"),
    ],
)
def test_the_image_that_has_the_package_is_named(root: Path, arguments: list[str], without: str, message: str) -> None:
    run = "demo" if arguments[0] in ("coordinate", "k8s") else root
    done = in_image("selfsyn-other", *arguments, run, without=(without,))
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"needs the package {without}, which the image selfsyn-other does not have; {message}" in line
    assert not (root / "world").exists()  # `round` has not begun


def test_outside_of_an_image_the_remedy_is_to_install(root: Path) -> None:
    done = in_image("", "train", "--bound", "source-only", "--run", root)
    assert done.returncode == 2 and "`selfsyn train` needs the package torch" in done.stderr and "pip install" in done.stderr


def test_a_missing_gpu_in_an_image(root: Path) -> None:
    code = "from export import teacher, tensorrt; print(teacher.REMEDY); print(tensorrt.REMEDY)"
    environment = {**os.environ, "SELFSYN_IMAGE": "selfsyn-teacher"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    cuda, tensorrt = done.stdout.splitlines()
    assert cuda.startswith("give the container a GPU") and "install" not in cuda
    assert tensorrt.startswith("our images have no TensorRT: use --device cuda")


def test_the_images_say_which_they_are() -> None:
    text = (ROOT / "docker/Dockerfile").read_text()
    images = re.findall(r"^FROM image AS (\w+)\nENV SELFSYN_IMAGE=selfsyn-(\w+)$", text, re.M)
    assert images == [(name, name) for name in ("coordinator", "teacher", "train")]
    assert {verb.image for verb in VERBS.values()} == {"", "coordinator", "teacher", "train"}
