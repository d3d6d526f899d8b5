"""Any other data set: images/NAME.* and labels/NAME.png. What its ids mean, the table `ids` in run.toml says."""

from __future__ import annotations

from pathlib import Path

from selfsyn.data.dataset import DataSet
from selfsyn.labels import id_table

ENDINGS = (".png", ".jpg", ".jpeg")


def pictures(folder: Path) -> dict[str, Path]:
    """The PNG and JPEG files of one folder by their names without ending; hidden files are passed over."""
    found = (path for path in sorted(folder.glob("*")) if path.suffix.lower() in ENDINGS and not path.name.startswith("."))
    return {path.stem: path for path in found}


PLAIN = DataSet(
    find_images=lambda root, split: pictures(root / "images"),
    find_labels=lambda root, split: pictures(root / "labels"),
    table=id_table({}),
    known=frozenset(),
    expects="images/NAME.png (or .jpg) and labels/NAME.png",
)
