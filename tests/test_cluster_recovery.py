"""`selfsyn k8s retry` and `delete` against the API server of the tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fake_cluster import FakeCluster, refuse
from tiny_run import selfsyn_here

from jobs.cluster.api import Cluster
from jobs.cluster.coordinator import Pace, coordinate
from jobs.cluster.delete import delete
from jobs.cluster.retry import retry
from selfsyn.errors import FaultError, NotReadyError

ROUND = (Path(__file__).parent.parent / "k8s/round.yaml").read_text()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """A cluster on which adapt and evaluate-source-only have failed, and the coordinator therefore too."""
    with FakeCluster() as fake:
        fake.apply(ROUND)
        monkeypatch.setenv("KUBECONFIG", str(fake.kubeconfig(tmp_path)))
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        fake.outcomes = {"adapt": "exit code 2"}
        with pytest.raises(NotReadyError):
            finish()
        fake.coordinator_ends("Failed")
        fake.outcomes, fake.rights, fake.events = {}, None, []
        yield fake


def finish() -> None:
    coordinate(Cluster(), run="demo", round_=1, goal="report-1", pace=Pace(0.01, 60), sleep=lambda _: None)


@pytest.mark.parametrize("arguments", [(), ("--phase", "adapt")])
def test_a_failed_phase_and_the_coordinator_are_made_again_and_nothing_else(
    cluster: FakeCluster, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    wanted = {name: yaml.safe_dump(job["spec"]) for name, job in cluster.jobs.items() if name == "demo-adapt"}
    code, said = selfsyn_here("k8s", "retry", "--run", "demo", *arguments)
    assert code == 0, said
    assert cluster.events == [
        "delete jobs demo-coordinator-1",
        "delete jobs demo-adapt",
        "create adapt as kubectl",
        "create coordinator as kubectl",
    ]
    made = yaml.safe_load(wanted["demo-adapt"]) | {"suspend": True}
    made["template"]["metadata"].pop("creationTimestamp", None)
    assert cluster.jobs["demo-adapt"]["spec"] == made
    assert cluster.coordinators["demo-coordinator-1"]["status"] == {"startTime": "2026-01-01T00:00:00Z"}
    assert list(tmp_path.glob("selfsyn-retry-*")) == []
    finish()
    assert cluster.state("report-1") == "Complete"


def test_it_waits_for_the_end_of_the_pods(cluster: FakeCluster) -> None:
    cluster.stops_after = 20
    slept: list[float] = []
    retry(Cluster(), run="demo", sleep=slept.append)
    assert 3 <= len(slept) <= 20 and cluster.state("adapt") == "suspended"
    cluster.stops_after = 10**9
    cluster.phase("adapt")["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    with pytest.raises(FaultError, match=r"demo-adapt.*not gone after 600 s.*kubectl apply --server-side -f .*selfsyn-retry"):
        retry(Cluster(), run="demo", phases=["adapt"], sleep=slept.append)


def test_a_job_is_not_lost_when_the_server_goes_away(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.patch_faults = [refuse(503, "away")] * 6
    with pytest.raises(FaultError, match="away; then run `kubectl apply --server-side -f "):
        retry(Cluster(), run="demo", sleep=lambda _: None)
    (kept,) = tmp_path.glob("selfsyn-retry-*")
    for document in yaml.safe_load(kept.read_text())["items"]:
        cluster.apply(yaml.safe_dump(document))
    finish()
    assert cluster.state("report-1") == "Complete"


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ("adapd", "no Job for the phase 'adapd'"),
        ("train-0", "train-0 is waiting, and has not failed"),
        ("coordinator", "no Job for the phase 'coordinator'"),
    ],
)
def test_what_cannot_be_tried_again(cluster: FakeCluster, phase: str, message: str) -> None:
    code, said = selfsyn_here("k8s", "retry", "--run", "demo", "--phase", phase)
    assert code == 2 and message in said and cluster.events == []


def test_without_failure_or_coordinator(cluster: FakeCluster) -> None:
    cluster.coordinators.clear()
    code, said = selfsyn_here("k8s", "retry", "--run", "demo")
    assert code == 2 and "round 1 has no coordinator" in said
    code, said = selfsyn_here("k8s", "retry", "--run", "other")
    assert code == 2 and "no phase of run 'other' has failed" in said
    assert cluster.events == []


def test_the_end_of_a_run_leaves_nothing(cluster: FakeCluster) -> None:
    cluster.apply(ROUND.replace("demo", "other"))
    cluster.rights = None
    cluster.stops_after = 3
    delete(Cluster(), run="demo", sleep=lambda _: None)
    assert cluster.events[0] == "delete jobs demo-coordinator-1"  # it must not start anything now
    left = [name for store in (cluster.jobs, cluster.coordinators, *cluster.objects.values()) for name in store]
    assert len(left) == 14 + 1 + 4 and all(name.startswith("other-") for name in left)
    code, said = selfsyn_here("k8s", "delete", "--run", "demo")
    assert code == 2 and "found nothing of run 'demo'" in said


def test_one_round_is_deleted_alone(cluster: FakeCluster) -> None:
    second = ROUND.replace("selfsyn/round: '1'", "selfsyn/round: '2'").replace("name: demo-", "name: demo-two-")
    cluster.apply(second)
    cluster.rights = None
    code, said = selfsyn_here("k8s", "delete", "--run", "demo", "--round", 2)
    assert code == 0 and "job demo-two-world: deleted" in said and "configmap demo-two-configuration-1" in said
    assert len(cluster.jobs) == 14 and not any("two" in name for name in cluster.objects["configmaps"])


def test_a_pipe_is_not_needed(tmp_path: Path) -> None:
    code, said = selfsyn_here("k8s", "render", "--output", tmp_path / "round.yaml")
    assert code == 0 and said == "" and (tmp_path / "round.yaml").read_text() == ROUND
