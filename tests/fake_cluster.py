"""An HTTP API server for Jobs and their controller, as far as a coordinator can tell it from a cluster's.

It knows label selectors, pages, merge patches with conflicts, immutable templates, bearer tokens, the rights of the rendered
Role, and whatever faults a test orders. A released Job runs for some looks and then ends as its script says.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Document = dict[str, Any]
Fault = Callable[[BaseHTTPRequestHandler], bool]  # True: it has answered
PATH = "/apis/batch/v1/namespaces/{namespace}/jobs"
OTHERS = {
    "/apis/rbac.authorization.k8s.io/v1/namespaces/selfsyn": ("roles", "rolebindings"),
    "/api/v1/namespaces/selfsyn": ("serviceaccounts", "configmaps", "pods", "events"),
}
KINDS = {"Role": "roles", "RoleBinding": "rolebindings", "ServiceAccount": "serviceaccounts", "ConfigMap": "configmaps"}
THEN = "2026-01-01T00:00:00Z"


class FakeCluster:
    """The state: Jobs by name, what happened, and what is to go wrong."""

    def __init__(self, *, token: str = "first", lasts: int = 1) -> None:
        self.jobs: dict[str, Document] = {}
        self.coordinators: dict[str, Document] = {}
        self.objects: dict[str, dict[str, Document]] = {plural: {} for plurals in OTHERS.values() for plural in plurals}
        self.stops_after = 0  # lists for which a deleted Job is still there, while its pods end
        self.rights: list[Document] | None = None  # of the Role; None allows everything
        self.token = token
        self.lasts = lasts  # looks for which a Job runs
        self.outcomes: dict[str, str] = {}  # phase -> what its failed Job says; others complete
        self.faults: list[Fault] = []  # each is for one list
        self.patch_faults: list[Fault] = []  # each is for one patch
        self.events: list[str] = []  # 'release train-0', 'complete train-0', ...
        self.refused: list[str] = []  # what the Role does not allow
        self.on_look: Callable[[int], None] = lambda number: None
        self.looks = self.version = 0
        self.lock = threading.RLock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> FakeCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def kubeconfig(self, folder: Path, *, namespace: str = "selfsyn") -> Path:
        """A kubeconfig for this server, whose token is read from a file, as in a pod."""
        (folder / "token").write_text(self.token)
        path = folder / "kubeconfig"
        values = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "us", "namespace": namespace}}],
            "clusters": [{"name": "here", "cluster": {"server": self.url}}],
            "users": [{"name": "us", "user": {"tokenFile": str(folder / "token")}}],
        }
        path.write_text(yaml.safe_dump(values))
        return path

    def apply(self, manifest: str, *, server_side: bool = False) -> None:
        """`kubectl apply`: makes what is missing, changes labels, and refuses another pod template.

        The client-side one puts `suspend` back where it stands in the file; `server_side` is refused a Job that the
        coordinator has released. Refusals of either are noted, and change nothing.
        """
        with self.lock:
            for document in yaml.safe_load_all(manifest):
                if document["kind"] == "Role":
                    self.rights = document["rules"]
                if document["kind"] in KINDS:
                    self.objects[KINDS[document["kind"]]][document["metadata"]["name"]] = copy.deepcopy(document)
                elif "selfsyn/phase" in document["metadata"]["labels"]:
                    self._apply_job(document, server_side=server_side)
                elif document["kind"] == "Job":
                    made = copy.deepcopy(document) | {"status": {"startTime": THEN}}
                    self.touch(self.coordinators.setdefault(document["metadata"]["name"], made))

    def coordinator_ends(self, kind: str, why: str = "") -> None:
        """Give the coordinator's Job the condition 'Failed' or 'Complete'."""
        for job in self.coordinators.values():
            job["status"]["conditions"] = [{"type": kind, "status": "True", "lastTransitionTime": THEN, "message": why}]

    def add_pod(self, phase: str, status: Document, name: str = "") -> str:
        """A pod of a phase, or of the coordinator; -> its name."""
        jobs = [*self.jobs.values(), *self.coordinators.values()]
        job = next(job for job in jobs if job["metadata"]["labels"].get("selfsyn/phase", "coordinator") == phase)
        name = name or f"{job['metadata']['name']}-{len(self.objects['pods'])}"
        labels = job["spec"]["template"]["metadata"]["labels"] | {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
        created = f"2026-01-01T00:{len(self.objects['pods']):02}:00Z"
        metadata = {"name": name, "namespace": "selfsyn", "labels": labels, "creationTimestamp": created}
        self.objects["pods"][name] = {"metadata": metadata, "spec": {"containers": []}, "status": status}
        return name

    def warn(self, name: str, reason: str, message: str) -> None:
        """A warning about a pod or a Job."""
        about = {"involvedObject": {"name": name}, "type": "Warning", "reason": reason, "message": message}
        number = str(len(self.objects["events"]))
        self.objects["events"][number] = about | {"metadata": {"name": number}, "lastTimestamp": THEN}

    def phase(self, name: str) -> Document:
        return next(job for job in self.jobs.values() if job["metadata"]["labels"]["selfsyn/phase"] == name)

    def delete(self, phase: str) -> None:
        with self.lock:
            del self.jobs[self.phase(phase)["metadata"]["name"]]

    def state(self, phase: str) -> str:
        job = self.phase(phase)
        ended = [condition["type"] for condition in job["status"].get("conditions", [])]
        return ended[0] if ended else "suspended" if job["spec"]["suspend"] else "running"

    def _apply_job(self, document: Document, *, server_side: bool) -> None:
        name = document["metadata"]["name"]
        job = self.jobs.setdefault(name, copy.deepcopy(document) | {"status": {}})
        suspended_again = job["spec"]["suspend"] != document["spec"]["suspend"]
        if job["spec"]["template"] != document["spec"]["template"] or (server_side and suspended_again):
            self.events.append(f"keep {job['metadata']['labels']['selfsyn/phase']}")
            return
        if suspended_again:
            job["spec"]["suspend"] = document["spec"]["suspend"]
            job["status"].pop("startTime", None)
        job["metadata"]["labels"] = dict(document["metadata"]["labels"])
        self.touch(job)

    def touch(self, job: Document) -> None:
        self.version += 1
        job["metadata"]["resourceVersion"] = str(self.version)
        job["metadata"].setdefault("uid", f"uid-{self.version}")

    def look(self) -> None:
        """The Job controller, one step at each look of the coordinator."""
        self.looks += 1
        self.on_look(self.looks)
        for job in self.jobs.values():
            phase, status = job["metadata"]["labels"]["selfsyn/phase"], job["status"]
            if job["spec"]["suspend"] or "conditions" in status:
                continue
            status.setdefault("startTime", THEN)
            status["looks"] = status.get("looks", 0) + 1
            if status["looks"] > self.lasts:
                self._end(phase, status)
                self.touch(job)

    def end_deleted(self) -> None:
        """Forget the deleted Jobs whose pods have ended."""
        for store in (self.jobs, self.coordinators):
            for name in [name for name, job in store.items() if "left" in job]:
                store[name]["left"] -= 1
                if store[name]["left"] < 0:
                    del store[name]

    def _end(self, phase: str, status: Document) -> None:
        why = self.outcomes.get(phase)
        kind = "Failed" if why else "Complete"
        condition = {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:01:30Z"}
        status["conditions"] = [condition | ({"reason": "PodFailurePolicy", "message": why} if why else {})]
        status["succeeded"], status["failed"] = (0, 1) if why else (1, 0)
        self.events.append(f"{kind.lower()} {phase}")

    def allowed(self, verb: str, name: str = "") -> bool:
        if self.rights is None:
            return True
        return any(
            verb in rule["verbs"] and (not rule.get("resourceNames") or name in rule["resourceNames"]) for rule in self.rights
        )


def answer(handler: BaseHTTPRequestHandler, code: int, body: Document | str, **headers: str) -> bool:
    """Send a JSON object, or text as it is; -> True."""
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    handler.send_response(code)
    for name, value in ({"Content-Type": "text/plain" if isinstance(body, str) else "application/json"} | headers).items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)
    return True


def status(code: int, message: str) -> Document:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}


def refuse(code: int, message: str = "no", **headers: str) -> Fault:
    """A fault: answer with an error's Status."""
    return lambda handler: answer(handler, code, status(code, message), **headers)


def garbage(body: str, code: int = 200, **headers: str) -> Fault:
    """A fault: answer with something that is none of Kubernetes'."""
    return lambda handler: answer(handler, code, body, **headers)


def hang_up(handler: BaseHTTPRequestHandler) -> bool:
    """A fault: no answer at all."""
    handler.close_connection = True
    handler.connection.close()
    return True


def slow(seconds: float) -> Fault:
    """A fault: the answer comes, but late."""

    def wait(handler: BaseHTTPRequestHandler) -> bool:
        time.sleep(seconds)
        return False

    return wait


def selected(labels: dict[str, str], selector: str) -> bool:
    """Equality and existence, as in 'selfsyn/run=demo,selfsyn/phase'."""
    for term in filter(None, selector.split(",")):
        name, equals, value = term.partition("=")
        if name not in labels or (equals and labels[name] != value.lstrip("=")):
            return False
    return True


def _handler(cluster: FakeCluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # one packet for an answer, or each waits for an acknowledgement

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            with cluster.lock:
                plural = urlsplit(self.path).path.rsplit("/", 1)[1]
                if not self._admitted("list"):
                    return
                if plural == "jobs":
                    cluster.look()
                    self._list([*cluster.coordinators.values(), *cluster.jobs.values()])
                    cluster.end_deleted()
                else:
                    self._list(list(cluster.objects[plural].values()))

        def do_PATCH(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            name = urlsplit(self.path).path.rsplit("/", 1)[1]
            with cluster.lock:
                if not self._admitted("patch", name):
                    return
                if self.headers["Content-Type"] == "application/apply-patch+yaml":
                    self._apply(name, json.loads(data))
                else:
                    self._patch(name, json.loads(data))

        def do_DELETE(self) -> None:
            *_, plural, name = urlsplit(self.path).path.split("/")
            with cluster.lock:
                if self._admitted("delete", name):
                    self._delete(plural, name)

        def do_POST(self) -> None:
            self._admitted("create")
            answer(self, 405, status(405, "the fake makes Jobs by apply"))

        do_PUT = do_POST

        def _admitted(self, verb: str, name: str = "") -> bool:
            try:
                faults = cluster.patch_faults if verb == "patch" else cluster.faults
                if faults and faults.pop(0)(self):
                    return False
            except BrokenPipeError:
                return False
            if self.headers.get("Authorization") != f"Bearer {cluster.token}":
                return not answer(self, 401, status(401, "Unauthorized"))
            path = urlsplit(self.path).path
            known = path.startswith(PATH.format(namespace="selfsyn")) or (
                cluster.rights is None
                and path.startswith(tuple(f"{group}/{one}" for group, all_ in OTHERS.items() for one in all_))
            )
            if not known or not cluster.allowed(verb, name):
                cluster.refused.append(f"{verb} {self.path}")
                return not answer(self, 403, status(403, f"jobs.batch {name!r} is forbidden: cannot {verb}"))
            return True

        def _list(self, objects: list[Document]) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            jobs = [job for job in objects if selected(job["metadata"].get("labels", {}), query.get("labelSelector", ""))]
            first, most = int(query.get("continue", 0)), min(5, int(query.get("limit", 500)))  # a server may give less than asked
            more = {"continue": str(first + most)} if first + most < len(jobs) else {}
            metadata = {"resourceVersion": str(cluster.version), **more}
            shown = [_served(job) for job in jobs]
            answer(
                self,
                200,
                {"kind": "JobList", "apiVersion": "batch/v1", "metadata": metadata, "items": shown[first : first + most]},
            )

        def _patch(self, name: str, change: Document) -> None:
            job = cluster.jobs.get(name)
            if job is None:
                answer(self, 404, status(404, f'jobs.batch "{name}" not found'))
            elif self.headers["Content-Type"] != "application/merge-patch+json":
                answer(self, 415, status(415, f"the media type {self.headers['Content-Type']} is not the one meant"))
            elif (
                change.get("metadata", {}).get("resourceVersion", job["metadata"]["resourceVersion"])
                != job["metadata"]["resourceVersion"]
            ):
                answer(self, 409, status(409, "the object has been modified; please apply your changes to the latest version"))
            elif merged(job, change)["spec"]["template"] != job["spec"]["template"]:
                answer(self, 422, status(422, "spec.template: Invalid value: field is immutable"))
            else:
                self._change(job, change)

        def _apply(self, name: str, body: Document) -> None:
            """Server-side apply of a Job that is not there; refuses what the server itself sets, as the API server does."""
            query = parse_qs(urlsplit(self.path).query)
            metadata, template = body["metadata"], body["spec"]["template"]["metadata"]
            own = {"uid", "resourceVersion", "managedFields"} & set(metadata)
            own |= {"selector"} & set(body["spec"]) | {label for label in template["labels"] if label.endswith("controller-uid")}
            if own or "fieldManager" not in query or name in {**cluster.jobs, **cluster.coordinators}:
                answer(self, 422, status(422, f"Invalid value: {own or query or name}"))
                return
            cluster.apply(yaml.safe_dump(body))
            cluster.events.append(
                f"create {metadata['labels'].get('selfsyn/phase', 'coordinator')} as {query['fieldManager'][0]}"
            )
            answer(self, 201, body)

        def _delete(self, plural: str, name: str) -> None:
            query = parse_qs(urlsplit(self.path).query)
            stores = [cluster.jobs, cluster.coordinators] if plural == "jobs" else [cluster.objects[plural]]
            found = next((store for store in stores if name in store), None)
            if found is None:
                answer(self, 404, status(404, f"{plural} {name!r} not found"))
                return
            assert query["propagationPolicy"] == ["Foreground"], query
            cluster.events.append(f"delete {plural} {name}")
            if plural == "jobs":
                found[name]["metadata"]["deletionTimestamp"] = THEN
                found[name]["left"] = cluster.stops_after
                cluster.end_deleted()
            else:
                del found[name]
            answer(self, 200, status(200, "deleted"))

        def _change(self, job: Document, change: Document) -> None:
            phase = job["metadata"]["labels"]["selfsyn/phase"]
            before = job["spec"]["suspend"]
            job.update(merged(job, change))
            cluster.touch(job)
            cluster.events.append(f"{'release' if before and not job['spec']['suspend'] else 'patch'} {phase}")
            answer(self, 200, job)

    return Handler


def merged(value: Document, change: Document) -> Document:
    """RFC 7396."""
    result = dict(value)
    for name, new in change.items():
        if new is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name) or {}, new) if isinstance(new, dict) else new
    return result


def _served(body: Document) -> Document:
    """An object as an API server shows it, with what it and the Job controller add."""
    served = copy.deepcopy({key: value for key, value in body.items() if key != "left"})
    served["status"] = {name: value for name, value in body.get("status", {}).items() if name != "looks"}
    served["metadata"].setdefault("managedFields", [{"manager": "kubectl", "operation": "Apply", "fieldsV1": {}}])
    if "template" in served.get("spec", {}):
        name, uid = served["metadata"]["name"], served["metadata"]["uid"]
        served["spec"]["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
        served["spec"]["template"]["metadata"]["labels"] |= {
            "controller-uid": uid,
            "job-name": name,
            "batch.kubernetes.io/controller-uid": uid,
            "batch.kubernetes.io/job-name": name,
        }
        served["spec"]["template"]["metadata"]["creationTimestamp"] = None
    return served
