"""The same round as an Argo Workflow. Argo's controller replaces the coordinator."""

from __future__ import annotations

from typing import Any

from jobs.cluster import manifests, pods
from jobs.cluster.plan import Plan
from jobs.cluster.steps import Step, steps
from jobs.cluster.text import Line, Object, Quantity, to_yaml
from selfsyn.config import RunConfig

# Retry everything but wrong input (exit code 2). A pod that the cluster removed has none of our exit codes.
RETRY = {"limit": Quantity(str(manifests.TRIES)), "retryPolicy": "Always", "expression": "asInt(lastRetry.exitCode) != 2"}
# Argo's executor in each pod reports results; the Argo installation must give this account the rights for it.
ACCOUNT = "argo-workflow"


def render(config: RunConfig, *, plan: Plan) -> str:
    """-> the YAML of the round: a config map, and a Workflow whose DAG has a task for each step."""
    title = (
        f"# Round {plan.round_} of the run {plan.run!r} as an Argo Workflow, written by `selfsyn k8s render --as argo`: the\n"
        "# commands, images and limits of the Jobs, with Argo's controller in the coordinator's place. Needs k8s/storage.yaml,\n"
        f"# and the service account {ACCOUNT!r} with the rights that Argo's executor wants (see Argo's documentation)."
    )
    parts = [manifests.configuration(config, plan), workflow(config, plan)]
    return title + "\n" + "---\n".join(to_yaml(part) for part in parts)


def workflow(config: RunConfig, plan: Plan) -> Object:
    """The Workflow without the config map."""
    graph = steps(config, round_=plan.round_)
    tasks = [_task(step, plan) for step in graph]
    return manifests.described("argoproj.io/v1alpha1", "Workflow", f"{plan.run}-round-{plan.round_}", plan) | {
        "spec": {
            "entrypoint": "round",
            "serviceAccountName": ACCOUNT,
            "automountServiceAccountToken": False,
            "ttlStrategy": {"secondsAfterCompletion": manifests.KEPT},
            "securityContext": pods.pod_security(),
            "volumes": pods.volumes(plan, configured=True),
            "templates": [{"name": "round", "dag": {"tasks": tasks}}, *(_template(step, plan) for step in graph)],
        }
    }


def _task(step: Step, plan: Plan) -> Object:
    task: Object = {"name": step.name, "template": step.name}
    if step.after:
        task["dependencies"] = list(step.after)
    if step.phase.facts.indexed:
        task["arguments"] = {"parameters": [{"name": "shard", "value": "{{item}}"}]}
        task["withSequence"] = {"count": Quantity(str(plan.shards))}
    return task


def _template(step: Step, plan: Plan) -> Object:
    pod = pods.pod(step, plan)
    container = {name: value for name, value in pod["containers"][0].items() if name not in ("name", "terminationMessagePolicy")}
    template: Object = {"name": step.name, "activeDeadlineSeconds": step.phase.facts.deadline, "retryStrategy": RETRY}
    template |= {name: pod[name] for name in ("tolerations", "initContainers") if name in pod}
    if step.phase.facts.indexed:
        template["parallelism"] = plan.at_once
        template["inputs"] = {"parameters": [{"name": "shard"}]}
        container["args"] = Line([*container["args"], "--shard", "{{inputs.parameters.shard}}"])
    return template | {"metadata": pods.metadata(step, plan), "container": _ordered(container)}


def _ordered(container: dict[str, Any]) -> Object:
    return {
        name: container[name] for name in ("image", "imagePullPolicy", "args", "resources", "securityContext", "volumeMounts")
    }
