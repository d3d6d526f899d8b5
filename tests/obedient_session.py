"""`selfsyn serve` on an onnxruntime that obeys an image's first byte: hold it, fail on it, or lose the device.

python tests/obedient_session.py GATE serve ...
HOLD: the run waits until the file GATE exists.  FAIL: onnxruntime raises.  LOSE: it raises then, and ever after.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import onnxruntime

from jobs.__main__ import main

HOLD, FAIL, LOSE = 255, 254, 253


def obey(gate: Path) -> None:
    """Make every session of this process obedient."""
    run = onnxruntime.InferenceSession.run
    lost = False

    def obedient(session: Any, names: Any, feeds: Any, *rest: Any) -> Any:
        nonlocal lost
        orders = set(feeds["image"][:, 0, 0, 0].tolist())
        lost = lost or LOSE in orders
        while HOLD in orders and not gate.exists():
            time.sleep(0.01)
        if lost or FAIL in orders:
            raise RuntimeError("CUDA failure 700: an illegal memory access was encountered\nin several lines")
        return run(session, names, feeds, *rest)

    onnxruntime.InferenceSession.run = obedient


if __name__ == "__main__":
    obey(Path(sys.argv.pop(1)))
    main()
