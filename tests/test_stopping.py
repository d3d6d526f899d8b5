"""What the whole program owes to whoever runs it in a container: it can be stopped at any moment, and shares its files."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_run import make, selfsyn

# What becomes of a verb before it does anything of its own: it says that it is there, and waits.
ANY_VERB = """
import sys, time, click
import jobs.__main__ as program
@click.command()
def waiting():
    print("here", flush=True)
    time.sleep(600)
program.cli.get_command = lambda ctx, name: waiting
sys.argv = ["selfsyn", "report"]
program.main()
"""


def test_sigterm_ends_any_verb_with_143_also_as_the_first_process_of_a_container() -> None:
    in_container = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*in_container, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to make a process namespace here")
    shell = [*in_container, sys.executable, "-c", ANY_VERB]
    with subprocess.Popen(shell, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "here\n"
        child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
        began = time.monotonic()
        subprocess.run(["kill", "-TERM", child], check=True)
        assert process.wait(60) == 143
        assert time.monotonic() - began < 60


def test_files_may_be_shared_with_the_group(tmp_path: Path) -> None:
    done = selfsyn("init", "demo", "--run", tmp_path / "run", SELFSYN_UMASK="0002")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run").stat().st_mode & 0o070 == 0o070
    assert (tmp_path / "run/run.toml").stat().st_mode & 0o060 == 0o060


def test_init_takes_a_file_and_refuses_another_configuration(tmp_path: Path) -> None:
    first = make(tmp_path / "first")
    taken = selfsyn("init", first / "run.toml", "--run", tmp_path / "second")
    assert taken.returncode == 0, taken.stderr
    assert (tmp_path / "second/run.toml").read_text() == (first / "run.toml").read_text()
    again = selfsyn("init", first / "run.toml", "--run", tmp_path / "second")
    assert again.returncode == 0, again.stderr
    other = selfsyn("init", first / "run.toml", "--run", tmp_path / "second", "--set", "seed=5")
    assert other.returncode == 2 and "seed: 0 -> 5" in other.stderr


def test_init_from_a_file_that_is_none(tmp_path: Path) -> None:
    for text, message in ((None, "not found; give a recipe's name"), ("seed = = 1", "not valid TOML")):
        path = tmp_path / "run.toml"
        if text is not None:
            path.write_text(text)
        done = selfsyn("init", path, "--run", tmp_path / "run")
        assert done.returncode == 2 and message in done.stderr and str(path) in done.stderr
    assert not (tmp_path / "run").exists()
