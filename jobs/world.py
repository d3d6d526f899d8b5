"""`selfsyn world`: renders frames of the built-in street world, for a run or into any folder."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.beginning import opened
from jobs.options import FOLDER, dry_run_option, force_option, workers_option
from selfsyn.config import RunConfig
from selfsyn.errors import InputError
from selfsyn.flow import Phase, world_phase
from selfsyn.layout import Layout

# The first index of held-out frames, so that they differ from all training frames.
HELD_OUT_FIRST = 500_000


class Size(click.ParamType[tuple[int, int]]):
    """'240x176' -> (240, 176)."""

    name = "WxH"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """-> (width, height) in pixels, each at least 32."""
        width, cross, height = str(value).partition("x")
        if not (cross and width.isdigit() and height.isdigit() and min(int(width), int(height)) >= 32):
            self.fail(f"{value!r}: expected WIDTHxHEIGHT, both at least 32, for example 240x176", param, ctx)
        return int(width), int(height)


@click.command()
@click.option("--run", "root", type=FOLDER, help="Render the frames that the run's run.toml asks for.")
@click.option(
    "--look",
    type=click.Choice(["engine", "town", "camera"]),
    help="engine and town imitate a game, camera imitates real photos.",
)
@click.option("--count", type=click.IntRange(1), help="Number of frames.")
@click.option("--size", type=Size(), default="240x176", show_default=True, help="Frame size in pixels.")
@click.option("--to", "folder", type=FOLDER, help="The folder to write to.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The seed of the world.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="The index of the first frame.")
@click.option("--split", default="train", show_default=True, help="The split in Cityscapes' layout (for --look camera).")
@workers_option
@force_option
@dry_run_option
def command(
    root: Path | None,
    look: str | None,
    count: int | None,
    size: tuple[int, int],
    folder: Path | None,
    seed: int,
    first: int,
    split: str,
    workers: int | None,
    force: bool,
    dry_run: bool,
) -> None:
    """Render labelled frames of the built-in street world.

    Renders either for a run (--run) or into any folder (--look, --count and --to). The looks engine and town are written
    in GTA5's layout, the look camera in Cityscapes' layout.
    """
    if root is not None:
        _render_for_run(root, workers=workers, force=force, dry_run=dry_run)
        return
    if look is None or count is None or folder is None:
        raise InputError("give either --run DIR, or --look, --count and --to")
    if dry_run:
        click.echo(f"world: would write {count} frames of {size[0]}x{size[1]} with look {look} to {folder}")
        return
    _render(folder, look=look, seed=seed, first=first, count=count, size=size, split=split, workers=workers)


def _render_for_run(root: Path, *, workers: int | None, force: bool, dry_run: bool) -> None:
    job = opened(root, lambda config: _phase_of(config, root), force=force, dry_run=dry_run)
    if job is None:
        return

    from selfsyn.contents import Contents, recorded
    from selfsyn.files import digest_lines
    from selfsyn.phase import finish
    from selfsyn.world import LOOKS

    layout, started = job.layout, job.begin()
    _render_parts(layout, job.config, workers=workers)
    parts = {name: sorted((layout.world / name).rglob("[!.]*.png")) for name in LOOKS}
    contents = Contents(layout.inputs)
    outputs = {name: recorded(paths, root=layout.world, contents=contents) for name, paths in parts.items()}
    finish(started, outputs={**outputs, "all": digest_lines(outputs.values())}, counts=vars(job.config.rendered))


def _phase_of(config: RunConfig, root: Path) -> Phase:
    for phase in world_phase(config):
        return phase
    raise InputError(
        f"{Layout(root).configuration}: no data set is rendered; for example, set synthetic.root=world/engine, world.engine=240"
    )


def _render_parts(layout: Layout, config: RunConfig, *, workers: int | None) -> None:
    world = config.rendered
    for look, first, count, split in (
        ("engine", 0, world.engine, "train"),
        ("town", 0, world.town, "train"),
        ("camera", 0, world.camera, "train"),
        ("camera", HELD_OUT_FIRST, world.held_out, "val"),
    ):
        if count:
            folder = layout.world / look
            _render(folder, look=look, seed=config.seed, first=first, count=count, size=config.size, split=split, workers=workers)


def _render(
    folder: Path, *, look: str, seed: int, first: int, count: int, size: tuple[int, int], split: str, workers: int | None
) -> None:
    from selfsyn.cores import usable_cores
    from selfsyn.progress import counter
    from selfsyn.world.write import write_world

    with counter(total=count, label=f"render {look} {split}") as done:
        write_world(
            folder,
            look=look,
            seed=seed,
            first=first,
            count=count,
            size=size,
            split=split,
            workers=usable_cores() if workers is None else max(1, workers),
            on_frame=lambda _: done(),
        )
