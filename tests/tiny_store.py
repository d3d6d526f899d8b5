"""A label store on disk, written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from selfsyn.images import encode_label_png, encode_png
from selfsyn.pseudo_labels import encode_histogram, histogram, no_counts

Maps = tuple[np.ndarray, np.ndarray]


def write_shard(folder: Path, frames: dict[str, Maps], *, teacher: str = "sha256:1") -> None:
    counts, rows = no_counts(), []
    for name, (label, confidence) in frames.items():
        paths = {"label": f"labels/{name}.png", "confidence": f"confidence/{name}.png"}
        for path, data in zip(paths.values(), (encode_label_png(label), encode_png(confidence)), strict=True):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        counts += histogram(label, confidence)
        row = {
            "name": name,
            "image": f"images/{name}.jpg",
            **paths,
            "label_digest": "sha256:1",
            "mean_confidence": round(float(confidence.mean()), 3),
        }
        rows.append(json.dumps(row))
    (folder / "index.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "histogram.npz").write_bytes(encode_histogram(counts))
    (folder / "manifest.json").write_text(json.dumps({"counts": {"teacher": teacher}}))
