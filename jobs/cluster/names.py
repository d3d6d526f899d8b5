"""The labels and annotations that manifests, the coordinator and `selfsyn k8s status` share."""

from __future__ import annotations

RUN = "selfsyn/run"  # label: the run's name
ROUND = "selfsyn/round"  # label: the round whose manifest this object belongs to
PHASE = "selfsyn/phase"  # label of every phase's Job and its pods: the step's name
DEVICE = "selfsyn/device"  # label: cuda or cpu, on phases that take --device; overlays select by it
CONFIGURATION = "selfsyn/configuration"  # label of every phase's Job: the digest of the run's configuration
AFTER = "selfsyn/after"  # annotation: the phases that must be complete before this one, separated by commas
FIELD_MANAGER = "selfsyn-coordinator"
QUEUE = "kueue.x-k8s.io/queue-name"  # Kueue's label: Kueue starts a suspended Job with this label when there is quota
