"""Clients of a service during rolling updates: each sends one picture again and again, and counts what it gets.

python docker/clients.py FOLDER

FOLDER/endpoints names the HOST:PORT that new connections may go to, one a line, as the endpoints of a Kubernetes Service do.
Half of the clients open a connection for each request; the others keep theirs until the server closes it. The clients end when
FOLDER/end exists. Prints the counts; exit code 1 if a request had no answer, a status other than 200, or other bytes than the
first answer.
"""

from __future__ import annotations

import http.client
import random
import select
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import export

CLIENTS = 8
KINDS = ("new connections", "kept connections")
PATIENCE = 60.0  # seconds for an answer
PATH = "/v2/models/segmenter/predict?view=label"
PICTURE = (Path(export.__file__).parent / "golden.png").read_bytes()


class Client(threading.Thread):
    """Sends requests until `end`. results: how many requests ended how."""

    def __init__(self, folder: Path, *, keeps: bool, expected: bytes, end: threading.Event) -> None:
        super().__init__()
        self.folder, self.keeps, self.expected, self.end = folder, keeps, expected, end
        self.results: Counter[str] = Counter()
        self.connections = 0
        self.connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Send requests without a pause, but for a short one after a failure."""
        while not self.end.is_set():
            result = self.result()
            self.results[result] += 1
            if result != "answered":
                print(f"{time.strftime('%T')} {KINDS[self.keeps]}: {result}", flush=True)
                time.sleep(0.1)

    def result(self) -> str:
        """Send one request -> 'answered', or what happened instead."""
        try:
            status, body = asked(self.usable())
        except OSError as error:  # refused, reset, closed without an answer, too late
            self.close()
            return f"no answer: {type(error).__name__}: {error}"
        except http.client.HTTPException as error:
            self.close()
            return f"half an answer: {type(error).__name__}: {error}"
        if not self.keeps:
            self.close()
        if status != 200:
            return f"status {status}: {body[:200]!r}"
        return "answered" if body == self.expected else "other bytes"

    def usable(self) -> http.client.HTTPConnection:
        """The open connection, or a new one if the server has closed it, as HTTP libraries do."""
        if self.connection is not None and closed(self.connection):
            self.close()
        if self.connection is None:
            self.connections += 1
            self.connection = connected(self.folder)
        return self.connection

    def close(self) -> None:
        """Close the connection."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def connected(folder: Path) -> http.client.HTTPConnection:
    """A connection to one of the endpoints."""
    host, port = random.choice((folder / "endpoints").read_text().split()).split(":")
    return http.client.HTTPConnection(host, int(port), timeout=PATIENCE)


def closed(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has closed the connection, or has asked to."""
    return connection.sock is None or bool(select.select([connection.sock], [], [], 0)[0])


def asked(connection: http.client.HTTPConnection) -> tuple[int, bytes]:
    """Send the picture -> status and body."""
    connection.request("POST", PATH, PICTURE)
    response = connection.getresponse()
    return response.status, response.read()


def main(folder: Path) -> int:
    """Run the clients and print what they counted -> exit code."""
    while not (folder / "endpoints").exists():
        time.sleep(0.1)
    status, expected = asked(connected(folder))
    if status != 200:
        print(f"status {status}: {expected[:200]!r}")
        return 1
    end = threading.Event()
    clients = [Client(folder, keeps=number % 2 == 1, expected=expected, end=end) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    while not (folder / "end").exists():
        time.sleep(0.1)
    end.set()
    for client in clients:
        client.join()
    failures = 0
    for keeps, kind in enumerate(KINDS):
        some = [client for client in clients if client.keeps == keeps]
        results = sum((client.results for client in some), Counter())
        failed = results.total() - results["answered"]
        connections = sum(client.connections for client in some)
        print(f"{kind}: {results['answered']} answers, {failed} failures, {connections} connections")
        failures += failed
    return 1 if failures or not all(client.results["answered"] for client in clients) else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
