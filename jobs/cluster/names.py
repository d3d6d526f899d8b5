"""The words by which the manifests, the coordinator and `selfsyn k8s status` know each other."""

from __future__ import annotations

RUN = "selfsyn/run"  # label: the run's name
ROUND = "selfsyn/round"  # label: the round whose manifest this object belongs to
PHASE = "selfsyn/phase"  # label: on every Job that is a phase, and on its pods
DEVICE = "selfsyn/device"  # label: cuda or cpu, on phases that compute; overlays find them by it
AFTER = "selfsyn/after"  # annotation: the phases that must be complete before this one, separated by commas
FIELD_MANAGER = "selfsyn-coordinator"
QUEUE = "kueue.x-k8s.io/queue-name"  # Kueue's label: it starts a suspended Job that has it when there is quota
