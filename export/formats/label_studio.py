"""Label Studio: tasks with a prediction each, one brush and one score a class; links to the images, which it serves itself.

Start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=FOLDER, and add
FOLDER/images to the project as a source storage of local files: it serves only files below such a storage.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from export.formats.item import DONE, Classes, Labelled, Mask, Pieces, Row, Rows, Texts, expected, json_list, train_id_of
from export.formats.rle import brush_mask, brush_rle
from selfsyn.errors import InputError
from selfsyn.labels import IGNORE

COLOURED: Final = False
TASKS: Final = 200  # in a file: some 50 MB at 1024x512, which Label Studio takes in one upload
EXPORT: Final = "Label Studio's export in the format JSON"
SERVED: Final = "/data/local-files/?d="
CONTROL: Final = {"from_name": "label", "to_name": "image", "type": "brushlabels"}


def pieces(item: Labelled, classes: Classes) -> Pieces:
    """See Format."""
    picture = f"images/{item.name}{item.image.suffix}"
    width, height = item.size
    size = {"original_width": width, "original_height": height, "image_rotation": 0}
    brushes = [
        {"id": f"{item.name}-{train_id}", **CONTROL, **size, "score": score,
         "value": {"format": "rle", "rle": brush_rle(pixels), "brushlabels": [classes.names[train_id]]}}
        for train_id, pixels, score in item.segments()
    ]  # fmt: skip
    prediction = {"model_version": item.model, "score": item.mean_confidence, "result": brushes}
    return Pieces(links={picture: item.image}, row={"data": {"image": SERVED + quote(picture)}, "predictions": [prediction]})


def closing(rows: Rows, classes: Classes) -> Iterator[tuple[str, Texts]]:
    """See Format."""
    yield "label_config.xml", iter(_config(classes))
    lines = (json.dumps(row) for row in rows())
    for number, first in enumerate(lines):
        yield f"tasks-{number:05d}.json", json_list(chain([first], islice(lines, TASKS - 1)))


def masks(folder: Path, classes: Classes) -> Iterator[tuple[str, Mask]]:
    """See Format. The last annotation with a brush of each task; predictions are no corrections."""
    files = sorted(path for path in folder.glob("*.json") if path.name != DONE)
    if not files:
        raise InputError(f"{folder}: no JSON file; expected Label Studio's export in the format JSON")
    for path in files:
        for task in _tasks(path):
            with expected(path, EXPORT, f"task {task.get('id')}"):
                brushes = _brushes(task)
            if brushes:
                with expected(path, EXPORT, f"task {task.get('id')}"):
                    picture = unquote(next(iter(task["data"].values())).split("?d=")[-1])
                yield Path(picture).stem, partial(_mask, brushes, classes, path)


def _config(classes: Classes) -> Iterator[str]:
    yield '<View>\n  <Image name="image" value="$image" zoom="true"/>\n  <BrushLabels name="label" toName="image">\n'
    for train_id, name in enumerate(classes.names):
        yield f'    <Label value={quoteattr(name)} background="{classes.hex(train_id)}"/>\n'
    yield "  </BrushLabels>\n</View>\n"


def _tasks(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); expected {EXPORT}") from error
    if not isinstance(found, list) or not all(isinstance(task, dict) and "data" in task for task in found):
        raise InputError(f"{path}: no list of tasks with 'data'; expected Label Studio's export in the format JSON, not JSON_MIN")
    return found


def _brushes(task: Row) -> list[Row]:
    """The brushes of the last annotation that has any and was not cancelled."""
    given = [one for one in task.get("annotations") or [] if isinstance(one, dict) and not one.get("was_cancelled")]
    painted = [[part for part in one.get("result", []) if part.get("type") == "brushlabels"] for one in given]
    return next((brushes for brushes in reversed(painted) if brushes), [])


def _mask(brushes: list[Row], classes: Classes, path: Path) -> NDArray[np.uint8]:
    with expected(path, EXPORT, f"brush {brushes[0].get('id')}"):
        height, width = brushes[0]["original_height"], brushes[0]["original_width"]
        label = np.full((height, width), IGNORE, dtype=np.uint8)
    for one in brushes:
        with expected(path, EXPORT, f"brush {one.get('id')}"):
            value = one["value"]
            train_id = train_id_of(value["brushlabels"][0], classes, path=path)
            label[brush_mask(value["rle"], height=height, width=width)] = train_id
    return label
