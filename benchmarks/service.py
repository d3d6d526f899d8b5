"""`selfsyn serve` under load, and its answers to malformed requests.

python benchmarks/service.py REPOSITORY [SECONDS [CONNECTIONS [MALFORMED]]]

REPOSITORY: a model repository, for example a round's teacher folder. First, a server on the CPU with default limits gets infer
and predict requests of mixed sizes for SECONDS (60), on CONNECTIONS (32) connections that never pause. Prints answers by
status, p50 and p99 by kind, and resident memory at the start (after one request of each kind), after each quarter and at the
end. Then another server gets MALFORMED (10,000) invalid requests on 16 connections. Prints answers by kind and status, and
memory. The client uses the same cores as the server.
"""

from __future__ import annotations

import http.client
import itertools
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selfsyn.cores import usable_cores
from selfsyn.images import encode_jpeg, encode_png

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from malformed import requests
from serving import INFER, PATIENCE, PREDICT, Server, binary_request, pictures, server

SENDERS = 16
SIZES = ((192, 128), (240, 176), (320, 240), (480, 360))  # width, height
MIB = 1 << 20


@dataclass(frozen=True)
class Ask:
    """A kind of request, prepared for sending many times."""

    kind: str
    path: str
    body: bytes
    headers: dict[str, str]


def main(repository: Path, *, seconds: float, connections: int, malformed: int) -> None:
    """Run both measurements and print them."""
    with server(repository, "--threads", usable_cores()) as running:  # the default of `selfsyn serve`
        load(running, seconds=seconds, connections=connections)
    with server(repository) as running:
        nonsense(running, count=malformed)


def load(running: Server, *, seconds: float, connections: int) -> list[tuple[str, int, float]]:
    """Send mixed requests without a pause -> (kind, status (0: no answer), seconds) of each."""
    asks = [infer(size) for size in SIZES] + [
        predict(size, view) for size in ((480, 360), (1024, 512)) for view in ("label", "json")
    ]
    for ask in asks:
        running.post(ask.path, ask.body, **ask.headers)
    memory = [resident(running)]
    answers: list[tuple[str, int, float]] = []
    end = time.monotonic() + seconds
    senders = [
        threading.Thread(target=send, args=(running.port, order(asks, first), end, answers)) for first in range(connections)
    ]
    for sender in senders:
        sender.start()
    for _ in range(4):
        time.sleep(seconds / 4)
        memory.append(resident(running))
    for sender in senders:
        sender.join()
    memory.append(resident(running))
    print(f"{len(answers)} answers in {seconds:g} s on {connections} connections, {len(answers) / seconds:.1f}/s")
    print("by status:", dict(sorted(Counter(status for _, status, _ in answers).items())))
    for kind in ("all", *dict.fromkeys(kind for kind, _, _ in answers)):
        took = [duration for other, status, duration in answers if kind in ("all", other) and status == 200]
        p50, p99 = np.percentile(took, (50, 99)) if took else (np.nan, np.nan)
        print(f"  {kind:24} {len(took):6} good, p50 {p50 * 1e3:7.0f} ms, p99 {p99 * 1e3:7.0f} ms")
    print("resident MiB at the start, after each quarter and at the end:", *(f"{size / MIB:.0f}" for size in memory), flush=True)
    return answers


def nonsense(running: Server, *, count: int) -> None:
    """Send malformed requests. AssertionError when the server is not ready after them."""
    before, began = resident(running), time.monotonic()
    with ThreadPoolExecutor(SENDERS) as pool:
        results = list(pool.map(lambda request: (request.kind, *request.sent(running.port)), requests(count=count, seed=1)))
    took = time.monotonic() - began
    print(f"{count} malformed requests in {took:.0f} s; by status (0: hung up):", by(results, lambda result: str(result[1])))
    for kind in dict.fromkeys(result[0] for result in results):
        print(f"  {kind:24}", by([result for result in results if result[0] == kind], lambda result: str(result[1])))
    problems = Counter((kind, problem) for kind, _, problem in results if problem)
    print("problems:", dict(problems) or "none")
    print(f"resident MiB before and after: {before / MIB:.0f} {resident(running) / MIB:.0f}")
    print("lines in the log beyond its start:", running.lines[2:] or "none")
    assert running.process.poll() is None and running.get("/v2/health/ready").status == 200


def by(results: list[tuple[str, int, str]], key: Callable[[tuple[str, int, str]], str]) -> dict[str, int]:
    """{key: number of results}, sorted by key."""
    return dict(sorted(Counter(map(key, results)).items()))


def send(port: int, asks: Iterator[Ask], end: float, answers: list[tuple[str, int, float]]) -> None:
    """Send requests on one connection until `end`; append (kind, status (0: no answer), seconds) of each to `answers`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    while time.monotonic() < end:
        ask, began = next(asks), time.monotonic()
        try:
            connection.request("POST", ask.path, ask.body, {name.replace("_", "-"): value for name, value in ask.headers.items()})
            reply = connection.getresponse()
            reply.read()
            status = reply.status
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
        answers.append((ask.kind, status, time.monotonic() - began))


def order(asks: list[Ask], first: int) -> Iterator[Ask]:
    """Endless requests in turn, starting at number `first`."""
    return itertools.islice(itertools.cycle(asks), first % len(asks), None)


def infer(size: tuple[int, int]) -> Ask:
    """A binary infer request with a noise image."""
    body, headers = binary_request(pictures(1, size[1], size[0]))
    return Ask(f"infer {size[0]}x{size[1]}", INFER, body, headers)


def predict(size: tuple[int, int], view: str) -> Ask:
    """A predict request with an image of blocks: a JPEG for the view `label`, a PNG for other views."""
    small = pictures(size[1] // 16, size[0] // 16)
    picture = small.repeat(16, axis=0).repeat(16, axis=1)
    data = encode_jpeg(picture, quality=90) if view == "label" else encode_png(picture)
    return Ask(f"predict {size[0]}x{size[1]} {view}", f"{PREDICT}?view={view}", data, {})


def resident(running: Server) -> float:
    """Resident memory of the server in bytes."""
    return running.metric("process_resident_memory_bytes")


if __name__ == "__main__":
    given = sys.argv[2:]
    main(
        Path(sys.argv[1]),
        seconds=float(given[0]) if given else 60,
        connections=int(given[1]) if len(given) > 1 else 32,
        malformed=int(given[2]) if len(given) > 2 else 10_000,
    )
