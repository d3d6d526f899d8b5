"""UrbanSyn, 7,539 frames: rgb/rgb_NNNN.png and ss/ss_NNNN.png with Cityscapes' train ids; ids above 18 are void.

Not checked against files of the data set: the names of folders and files, and the id of void, are those of its publication page
and of its users' readers; 19 and 255 are both taken for void.
"""

from __future__ import annotations

from pathlib import Path

from selfsyn.classes import CITYSCAPES_19
from selfsyn.data.dataset import DataSet, named
from selfsyn.labels import IGNORE

# Train ids on disk, and void behind them.
NAMES = dict(enumerate((*CITYSCAPES_19.names, "void"))) | {IGNORE: "void"}


def _numbered(folder: Path, *, prefix: str) -> dict[str, Path]:
    paths = (path for path in folder.glob("*.[pP][nN][gG]") if path.stem.startswith(prefix))
    return named((path.stem.removeprefix(prefix), path) for path in paths)


URBANSYN = DataSet(
    find_images=lambda root, split: _numbered(root / "rgb", prefix="rgb_"),
    find_labels=lambda root, split: _numbered(root / "ss", prefix="ss_"),
    names=NAMES,
    expects="rgb/rgb_NNNN.png and ss/ss_NNNN.png",
    areas=lambda root, split: [root / "rgb"],
)
