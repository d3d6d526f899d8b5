"""The pod of a step: image, command, resources, volumes, and what the `restricted` pod security standard asks for."""

from __future__ import annotations

from jobs.cluster.names import DEVICE, PHASE, ROUND, RUN
from jobs.cluster.plan import DATA, Plan
from jobs.cluster.steps import Step
from jobs.cluster.text import Line, Object, Quantity

NOBODY = 10001  # the images' user; any other number works as well
CONFIGURATION = "/etc/selfsyn"
NO_SIDECAR = {"sidecar.istio.io/inject": "false"}  # a service mesh's sidecar never ends, and neither would the pod


def pod(step: Step, plan: Plan) -> Object:
    """The pod of a step: its container, what it may use, and no token of the cluster."""
    verb = step.phase.facts
    main = container("phase", plan.image(verb.image), command(step, plan))
    gpu = verb.device and plan.device == "cuda"
    main["resources"] = _resources(plan, computes=verb.device, gpus=gpus_of(step, plan) if gpu else 0)
    main["volumeMounts"] = [*mounts("data", "tmp"), {"name": "shm", "mountPath": "/dev/shm"}]
    spec: Object = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": verb.grace,
        "securityContext": pod_security(),
    }
    if gpu:
        spec["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    if step.first:
        spec["initContainers"] = [_init(plan, verb.image)]
    spec["containers"] = [main]
    spec["volumes"] = volumes(plan, configured=step.first)
    return spec


def command(step: Step, plan: Plan) -> list[str]:
    """The arguments of a step's container. The device stands first, at a place that an overlay can name."""
    phase = step.phase
    device = ["--device", plan.device] if phase.facts.device else []
    # --shard comes from JOB_COMPLETION_INDEX
    arguments = [*phase.options, "--shards", str(plan.shards)] if phase.facts.indexed else phase.options
    processes = ["--processes", str(plan.gpus)] if gpus_of(step, plan) > 1 else []
    return [phase.verb, *device, "--run", plan.folder, *arguments, *processes]


def pod_security() -> Object:
    """What the `restricted` pod security standard asks of a pod, and a group that may write to the volume."""
    return {
        "runAsNonRoot": True,
        "runAsUser": NOBODY,
        "runAsGroup": NOBODY,
        "fsGroup": NOBODY,
        "fsGroupChangePolicy": "OnRootMismatch",  # the default walks over every file of the volume at each start
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Object:
    """What `restricted` asks of a container, and a root file system that nobody writes to."""
    return {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": Line(["ALL"])}}


def _init(plan: Plan, image: str) -> Object:
    """Puts the configuration into the run folder, and refuses when another one is there."""
    init = container("init", plan.image(image), ["init", f"{CONFIGURATION}/run.toml", "--run", plan.folder])
    init["resources"] = amounts("100m", "512Mi")
    init["volumeMounts"] = mounts("data", "tmp", "configuration")
    return init


def container(name: str, image: str, arguments: list[str]) -> Object:
    """What every container of ours has."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": Line(arguments),
        "terminationMessagePolicy": "FallbackToLogsOnError",  # `kubectl describe pod` shows our one line
        "securityContext": container_security(),
    }


def _resources(plan: Plan, *, computes: bool, gpus: int) -> Object:
    found = amounts(plan.cpu, plan.memory) if computes else amounts("500m", "4Gi")
    if gpus:
        found["limits"]["nvidia.com/gpu"] = Quantity(str(gpus))
    return found


def gpus_of(step: Step, plan: Plan) -> int:
    """How many GPUs a step that computes can use: a training all, others one."""
    return plan.gpus if step.phase.facts.processes else 1


def amounts(cpu: str, memory: str) -> Object:
    """No CPU limit: cores that nobody else asks for are ours. Memory is limited to what was asked for."""
    return {"requests": {"cpu": Quantity(cpu), "memory": Quantity(memory)}, "limits": {"memory": Quantity(memory)}}


def mounts(*names: str) -> list[Object]:
    """Where a container sees the volumes `data`, `tmp` and `configuration`."""
    paths = {"data": DATA, "tmp": "/tmp", "configuration": CONFIGURATION}
    return [{"name": name, "mountPath": paths[name]} | ({"readOnly": True} if name == "configuration" else {}) for name in names]


def volumes(plan: Plan, *, configured: bool) -> list[Object]:
    """The volumes of a pod; `configured` ones see the config map as well."""
    found: list[Object] = [
        {"name": "data", "persistentVolumeClaim": {"claimName": plan.claim}},
        {"name": "tmp", "emptyDir": {"sizeLimit": Quantity("4Gi")}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": Quantity("1Gi")}},
    ]
    return [*found, {"name": "configuration", "configMap": {"name": plan.configuration}}] if configured else found


def shared_labels(plan: Plan) -> dict[str, str]:
    """The labels of every object of a round."""
    return {
        "app.kubernetes.io/name": "selfsyn",
        "app.kubernetes.io/instance": plan.run,
        "app.kubernetes.io/version": plan.version,
        "app.kubernetes.io/part-of": "selfsyn",
        RUN: plan.run,
        ROUND: str(plan.round_),
    }


def labels(step: Step, plan: Plan) -> dict[str, str]:
    """The labels of a step's Job and pods, by which the coordinator and overlays find it."""
    device = {DEVICE: plan.device} if step.phase.facts.device else {}
    return shared_labels(plan) | {"app.kubernetes.io/component": step.phase.verb, PHASE: step.name} | device


def metadata(step: Step, plan: Plan) -> Object:
    """The labels of a step's pods."""
    return {"labels": labels(step, plan) | NO_SIDECAR}
