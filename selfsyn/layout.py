"""Every path of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selfsyn.files import expanded
from selfsyn.stage import Stage, parse, round_stage
from selfsyn.verbs import VERBS


def shard_name(shard: int, shards: int) -> str:
    """(0, 8) -> 'shard-00000-of-00008'."""
    return f"shard-{shard:05d}-of-{shards:05d}"


@dataclass(frozen=True)
class Layout:
    """The paths below a run folder."""

    root: Path

    @property
    def configuration(self) -> Path:
        """The configuration, which the user may edit until the first phase begins."""
        return self.root / "run.toml"

    @property
    def sealed(self) -> Path:
        """The configuration when the first phase began; later phases refuse a different configuration."""
        return self.root / "sealed.toml"

    @property
    def inputs(self) -> Path:
        """What the data sets contain, of every phase that read them (selfsyn.contents)."""
        return self.root / "inputs"

    @property
    def world(self) -> Path:
        """Rendered frames: engine/ (GTA5's layout) and camera/ (Cityscapes' layout)."""
        return self._of("world")

    @property
    def adapter(self) -> Path:
        """checkpoint.pt, weights.safetensors, samples.png, history.jsonl, unreadable.json, manifest.json."""
        return self._of("fit-adapter")

    @property
    def adapted(self) -> Path:
        """images/NAME.png, labels/NAME.png (train ids), manifest.json."""
        return self._of("adapt")

    @property
    def report(self) -> Path:
        """index.html, manifest.json."""
        return self._of("report")

    @property
    def graphs(self) -> Path:
        """DIGEST.graph: a traced net without weights, reused by later exports of the same architecture (export.traced)."""
        return self.root / "graphs"

    def task(self, stage: Stage) -> Path:
        """checkpoint.pt, weights.safetensors, history.jsonl, sample.png, manifest.json; class counts with rare-class sampling."""
        return self._of("train", stage)

    def teacher(self, stage: Stage) -> Path:
        """segmenter/config.pbtxt, segmenter/1/model.onnx, segmenter/1/model.fp16.onnx, parity.json, manifest.json."""
        return self._of("export-teacher", stage)

    def evaluation(self, stage: Stage) -> Path:
        """metrics.json, frames.json (counts by frame), pictures/NAME.png (predicted train ids of some images), manifest.json."""
        return self._of("evaluate", stage)

    def labels(self, round_: int) -> Path:
        """The label store of a round. For each shard: index.jsonl, histogram.npz, and the maps.

        The maps are labels/NAME.png and confidence/NAME.png, or maps.tar with both and maps.npy with their places.
        """
        return self._of("pseudo-label", round_stage(round_))

    def corrections(self, round_: int) -> Path:
        """Corrections for a round and later ones: index.json, masks/NAME-DIGEST.png (train ids); see selfsyn.corrections."""
        return self.root / round_stage(round_).name / "corrections"

    def review(self, round_: int) -> Path:
        """review.csv, spread.txt, index.html: see `selfsyn labels review`."""
        return self.root / round_stage(round_).name / "review"

    def last_round(self, *patterns: str) -> int | None:
        """The highest round whose folder has a file or folder that matches one of the glob `patterns`; None without any."""
        found = (path.relative_to(self.root) for pattern in patterns for path in self.root.glob(f"round-*/{pattern}"))
        rounds = [stage.round for path in found if (stage := parse(path.parts[0]))]
        return max((round_ for round_ in rounds if round_ is not None), default=None)

    def resolve(self, root: str) -> Path:
        """The absolute path of a path in the configuration, which may begin with ~ or be relative to the run folder."""
        path = expanded(root)
        return path if path.is_absolute() else (self.root / path).resolve()

    def _of(self, verb: str, stage: Stage | None = None) -> Path:
        return self.root / (stage.name if stage else "") / VERBS[verb].writes
