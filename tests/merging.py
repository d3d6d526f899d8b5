"""What scores are compared with: label maps whose classes are merged before anything is counted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfsyn.labels import IGNORE, Protocol


def merged(protocol: Protocol, label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Train ids -> positions of the protocol's classes; IGNORE stays."""
    return np.append(protocol.merge, np.full(256 - len(protocol.merge), IGNORE)).astype(np.uint8)[label]
