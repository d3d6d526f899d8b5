"""A second opinion: the coordinator against kmock, an API server that somebody else wrote."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kmock
import pytest
import yaml

from jobs.cluster.api import Cluster
from jobs.cluster.coordinator import Pace, coordinate

ROOT = Path(__file__).parent.parent
JOBS = [
    job for job in yaml.safe_load_all((ROOT / "k8s/round.yaml").read_text()) if job["metadata"]["labels"].get("selfsyn/phase")
]


@pytest.fixture
def url() -> Iterator[str]:
    """Where kmock listens, in a thread of its own."""
    ready, stop, found = threading.Event(), threading.Event(), []

    async def serve() -> None:
        async with kmock.KubernetesEmulator() as emulator, kmock.Server(emulator) as server:
            emulator.resources.load_bundled()
            found.append(str(server.url).rstrip("/"))
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(60)
    yield found[0]
    stop.set()
    thread.join(60)


def call(url: str, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(
        f"{url}/apis/batch/v1/namespaces/selfsyn/jobs{path}", data, {"Content-Type": kind}, method=method
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))


def test_a_round_on_kmock(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for job in JOBS:
        call(url, "POST", "", job)
    there = {"name": "there", "cluster": {"server": url}}
    context = {"name": "there", "context": {"cluster": "there", "user": "us", "namespace": "selfsyn"}}
    users = [{"name": "us", "user": {}}]
    config = {"current-context": "there", "contexts": [context], "clusters": [there], "users": users}
    (tmp_path / "config").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    done: list[str] = []
    looks: list[int] = []

    def work(_: float) -> None:
        """The Job controller: everything that is released is complete by the next look."""
        looks.append(len(done))
        assert len(looks) < 100, done
        for job in call(url, "GET", "")["items"]:
            phase, before = job["metadata"]["labels"]["selfsyn/phase"], job["metadata"]["annotations"]["selfsyn/after"]
            if not job["spec"]["suspend"] and phase not in done:
                assert set(filter(None, before.split(","))) <= set(done)
                done.append(phase)
                complete = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                call(url, "PATCH", f"/{job['metadata']['name']}/status", {"status": {"conditions": [complete]}})

    coordinate(Cluster(), run="demo", round_=1, goal="report-1", pace=Pace(1, 600), sleep=work)
    assert len(done) == len(JOBS) and done[-1] == "report-1"
