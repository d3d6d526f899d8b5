"""Phases as Jobs of a Kubernetes cluster: what `selfsyn round` does on one machine, with a coordinator in its place.

It lives under jobs/ because it is a way to run them: it knows phases, verbs and images, and nothing of learning. Steps and
manifests are pure functions; only `api` talks to a cluster. Nothing here imports torch.
"""

from __future__ import annotations

from importlib.util import find_spec

from selfsyn.errors import InputError

if find_spec("lightkube") is None:
    raise InputError("packages for Kubernetes are missing; install them with `pip install 'selfsyn[k8s]'`")
