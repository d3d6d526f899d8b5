"""The options that verbs share: where, on what, and again or not."""

from __future__ import annotations

from pathlib import Path

import click

from selfsyn.errors import InputError
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage, round_stage

run_option = click.option(
    "--run", "root", type=click.Path(path_type=Path, file_okay=False), required=True, help="The run folder, with its run.toml."
)
run_name_option = click.option(
    "--run", "run_name", default="demo", show_default=True, help="The run's name on the cluster, and its folder in /data/runs."
)
shard_option = click.option(
    "--shard", type=click.IntRange(0), default=0, envvar="JOB_COMPLETION_INDEX", show_envvar=True, help="Which shard: 0, 1, ..."
)
shards_option = click.option(
    "--shards", type=click.IntRange(1), default=1, envvar="SELFSYN_SHARDS", show_envvar=True, help="How many shards there are."
)
round_option = click.option("--round", "round_", type=click.IntRange(0), help="The round: 0, 1, 2, ...")
bound_option = click.option(
    "--bound",
    type=click.Choice([SOURCE_ONLY.name, ORACLE.name]),
    help="A bound instead of a round: without adaptation, or on real labels.",
)
DEVICES = ("auto", "cpu", "cuda")
device_option = click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="Where to compute.")
teacher_device_option = click.option(
    "--device",
    type=click.Choice([*DEVICES, "tensorrt"]),
    default="auto",
    show_default=True,
    help="Where to compute; tensorrt builds an engine first, for minutes, and is never chosen by auto.",
)
workers_option = click.option(
    "--workers", type=click.IntRange(0), default=None, help="Processes or threads beside the main one; default: the cores."
)
processes_option = click.option(
    "--processes",
    "count",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="To train with: one for each GPU; on CPUs each normalises its part of a batch by itself.",
)
force_option = click.option("--force", is_flag=True, help="Start this phase over, even when it is finished.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
bounds_option = click.option(
    "--with-bounds", is_flag=True, help="Also train on the real labels: the upper bound, no result of the method."
)
set_option = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change one value of the recipe, for example train.steps=300."
)


def stage_of(round_: int | None, bound: str | None) -> Stage:
    """The stage that --round or --bound names. InputError unless exactly one is given."""
    if (round_ is None) == (bound is None):
        raise InputError("give either --round N or --bound source-only|oracle")
    return Stage(bound) if bound is not None else round_stage(round_ or 0)


def check_shard(shard: int, *, shards: int) -> None:
    """InputError unless `shard` is one of 0 to shards - 1."""
    if shard >= shards:
        raise InputError(f"--shard {shard} of --shards {shards}; expected 0 to {shards - 1}")
