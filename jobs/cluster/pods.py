"""The pod of a step: image, command, resources, volumes, and the settings of the `restricted` pod security standard."""

from __future__ import annotations

from jobs.cluster.names import DEVICE, PHASE, ROUND, RUN
from jobs.cluster.plan import DATA, Plan
from jobs.cluster.steps import Step
from jobs.cluster.text import Line, Object, Quantity

NOBODY = 10001  # the user id of the images; any other works as well
CONFIGURATION = "/etc/selfsyn"
NO_SIDECAR = {"sidecar.istio.io/inject": "false"}  # a service mesh's sidecar never ends, so the pod would not end


def pod(step: Step, plan: Plan) -> Object:
    """The pod of a step: container, resources and volumes, without a token for the API server."""
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
    """The arguments of a step's container. The device comes first, at a fixed place, so that overlays can replace it."""
    phase = step.phase
    device = ["--device", plan.device] if phase.facts.device else []
    # --shard comes from JOB_COMPLETION_INDEX
    labelling = ["--shards", str(plan.shards), *(["--pack"] if plan.pack else [])]
    arguments = [*phase.options, *labelling] if phase.facts.indexed else phase.options
    processes = ["--processes", str(plan.gpus)] if gpus_of(step, plan) > 1 else []
    return [phase.verb, *device, "--run", plan.folder, *arguments, *processes]


def pod_security() -> Object:
    """The pod settings of the `restricted` pod security standard, and a group that may write to the volume."""
    return {
        "runAsNonRoot": True,
        "runAsUser": NOBODY,
        "runAsGroup": NOBODY,
        "fsGroup": NOBODY,
        "fsGroupChangePolicy": "OnRootMismatch",  # the default visits every file of the volume at each start
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Object:
    """The container settings of `restricted`, and a read-only root file system."""
    return {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": Line(["ALL"])}}


def _init(plan: Plan, image: str) -> Object:
    """The init container: writes the configuration into the run folder, or fails if the folder has a different one."""
    init = container("init", plan.image(image), ["init", f"{CONFIGURATION}/run.toml", "--run", plan.folder])
    init["resources"] = amounts("100m", "512Mi")
    init["volumeMounts"] = mounts("data", "tmp", "configuration")
    return init


def container(name: str, image: str, arguments: list[str]) -> Object:
    """The fields that all our containers share."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": Line(arguments),
        "terminationMessagePolicy": "FallbackToLogsOnError",  # `kubectl describe pod` shows our error line
        "securityContext": container_security(),
    }


def _resources(plan: Plan, *, computes: bool, gpus: int) -> Object:
    found = amounts(plan.cpu, plan.memory) if computes else amounts("500m", "4Gi")
    if gpus:
        found["limits"]["nvidia.com/gpu"] = Quantity(str(gpus))
    return found


def gpus_of(step: Step, plan: Plan) -> int:
    """The number of GPUs that a step can use: all for a training, 1 for other steps."""
    return plan.gpus if step.phase.facts.processes else 1


def amounts(cpu: str, memory: str) -> Object:
    """Requests and limits. CPU has no limit, so that a phase can use idle cores; memory is limited to its request."""
    return {"requests": {"cpu": Quantity(cpu), "memory": Quantity(memory)}, "limits": {"memory": Quantity(memory)}}


def mounts(*names: str) -> list[Object]:
    """The mounts of the volumes `data`, `tmp` and `configuration` in a container."""
    paths = {"data": DATA, "tmp": "/tmp", "configuration": CONFIGURATION}
    return [{"name": name, "mountPath": paths[name]} | ({"readOnly": True} if name == "configuration" else {}) for name in names]


def volumes(plan: Plan, *, configured: bool) -> list[Object]:
    """The volumes of a pod; with `configured` also the config map."""
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
    """The labels of a step's Job and pods, by which the coordinator and overlays select it."""
    device = {DEVICE: plan.device} if step.phase.facts.device else {}
    return shared_labels(plan) | {"app.kubernetes.io/component": step.phase.verb, PHASE: step.name} | device


def metadata(step: Step, plan: Plan) -> Object:
    """The labels of a step's pods."""
    return {"labels": labels(step, plan) | NO_SIDECAR}
