"""The command-line options that several verbs share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from selfsyn.errors import InputError
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage, round_stage


class NamedPath(click.Path):
    """A path that is not empty: `--run "$RUN"` without RUN must not write into the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. BadParameter for an empty one, for a file where a folder is expected, and the other way round."""
        if value == "":
            self.fail("is empty; expected a path", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A float in a range. NaN, which is in every range of click, is not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. BadParameter for NaN, and outside of the range."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number", param, ctx)
        return number


FOLDER = NamedPath(path_type=Path, file_okay=False)
FILE = NamedPath(path_type=Path, dir_okay=False)
run_option = click.option("--run", "root", type=FOLDER, required=True, help="The run folder with run.toml.")
run_name_option = click.option(
    "--run", "run_name", default="demo", show_default=True, help="The run's name on the cluster, and its folder in /data/runs."
)
shard_option = click.option(
    "--shard",
    type=click.IntRange(0),
    default=0,
    envvar="JOB_COMPLETION_INDEX",
    show_envvar=True,
    help="The shard to compute: 0, 1, ...",
)
shards_option = click.option(
    "--shards", type=click.IntRange(1), default=1, envvar="SELFSYN_SHARDS", show_envvar=True, help="The number of shards."
)
pack_option = click.option(
    "--pack", is_flag=True, help="Write a shard's labels and confidences into one file, maps.tar, in place of two files an image."
)
round_option = click.option("--round", "round_", type=click.IntRange(0), help="The round: 0, 1, 2, ...")
bound_option = click.option(
    "--bound",
    type=click.Choice([SOURCE_ONLY.name, ORACLE.name]),
    help="A bound instead of a round: source-only has no adaptation, oracle trains on real labels.",
)
DEVICES = ("auto", "cpu", "cuda")
device_option = click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="Where to compute.")
teacher_device_option = click.option(
    "--device",
    type=click.Choice([*DEVICES, "tensorrt"]),
    default="auto",
    show_default=True,
    help="Where to compute. tensorrt first builds an engine for minutes; auto never chooses it.",
)
workers_option = click.option(
    "--workers", type=click.IntRange(0), default=None, help="Extra processes or threads. Default: the number of cores."
)
processes_option = click.option(
    "--processes",
    "count",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Training processes, one for each GPU. On CPUs batch norm is not shared between them.",
)
force_option = click.option("--force", is_flag=True, help="Start the phase over, even if it is finished.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
bounds_option = click.option(
    "--with-bounds",
    is_flag=True,
    help="Also train the oracle on the real labels, as an upper bound. It is no result of the method.",
)
set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value of the recipe, for example train.steps=300. May be repeated.",
)


def stage_of(round_: int | None, bound: str | None) -> Stage:
    """The stage that --round or --bound names. InputError unless exactly one of them is given."""
    if (round_ is None) == (bound is None):
        raise InputError("give either --round N or --bound source-only|oracle")
    return Stage(bound) if bound is not None else round_stage(round_ or 0)


def check_shard(shard: int, *, shards: int) -> None:
    """InputError unless 0 <= shard < shards."""
    if shard >= shards:
        raise InputError(f"--shard {shard} of --shards {shards}; expected 0 to {shards - 1}")
