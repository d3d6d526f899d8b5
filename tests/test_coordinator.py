"""The coordinator against an HTTP API server of our own that can do everything a bad day on a cluster does."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fake_cluster import FakeCluster, answer, garbage, hang_up, refuse, slow
from tiny_run import command_line, selfsyn, selfsyn_here

from jobs.cluster.api import Cluster, PhaseJob
from jobs.cluster.coordinator import Pace, coordinate, outlook
from selfsyn.errors import FaultError, InputError, NotReadyError

ROUND = (Path(__file__).parent.parent / "k8s/round.yaml").read_text()
JOBS = [document for document in yaml.safe_load_all(ROUND) if document["kind"] == "Job"]
AFTER = {
    job["metadata"]["labels"]["selfsyn/phase"]: [
        name for name in job["metadata"]["annotations"]["selfsyn/after"].split(",") if name
    ]
    for job in JOBS
    if "selfsyn/phase" in job["metadata"]["labels"]
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """A cluster to which the committed round has been applied, and KUBECONFIG pointing to it."""
    with FakeCluster() as fake:
        fake.apply(ROUND)
        monkeypatch.setenv("KUBECONFIG", str(fake.kubeconfig(tmp_path)))
        yield fake


QUICK = Pace(0.01, 1000)


def run_round(*, pace: Pace = QUICK, timeout: float = 10.0, slept: list[float] | None = None) -> None:
    """Coordinate the committed round in this process, with sleeps that are only written down."""
    said = [] if slept is None else slept

    def sleep(seconds: float) -> None:
        said.append(seconds)
        assert len(said) < 1000, "this round does not end"

    coordinate(Cluster(timeout=timeout), run="demo", round_=1, goal="report-1", pace=pace, sleep=sleep, now=lambda: sum(said))


def coordinated(*more: object) -> subprocess.CompletedProcess[str]:
    """The program itself, on the committed round."""
    arguments = ("coordinate", "--run", "demo", "--round", 1, "--goal", "report-1", "--interval", 0.01)
    return selfsyn(*arguments, *more, timeout=120)


def in_order(events: list[str]) -> bool:
    """Whether each phase was released after its predecessors were complete."""
    done: set[str] = set()
    for event in events:
        kind, phase = event.split()
        if kind == "release" and not done.issuperset(AFTER[phase]):
            return False
        done |= {phase} if kind == "complete" else set()
    return True


def released(cluster: FakeCluster) -> list[str]:
    return [event.split()[1] for event in cluster.events if event.startswith("release")]


def test_the_program_takes_a_round_to_its_end(cluster: FakeCluster) -> None:
    done = coordinated()
    assert done.returncode == 0, done.stderr
    assert sorted(released(cluster)) == sorted(AFTER)
    assert in_order(cluster.events)
    assert all(cluster.state(phase) == "Complete" for phase in AFTER)
    assert done.stderr.strip().splitlines()[-1].endswith("report-1: complete; round 1 of demo is done")
    assert cluster.refused == []


def test_phases_that_do_not_wait_for_each_other_run_at_the_same_time(cluster: FakeCluster) -> None:
    cluster.lasts = 3
    together = []
    cluster.on_look = lambda _: together.append({phase for phase in AFTER if cluster.state(phase) == "running"})
    run_round()
    assert {"evaluate-0", "pseudo-label-1"} in together


def test_a_failed_phase_is_named_and_the_rest_stays_suspended(cluster: FakeCluster) -> None:
    cluster.outcomes["train-0"] = "Container phase failed with exit code 2 matching FailJob rule at index 0"
    done = coordinated()
    assert done.returncode == 3, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "train-0 failed (PodFailurePolicy: Container phase failed with exit code 2" in last
    assert "kubectl -n selfsyn logs job/demo-train-0 --all-containers --ignore-errors" in last
    assert "Traceback" not in done.stderr
    later = ("export-teacher-0", "evaluate-0", "pseudo-label-1", "train-1", "export-teacher-1", "evaluate-1", "report-1")
    assert [cluster.state(phase) for phase in later] == ["suspended"] * len(later)
    again, said = selfsyn_here("coordinate", "--run", "demo", "--round", 1, "--goal", "report-1")
    assert again == 3 and "train-0 failed" in said


def test_a_second_apply_while_a_phase_runs_does_no_harm(cluster: FakeCluster) -> None:
    cluster.lasts = 3

    def apply_again(look: int) -> None:
        if cluster.state("train-0") == "running" and cluster.events.count("release train-0") == 1:
            cluster.apply(ROUND)
            assert cluster.state("train-0") == "suspended"

    cluster.on_look = apply_again
    run_round()
    assert released(cluster).count("train-0") == 2
    assert in_order(cluster.events)
    assert cluster.state("report-1") == "Complete"


def test_a_coordinator_that_is_stopped_exits_143_and_the_next_one_goes_on(cluster: FakeCluster) -> None:
    cluster.lasts = 10**9  # the first phase does not end
    arguments = ("coordinate", "--run", "demo", "--round", 1, "--goal", "report-1", "--interval", 0.01)
    first = subprocess.Popen(command_line(*arguments), stderr=subprocess.PIPE, text=True)
    while not released(cluster):
        assert first.poll() is None
        time.sleep(0.01)
    first.terminate()
    assert first.wait(60) == 143, first.stderr and first.stderr.read()
    cluster.lasts = 1
    run_round()
    assert sorted(released(cluster)) == sorted(AFTER)  # each once: the second saw what the first had done
    assert in_order(cluster.events)


def test_a_rotated_token_is_read_again(cluster: FakeCluster, tmp_path: Path) -> None:
    def rotate(look: int) -> None:
        if look == 5:
            cluster.token = "second"
            (tmp_path / "token").write_text("second\n")

    cluster.on_look = rotate
    run_round()
    assert cluster.state("report-1") == "Complete"


FAULTS = {
    "unauthorized": [refuse(401), refuse(401)],  # lightkube reads the token and tries once more by itself
    "too many requests": [refuse(429, "slow down")],
    "an error of the server": [refuse(500), refuse(503)],
    "a proxy's page": [garbage("<html>bad gateway</html>", 502)],
    "no Status": [lambda handler: answer(handler, 500, '"no"', Content_Type="application/json")],
    "half an answer": [garbage('{"items": [{"metada', Content_Type="application/json")],
    "another kind of answer": [lambda handler: answer(handler, 200, {"kind": "Status"})],
    "a closed connection": [hang_up],
    "a slow answer": [slow(0.4)],
    "patch: a conflict": [refuse(409, "the object has been modified")],
    "patch: refused": [refuse(403, "forbidden")] * 2,
    "patch: no answer": [hang_up],
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_api_server_is_survived(cluster: FakeCluster, name: str) -> None:
    faults = list(FAULTS[name])

    def order(look: int) -> None:
        if look == 4:
            (cluster.patch_faults if name.startswith("patch") else cluster.faults).extend(faults)

    cluster.on_look = order
    slept: list[float] = []
    run_round(slept=slept, timeout=0.2 if name == "a slow answer" else 10.0)
    assert cluster.state("report-1") == "Complete"
    assert in_order(cluster.events)
    assert cluster.faults + cluster.patch_faults == []
    assert max(slept) > 0.01, "no longer pause after the trouble"


def test_the_server_says_how_long_to_wait(cluster: FakeCluster) -> None:
    cluster.faults = [refuse(429, "slow down", Retry_After="17")]
    slept: list[float] = []
    run_round(slept=slept)
    assert slept[0] == 17
    assert set(slept[1:]) == {0.01}


def test_trouble_makes_the_pauses_longer_and_ends_with_a_fault(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.faults = [refuse(500, "etcd is away")] * 20
    slept: list[float] = []
    with pytest.raises(FaultError, match=r"for 100 s; the last error: list jobs: etcd is away"):
        run_round(pace=Pace(1, 100), slept=slept)
    assert slept == [2, 4, 8, 16, 32, 60]
    assert capsys.readouterr().err.count("etcd is away") == 1  # said once, not at every look


def test_the_end_of_an_outage_is_said_once(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.faults = [lambda _: False, refuse(500, "etcd is away"), hang_up, hang_up]
    run_round()
    said = capsys.readouterr().err
    assert said.count("answers again") == 1
    assert said.index("etcd is away") < said.index("RemoteProtocolError") < said.index("the API server answers again")


def test_a_server_that_is_not_there_ends_with_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeCluster() as gone:
        monkeypatch.setenv("KUBECONFIG", str(gone.kubeconfig(tmp_path)))
    arguments = ("--run", "demo", "--round", 1, "--goal", "report-1", "--interval", 0.01, "--patience", 0)
    code, said = selfsyn_here("coordinate", *arguments)
    assert code == 1 and "list jobs: ConnectError" in said


def test_without_a_cluster_it_is_a_user_s_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    for arguments in (["coordinate", "--round", 1, "--goal", "report-1"], ["k8s", "status"]):
        code, said = selfsyn_here(*arguments)
        assert code == 2 and "no cluster to talk to" in said and len(said.splitlines()) == 1


@pytest.mark.parametrize("text", ["", "hello", "clusters: [", "clusters: 3\nusers: 4\ncontexts: 5\n", "\0"])
def test_a_damaged_kubeconfig_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    code, said = selfsyn_here("k8s", "status")
    assert code == 2 and "no cluster to talk to" in said and len(said.splitlines()) == 1


@pytest.mark.parametrize("phase", ["pseudo-label-1", "report-1"])
def test_a_deleted_phase_is_asked_for_and_waited_for(
    cluster: FakeCluster, phase: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.delete(phase)

    def give_back(look: int) -> None:
        if look == 60:  # everything that does not need it is over by now
            assert "running" not in {cluster.state(other) for other in AFTER if other != phase}
            cluster.apply(ROUND)

    cluster.on_look = give_back
    run_round()
    assert cluster.looks > 60 and cluster.state("report-1") == "Complete" and in_order(cluster.events)
    assert f"no Job for {phase}: apply the round's manifest again" in capsys.readouterr().err


def test_a_finished_phase_whose_job_was_deleted_is_missed_by_nobody(cluster: FakeCluster) -> None:
    def collect_garbage(look: int) -> None:
        if any(job["metadata"]["labels"]["selfsyn/phase"] == "world" for job in cluster.jobs.values()) and look > 20:
            cluster.delete("world")

    cluster.on_look = collect_garbage
    run_round()
    assert cluster.state("report-1") == "Complete"


def test_another_run_and_another_round_are_left_alone(cluster: FakeCluster) -> None:
    cluster.apply(ROUND.replace("demo", "other"))
    cluster.apply(ROUND.replace("selfsyn/round: '1'", "selfsyn/round: '2'").replace("name: demo-", "name: demo2-"))
    cluster.apply(ROUND)  # with the rights of the first
    run_round()
    strangers = [job for name, job in cluster.jobs.items() if not name.startswith("demo-")]
    assert strangers and all(job["spec"]["suspend"] for job in strangers)
    assert cluster.refused == []


def corrected() -> str:
    """The committed round with another configuration, as `render` would write it."""
    before = {job["metadata"]["labels"].get("selfsyn/configuration") for job in JOBS} - {None}
    return ROUND.replace(before.pop(), "0badc0de")


@pytest.mark.parametrize("server_side", [True, False])
def test_a_corrected_configuration_over_jobs_of_the_old_one_stops_the_round(cluster: FakeCluster, server_side: bool) -> None:
    def correct(look: int) -> None:
        if cluster.state("train-source-only") == "running":
            cluster.apply(corrected(), server_side=server_side)

    cluster.on_look = correct
    with pytest.raises(
        InputError, match=r"different configurations: \w{8} .*world.*; 0badc0de .*report-1.*k8s delete --run demo"
    ):
        run_round(pace=Pace(1, 1000))
    assert "keep world" in cluster.events  # its template mounts the old configuration
    assert set(released(cluster)) == {"world", "train-source-only"}


def test_a_corrected_configuration_after_the_first_phase_failed(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.outcomes["world"] = "Container init failed with exit code 2"
    with pytest.raises(NotReadyError):
        run_round()
    del cluster.outcomes["world"]
    cluster.delete("world")
    manifest = corrected().split("---\n")
    cluster.apply("---\n".join(manifest[-5:]))  # kubectl is at work on the others when the new coordinator looks
    looked = cluster.looks
    cluster.on_look = lambda look: cluster.apply("---\n".join(manifest)) if look == looked + 3 else None
    run_round()
    assert cluster.state("report-1") == "Complete"
    assert "different configurations" in capsys.readouterr().err
    assert {job["metadata"]["labels"]["selfsyn/configuration"] for job in cluster.jobs.values()} == {"0badc0de"}


def test_the_role_is_all_that_is_needed_and_no_more(cluster: FakeCluster) -> None:
    assert cluster.rights is not None
    verbs = [(rule["verbs"], sorted(rule.get("resourceNames", []))) for rule in cluster.rights]
    assert verbs == [(["list"], []), (["patch"], sorted(f"demo-{phase}" for phase in AFTER))]
    cluster.rights[1]["resourceNames"].remove("demo-train-0")
    with pytest.raises(FaultError, match="release train-0: jobs.batch 'demo-train-0' is forbidden"):
        run_round(pace=Pace(1, 50))


def test_with_a_queue_phases_are_handed_over_and_not_started(cluster: FakeCluster) -> None:
    def kueue(look: int) -> None:
        for job in cluster.jobs.values():
            if job["metadata"]["labels"].get("kueue.x-k8s.io/queue-name") == "gpus" and look % 3 == 0:
                job["spec"]["suspend"] = False

    cluster.on_look = kueue
    done = coordinated("--queue", "gpus")
    assert done.returncode == 0, done.stderr
    assert released(cluster) == []  # Kueue's business
    patched = [event.replace("patch", "release") for event in cluster.events if not event.startswith("release")]
    assert in_order(patched) and sum(event.startswith("release") for event in patched) == len(AFTER)


def phase_job(name: str, state: str, *after: str) -> PhaseJob:
    return PhaseJob(job=f"demo-{name}", phase=name, round_=1, after=after, state=state, version="1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("states", "release", "missing"),
    [
        ("waiting waiting waiting", ["a"], []),
        ("running waiting waiting", [], []),
        ("complete waiting waiting", ["b"], []),
        ("complete complete waiting", ["c"], []),
        ("complete queued waiting", [], []),
        ("complete failed waiting", [], []),
        ("waiting failed waiting", [], []),  # nothing more is begun, even what could be
        ("running waiting -", [], ["c"]),
        ("complete - waiting", [], ["b"]),
        ("- waiting waiting", [], ["a"]),
        ("- complete waiting", ["c"], []),
        ("- - complete", [], []),
    ],
)
def test_what_is_to_be_done(states: str, release: list[str], missing: list[str]) -> None:
    chain = {"a": (), "b": ("a",), "c": ("b",)}
    there = [phase_job(name, state, *chain[name]) for name, state in zip(chain, states.split(), strict=True) if state != "-"]
    found = outlook(there, goal="c")
    assert [job.phase for job in found.release] == release
    assert list(found.missing) == missing
    assert found.finished == states.endswith("complete")


def test_status_is_a_table(cluster: FakeCluster) -> None:
    cluster.outcomes["adapt"] = "Container phase failed with exit code 2"
    with pytest.raises(NotReadyError):
        run_round()
    done = selfsyn("k8s", "status", "--run", "demo")
    assert done.returncode == 3, done.stderr
    lines = done.stdout.splitlines()
    coordinator = lines.pop(1).split()
    assert coordinator[:3] == ["1", "coordinator", "starting"]
    assert [line.split() for line in lines[:3]] == [
        ["ROUND", "PHASE", "STATE", "DONE", "FAILED", "PODS", "TIME"],
        ["1", "world", "complete", "1/1", "0:01:30"],
        ["1", "train-source-only", "complete", "1/1", "0:01:30"],
    ]
    adapt = next(line for line in lines if line.split()[1] == "adapt")
    assert adapt.split()[2] == "failed" and "PodFailurePolicy: Container phase failed with exit code 2" in adapt
    assert "0/4" in next(line for line in lines if "pseudo-label-1" in line)
    assert lines[-1].split()[:3] == ["1", "report-1", "waiting"]
    names = [line.split()[1] for line in lines[1:]]
    assert all(names.index(before) < names.index(phase) for phase in AFTER for before in AFTER[phase])


def test_status_of_a_run_that_is_not_there(cluster: FakeCluster) -> None:
    code, said = selfsyn_here("k8s", "status", "--run", "nobody")
    assert code == 2 and "no phase of run 'nobody'" in said
