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
# Argo's executor in each pod reports results; the Argo installation must give this account the rights for it. The pods mount
# its token: without it Argo wants a second account and a secret.
ACCOUNT = "argo-workflow"
ONE = "-shard"  # ends the name of the template of one shard; `parallelism` may stand in a DAG, not in a container


def render(config: RunConfig, *, plan: Plan) -> str:
    """-> the YAML of the round: a config map, and a Workflow whose DAG has a task for each step."""
    title = (
        f"# Round {plan.round_} of the run {plan.run!r} as an Argo Workflow, written by `selfsyn k8s render --as argo`: the\n"
        "# commands, images and limits of the Jobs, with Argo's controller in the coordinator's place. Needs k8s/storage.yaml,\n"
        f"# and the service account {ACCOUNT!r} with the rights that Argo's executor wants (see Argo's documentation)."
    )
    parts = [manifests.configuration(config, plan), _executors_to_api_server(plan), workflow(config, plan)]
    return title + "\n" + "---\n".join(to_yaml(part) for part in parts)


def workflow(config: RunConfig, plan: Plan) -> Object:
    """The Workflow without the config map."""
    graph = steps(config, round_=plan.round_)
    tasks = [_task(step) for step in graph]
    return manifests.described("argoproj.io/v1alpha1", "Workflow", f"{plan.run}-round-{plan.round_}", plan) | {
        "spec": {
            "entrypoint": "round",
            "serviceAccountName": ACCOUNT,
            "ttlStrategy": {"secondsAfterCompletion": manifests.KEPT},
            "securityContext": pods.pod_security(),
            "volumes": pods.volumes(plan, configured=True),
            "templates": [{"name": "round", "dag": {"tasks": tasks}}, *(one for step in graph for one in _templates(step, plan))],
        }
    }


def _executors_to_api_server(plan: Plan) -> Object:
    """A network policy: k8s/storage.yaml lets the pods of a phase reach nobody."""
    name = f"{plan.run}-round-{plan.round_}"
    return manifests.described("networking.k8s.io/v1", "NetworkPolicy", f"{name}-to-api-server", plan) | {
        "spec": {
            "podSelector": {"matchLabels": {"workflows.argoproj.io/workflow": name}},
            "policyTypes": Line(["Egress"]),
            "egress": [{}],
        }
    }


def _task(step: Step) -> Object:
    task: Object = {"name": step.name, "template": step.name}
    if step.after:
        task["dependencies"] = list(step.after)
    return task


def _templates(step: Step, plan: Plan) -> list[Object]:
    """The template of a step; for a step in shards that of one shard, too."""
    if not step.phase.facts.indexed:
        return [_template(step, plan, name=step.name)]
    one = step.name + ONE
    shards: Object = {"name": "shards", "template": one}
    shards["arguments"] = {"parameters": [{"name": "shard", "value": "{{item}}"}]}
    shards["withSequence"] = {"count": Quantity(str(plan.shards))}
    every: Object = {"name": step.name, "parallelism": plan.at_once, "dag": {"tasks": [shards]}}
    return [every, _template(step, plan, name=one)]


def _template(step: Step, plan: Plan, *, name: str) -> Object:
    pod = pods.pod(step, plan)
    container = {key: value for key, value in pod["containers"][0].items() if key not in ("name", "terminationMessagePolicy")}
    template: Object = {"name": name, "activeDeadlineSeconds": step.phase.facts.deadline, "retryStrategy": RETRY}
    template |= {key: pod[key] for key in ("tolerations", "initContainers") if key in pod}
    if step.phase.facts.indexed:
        template["inputs"] = {"parameters": [{"name": "shard"}]}
        container["args"] = Line([*container["args"], "--shard", "{{inputs.parameters.shard}}"])
    return template | {"metadata": pods.metadata(step, plan), "container": _ordered(container)}


def _ordered(container: dict[str, Any]) -> Object:
    return {
        name: container[name] for name in ("image", "imagePullPolicy", "args", "resources", "securityContext", "volumeMounts")
    }
