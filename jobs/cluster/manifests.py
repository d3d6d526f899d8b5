"""The steps of a round -> Kubernetes objects, by a pure function. k8s/round.yaml is its output for round 1 of the demo."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.cluster import pods
from jobs.cluster.names import AFTER, CONFIGURATION
from jobs.cluster.plan import Plan
from jobs.cluster.steps import Step, steps
from jobs.cluster.text import Line, Object, Quantity, to_yaml
from selfsyn.config import RunConfig, to_toml
from selfsyn.files import digest_bytes
from selfsyn.verbs import DAY

LONGEST = 30 * DAY  # of a round, including the time that it waits for GPUs
KEPT = LONGEST  # finished Jobs stay this long, because the coordinator needs them until the round ends
TRIES = 4  # after the first; the back-off (10, 20, 40, 80 s) is longer than a network volume needs to show files on other nodes
RIGHTS = """\
# What the coordinator may do: see the Jobs of this namespace, and patch those of this round. It cannot create one, and a Job's
# program cannot be changed afterwards: nothing else can be started with these rights."""
DUTY = "# Releases each phase when those before it are complete. Holds no GPU and no state: it may be started again at any time."
COORDINATOR = {"app.kubernetes.io/component": "coordinator"}


def render(config: RunConfig, *, plan: Plan) -> str:
    """-> the YAML of a round: configuration, coordinator with its rights, and a suspended Job for each phase."""
    graph = steps(config, round_=plan.round_)
    parts = [
        (_title(plan, graph), configuration(config, plan)),
        (RIGHTS, _account(plan)),
        ("", _role(plan, graph)),
        ("", _binding(plan)),
        (DUTY, _coordinator(plan, graph)),
    ]
    parts += [(_heading(step, number, len(graph)), job(step, plan)) for number, step in enumerate(graph, start=1)]
    return "---\n".join(f"{comment}\n{to_yaml(body)}".lstrip("\n") for comment, body in parts)


def job(step: Step, plan: Plan) -> Object:
    """The suspended Job of a step. Labelling is an Indexed Job with an index for each shard."""
    spec: Object = {
        "suspend": True,
        "activeDeadlineSeconds": step.phase.facts.deadline,
        "ttlSecondsAfterFinished": KEPT,
        **(_indexes(plan) if step.phase.facts.indexed else {"backoffLimit": TRIES}),
        "podReplacementPolicy": "Failed",  # other policies would let two attempts write at the same time
        "podFailurePolicy": failure_policy(),
        "template": {"metadata": pods.metadata(step, plan), "spec": pods.pod(step, plan)},
    }
    labels = pods.labels(step, plan) | {CONFIGURATION: plan.configured}  # not of the pod, whose template cannot be changed
    metadata = {"name": plan.job_name(step.name), "namespace": plan.namespace, "labels": labels}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata | {"annotations": {AFTER: ",".join(step.after)}},
        "spec": spec,
    }


def failure_policy(*, final: Sequence[int] = (2,)) -> Object:
    """Our exit codes (docs/operations.md) as a pod-failure policy. The first rule that matches decides.

    2 (wrong input): the Job fails at once, because another try would fail as well. 143 (stopped after a checkpoint), or a pod
    that the cluster removed: try again without counting a failure. All other codes count as failures, also 3 (a result of an
    earlier phase is missing): on a network volume, another node may see that result a minute late.
    """
    return {
        "rules": [
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": Line(final)}},
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "Ignore", "onExitCodes": {"operator": "In", "values": Line([143])}},
        ]
    }


def _indexes(plan: Plan) -> Object:
    """A shard that fails is tried again alone. When its tries are used up, the Job fails and starts no other shard."""
    return {
        "completionMode": "Indexed",
        "completions": plan.shards,
        "parallelism": min(plan.at_once, plan.shards),
        "backoffLimitPerIndex": TRIES,
        "maxFailedIndexes": 0,
    }


def digest(config: RunConfig) -> str:
    """The part of a digest of run.toml that tells the configurations of a run apart: 8 hexadecimal digits."""
    return digest_bytes(to_toml(config).encode()).removeprefix("sha256:")[:8]


def configuration(config: RunConfig, plan: Plan) -> Object:
    """The config map with the round's run.toml."""
    return described("v1", "ConfigMap", plan.configuration, plan) | {"immutable": True, "data": {"run.toml": to_toml(config)}}


def _account(plan: Plan) -> Object:
    return described("v1", "ServiceAccount", plan.coordinator, plan) | {"automountServiceAccountToken": False}


def _role(plan: Plan, graph: Sequence[Step]) -> Object:
    names = [plan.job_name(step.name) for step in graph]
    rules = [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["patch"], "resourceNames": names},
    ]
    return described("rbac.authorization.k8s.io/v1", "Role", plan.coordinator, plan) | {"rules": rules}


def _binding(plan: Plan) -> Object:
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": plan.coordinator}
    account = {"kind": "ServiceAccount", "name": plan.coordinator, "namespace": plan.namespace}
    binding = described("rbac.authorization.k8s.io/v1", "RoleBinding", plan.coordinator, plan)
    return binding | {"roleRef": role, "subjects": [account]}


def _coordinator(plan: Plan, graph: Sequence[Step]) -> Object:
    arguments = ["coordinate", "--run", plan.run, "--round", str(plan.round_), "--goal", graph[-1].name]
    container = pods.container("coordinator", plan.image("coordinator"), arguments)
    container["resources"] = pods.amounts("50m", "128Mi")
    container["volumeMounts"] = pods.mounts("tmp")
    labels = pods.shared_labels(plan) | COORDINATOR
    spec = {
        "backoffLimit": 20,
        "activeDeadlineSeconds": LONGEST,
        "ttlSecondsAfterFinished": KEPT,
        "podReplacementPolicy": "Failed",
        # 3: a phase has failed; a person must look into it.
        "podFailurePolicy": failure_policy(final=(2, 3)),
        "template": {"metadata": {"labels": labels | pods.NO_SIDECAR}, "spec": _coordinator_pod(plan, container)},
    }
    return described("batch/v1", "Job", plan.coordinator, plan, COORDINATOR) | {"spec": spec}


def _coordinator_pod(plan: Plan, container: Object) -> Object:
    security = {name: value for name, value in pods.pod_security().items() if not name.startswith("fsGroup")}
    return {
        "restartPolicy": "Never",
        "serviceAccountName": plan.coordinator,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": security,
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": Quantity("64Mi")}}],
    }


def described(api: str, kind: str, name: str, plan: Plan, labels: dict[str, str] | None = None) -> Object:
    """The first fields of an object: kind, name, namespace, labels."""
    metadata = {"name": name, "namespace": plan.namespace, "labels": pods.shared_labels(plan) | (labels or {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata}


def _title(plan: Plan, graph: Sequence[Step]) -> str:
    return f"""\
# Round {plan.round_} of the run {plan.run!r}, {len(graph)} phases. Written by `selfsyn k8s render`: render it again, or lay an
# overlay over it, but do not edit it. It needs k8s/storage.yaml. Apply it with
#   kubectl apply --server-side -f FILE
# and never with --force-conflicts: the coordinator owns `suspend` of what it has released, and a plain second apply would
# suspend a running phase again. docs/operations.md says what else one may want to do with it.
#
# The run's configuration. The first phase puts it into the run folder, and stops if another one is there."""


def _heading(step: Step, number: int, total: int) -> str:
    after = f"after {', '.join(step.after)}" if step.after else "at once"
    return f"# Phase {number} of {total}: {step.phase.name if not step.phase.facts.indexed else step.name}, {after}."
