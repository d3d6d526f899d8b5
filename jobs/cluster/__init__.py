"""Runs phases as Jobs of a Kubernetes cluster. A coordinator does what `selfsyn round` does on one machine.

This package knows phases, verbs and images, and nothing about learning. Steps and manifests are pure functions; only `api`
talks to a cluster. Nothing here imports torch.
"""

from __future__ import annotations

from selfsyn.packages import require

require("lightkube")
