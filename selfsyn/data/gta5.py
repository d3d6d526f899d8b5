"""GTA5 (Playing for Data): images/00001.png, labels/00001.png; a label's palette index is the Cityscapes label id."""

from __future__ import annotations

from pathlib import Path

from selfsyn.data.cityscapes import LABEL_IDS, refuse_train_ids
from selfsyn.data.dataset import DataSet
from selfsyn.data.plain import pictures


def _numbered(folder: Path) -> dict[str, Path]:
    # Other tools write 00001_labelTrainIds.png beside the labels: only names that are numbers are frames.
    return {name: path for name, path in pictures(folder).items() if name.isdigit() and path.suffix.lower() == ".png"}


GTA5 = DataSet(
    find_images=lambda root, split: _numbered(root / "images"),
    find_labels=lambda root, split: _numbered(root / "labels"),
    names=LABEL_IDS,
    expects="images/NNNNN.png and labels/NNNNN.png",
    unusable={"15188": "a white image", "17705": "a black image"},
    mis_sized=frozenset(f"{number:05d}" for number in range(20801, 20861)),
    verify=refuse_train_ids,
    areas=lambda root, split: [root / "images"],
)
