"""The meaning and the making of the page's numbers, in words from the configuration and the manifests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from selfsyn.config import DataFolder, RunConfig, Source
from selfsyn.flow import stage_before
from selfsyn.metrics import WHOLE
from selfsyn.report.collect import Run, packed
from selfsyn.report.verdict import score_of
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage

NO_REAL_LABEL = "Training used no real label"


@dataclass(frozen=True)
class Making:
    """A row of the list of phases; link is empty and inputs are missing while the phase is unfinished."""

    name: str
    link: str
    wall: str
    device: str
    counts: str
    inputs: tuple[tuple[str, str], ...]
    digest: str


def meaning(run: Run) -> list[tuple[str, str]]:
    """(term, words), the most general first."""
    facts = [("Synthetic", _sources(run.config.synthetic)), ("Real", f"{_sources(run.config.real)}; images only")]
    facts += [("Corrections", words) for words in [corrections(run)] if words]
    if run.config.classes is not None:
        facts.append(("Classes", f"{len(run.config.class_list)}: {', '.join(run.config.class_list.names)}"))
    facts += [("Held out", _held_out(run)), ("Net", _net(run)), ("Training", _training(run)), ("Seed", str(run.config.seed))]
    if run.config.teacher.flip or run.config.teacher.scales != (1.0,):
        facts.append(("Views", _views(run.config)))
    facts.append(("Made with", f"selfsyn {_several(_of_manifests(run, 'version'))} on {_several(_of_manifests(run, 'device'))}"))
    return facts


def honesty(run: Run) -> str:
    """A statement that real labels had no influence on training or selection."""
    used = "Of real labels, training used only the masks that people corrected" if corrections(run) else NO_REAL_LABEL
    words = f"{used}, and no checkpoint, threshold, round or stop was chosen by these scores"
    if score_of(run.scores, ORACLE) is not None:
        words += "; only the oracle, an upper bound, was trained on real labels"
    return words + ". One run with one seed: small differences may be chance."


def corrections(run: Run) -> str | None:
    """How many images and pixels of people's masks each round trained with; None when no round did."""
    told = [
        f"{stage.title}: {counts['corrected_images']:,} images, {counts['corrected_pixels']:,} pixels"
        for stage, counts in _train_counts(run).items()
        if "corrected_images" in counts
    ]
    return f"masks that people checked, which training counts as ground truth; {'; '.join(told)}" if told else None


def budget(run: Run) -> str | None:
    """A warning when the last round has had more updates than the source-only net that it is compared with."""
    counts, rounds = _train_counts(run), [score.stage for score in run.scores if not score.stage.is_bound]
    if not rounds or score_of(run.scores, SOURCE_ONLY) is None:
        return None
    last, source = _total(run, rounds[-1], counts), _total(run, SOURCE_ONLY, counts)
    if last <= source:
        return None
    unfinished = (
        " (whose learning rate was still high, because round 0 continues that training)"
        if run.config.rounds.start_of(0) == "continue"
        else ""
    )
    return (
        f"{rounds[-1].title.capitalize()} has had {last:,} updates, source-only {source:,}{unfinished}. More"
        " updates on the synthetic images alone would have gained an unknown part of the difference; selfsyn compare trains every"
        " method for the same number of updates."
    )


def stand_in(run: Run) -> str | None:
    """A warning when the real images are rendered too."""
    if not run.config.rendered.camera:
        return None
    return (
        "The “real” images of this run are rendered too, by a stand-in camera whose look and mix of objects differ from the"
        " synthetic engine's. The run shows that the method works end to end, not how it scores on photographs."
    )


def making(run: Run) -> list[Making]:
    """Every phase in the order of the flow."""
    return [
        _finished(step.phase.name, step.phase.folder, step.manifest)
        if step.manifest
        else Making(step.phase.name, "", "", "", "not finished", (), "")
        for step in run.steps
    ]


def libraries(run: Run) -> list[tuple[str, str]]:
    """(library, its versions over all finished phases), Python first."""
    versions: dict[str, list[str]] = {"python": _of_manifests(run, "python")}
    for step in run.finished:
        for name, version in (step.manifest or {}).get("libraries", {}).items():
            versions.setdefault(name, []).append(version)
    return [(name, _several(found)) for name, found in versions.items()]


def duration(seconds: float) -> str:
    """75.2 -> '1 min 15 s'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def short(digest: str) -> str:
    """'sha256:0123456789…' -> '01234567'."""
    return digest.removeprefix("sha256:")[:8]


def _views(config: RunConfig) -> str:
    teacher = config.teacher
    sizes = ", ".join(f"{scale:g}" for scale in teacher.scales)
    words = f"each image is seen {'as it is and mirrored' if teacher.flip else 'as it is'}, at {sizes} of its size"
    if teacher.views == "every":
        return words
    return f"{words}, by teachers that label for a next round; the last round's net and the bounds see each image once"


def _finished(name: str, folder: str, manifest: Mapping[str, Any]) -> Making:
    counts = ", ".join(f"{key.replace('_', ' ')} {_scalar(value)}" for key, value in manifest["counts"].items())
    wall, inputs = duration(manifest["wall_seconds"]), tuple(manifest["inputs"].items())
    return Making(name, packed(folder), wall, manifest["device"], counts, inputs, manifest["digest"])


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return short(value) if value.startswith("sha256:") else value
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) else json.dumps(value)


def _sources(sources: tuple[Source, ...]) -> str:
    whole = sum(source.share for source in sources)
    return "; ".join(
        _folder(s) + (f", {s.share / whole:.0%} of the draws" if whole and len(sources) > 1 else "") for s in sources
    )


def _folder(folder: DataFolder) -> str:
    some = f", the frames of {folder.files}" if folder.files else ""
    return f"{folder.root} ({folder.layout} layout, split {folder.split}{some})"


def _held_out(run: Run) -> str:
    if run.config.held_out is None:
        return "none: without labelled real images there are no scores"
    words = f"{_folder(run.config.held_out)}, protocol {run.config.held_out.protocol}"
    if not run.scores:
        return f"{words}; not evaluated yet"
    score = run.scores[0]
    images = _several(str(s.manifest["counts"].get("images", "an unrecorded number of")) for s in run.scores)
    scored = [value for value in score.metrics["class_iou"].values() if value is not None]
    pixels = sum(map(sum, score.metrics.get(WHOLE, score.metrics["confusion"])))  # early runs had one matrix
    variant = ", variant A" if "variants" in score.metrics else ""
    return (
        f"{words}{variant}: {images} images, {pixels:,} labelled pixels; the mean is over {len(scored)} classes with ground truth"
    )


def _net(run: Run) -> str:
    config, (width, height) = run.config, run.config.size
    words = config.task.words
    if config.student is not None:
        words = f"{config.task.exact}; from round {config.last_round} on, as its student, {config.student.exact}"
    return f"{words}, images of {width} × {height} pixels"


def _training(run: Run) -> str:
    # From the manifests, not from run.toml: they record the updates that were made.
    counts = _train_counts(run)
    batches = {of_stage["batch"] for of_stage in counts.values()}
    each = ", ".join(f"{stage} {_updates(run, stage, counts)}" for stage in counts)
    return f"updates of {_several(map(str, sorted(batches)))} images: {each}" if counts else "no training finished yet"


def _train_counts(run: Run) -> dict[Stage, Mapping[str, int]]:
    return {
        stage: manifest["counts"]
        for step in run.finished
        if (manifest := step.manifest) is not None and step.phase.verb == "train" and (stage := step.phase.stage)
    }


def updates_in_all(run: Run) -> dict[Stage, int]:
    """{stage: the updates of its net}, including those of the stages that it continues, of every finished training."""
    counts = _train_counts(run)
    return {stage: _total(run, stage, counts) for stage in counts}


def _updates(run: Run, stage: Stage, counts: Mapping[Stage, Mapping[str, int]]) -> str:
    own, total = counts[stage]["steps"], _total(run, stage, counts)
    return f"{own:,}" if own == total else f"{own:,} more ({total:,} in all)"


def _total(run: Run, stage: Stage, counts: Mapping[Stage, Mapping[str, int]]) -> int:
    """The updates of a stage's net, including those of the stages that it continues."""
    total = 0
    before: Stage | None = stage
    while before is not None and before in counts:
        total += counts[before]["steps"]
        before = stage_before(run.config, stage=before)
    return total


def _of_manifests(run: Run, key: str) -> list[str]:
    return [str((step.manifest or {})[key]) for step in run.finished]


def _several(values: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(values))
