"""Any other data set: images/NAME.* and labels/NAME.png. `ids` or `colours` in run.toml say what the labels hold."""

from __future__ import annotations

from pathlib import Path

from selfsyn.data.dataset import DataSet, named

ENDINGS = (".png", ".jpg", ".jpeg")


def pictures(folder: Path) -> dict[str, Path]:
    """{name without ending: path} of the PNG and JPEG files in a folder. InputError for two files of one name."""
    return named((path.stem, path) for path in folder.glob("*") if path.suffix.lower() in ENDINGS)


PLAIN = DataSet(
    find_images=lambda root, split: pictures(root / "images"),
    find_labels=lambda root, split: pictures(root / "labels"),
    names={},
    areas=lambda root, split: [root / "images"],
    expects="images/NAME.png (or .jpg) and labels/NAME.png",
)
