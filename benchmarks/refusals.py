"""Refusals that come before the request's body: how many reach a client that sends `Connection: close`.

python benchmarks/refusals.py [COUNT]

Starts `selfsyn serve` on the CPU with one place and bodies of 4 MiB at most. urllib sends COUNT (1,000) requests that are refused
early (413, 404, 405, 400, 429 in turn, bodies of 3 to 6 MiB), then as many through a real nginx in front, in each of three ways
of nginx to speak to the server. Prints how many got their status. Needs nginx for the second part: apt-get install nginx-light.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from refusing import MIB, NGINX, PROXIES, early, full, lost, nginx, occupied
from serving import put, server
from tiny_teacher import tiny_onnx

LIMIT = 4 * MIB


def main(count: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        put(repository, tiny_onnx(), version=1)
        with server(repository, "--request-mib", 4, "--queue", 1) as running:
            report("urllib", front=running.port, port=running.port, count=count)
            for proxy in PROXIES if NGINX else ():
                with nginx(running.port, Path(folder) / proxy, proxy=proxy) as front:
                    report(f"urllib, nginx ({proxy})", front=front, port=running.port, count=count)
    if not NGINX:
        print("nginx: not measured, it is not installed")


def report(name: str, *, front: int, port: int, count: int) -> None:
    """Send `count` requests to `front`, a fifth of them while the server at `port` is full."""
    few = count // 5
    failed = lost(early(limit=LIMIT), port=front, count=count - few)
    with occupied(port):
        failed += lost(full(limit=LIMIT), port=front, count=few)
    print(f"{name}: {count - len(failed)} of {count} got their status", *sorted({str(got) for _, got in failed}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
