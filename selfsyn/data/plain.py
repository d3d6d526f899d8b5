"""Any other data set: images/NAME.* and labels/NAME.png. The table `ids` in run.toml defines the ids."""

from __future__ import annotations

from pathlib import Path

from selfsyn.data.dataset import DataSet, named
from selfsyn.labels import id_table

ENDINGS = (".png", ".jpg", ".jpeg")


def pictures(folder: Path) -> dict[str, Path]:
    """{name without ending: path} of the PNG and JPEG files in a folder. InputError for two files of one name."""
    return named((path.stem, path) for path in sorted(folder.glob("*")) if path.suffix.lower() in ENDINGS)


PLAIN = DataSet(
    find_images=lambda root, split: pictures(root / "images"),
    find_labels=lambda root, split: pictures(root / "labels"),
    table=id_table({}),
    known=frozenset(),
    areas=lambda root, split: [root / "images"],
    expects="images/NAME.png (or .jpg) and labels/NAME.png",
)
