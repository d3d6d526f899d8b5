"""The rivals of the comparison. Each has a file with its row and its specific loss terms, and is listed in RIVALS."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from selfsyn.compare.rivals import adabn, adaptsegnet, cycada, mrnet, seg_uncertainty
from selfsyn.config import RunConfig
from selfsyn.errors import InputError
from selfsyn.randomness import torch_seed
from selfsyn.task.objective import ExtraTerm

RIVALS = (adabn.ROW, cycada.ROW, adaptsegnet.ROW, mrnet.ROW, seg_uncertainty.ROW)


def extra_terms(config: RunConfig, *, purpose: str, device: torch.device) -> Sequence[ExtraTerm]:
    """The loss terms of the rival `rival.method`, initialised from (seed, purpose); empty without a method.

    InputError for an unknown method.
    """
    if not config.rival.method:
        return ()
    row = next((row for row in RIVALS if row.name == config.rival.method), None)
    if row is None:
        known = ", ".join(row.name for row in RIVALS)
        raise InputError(f"run.toml: rival.method is {config.rival.method!r}; expected one of {known}, or '' for none")
    torch.manual_seed(torch_seed(config.seed, f"{purpose} discriminators"))
    return row.terms(config, device)
