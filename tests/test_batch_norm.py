"""Batch-norm statistics re-estimated on real images: by hand, and at the end of a round."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_run import make, selfsyn_here
from torch import nn

from selfsyn.config import load
from selfsyn.data.frames import Frame
from selfsyn.task.batch_norm import re_estimate, real_batches


def layer() -> nn.BatchNorm2d:
    """Two channels with statistics of their own."""
    norm = nn.BatchNorm2d(2)
    norm.running_mean.copy_(torch.tensor([1.0, -1.0]))
    norm.running_var.copy_(torch.tensor([4.0, 9.0]))
    norm.num_batches_tracked.fill_(7)
    return norm


# Channel 0: batches (0, 2) and (4, 6): means 1 and 5, unbiased variances 2 and 2. Channel 1: (1, 1) and (0, 4): means 1 and 2,
# variances 0 and 8.
BATCHES = [
    torch.tensor([[0.0, 1.0], [2.0, 1.0]]).reshape(2, 2, 1, 1),
    torch.tensor([[4.0, 0.0], [6.0, 4.0]]).reshape(2, 2, 1, 1),
]


@pytest.mark.parametrize(
    ("share", "mean", "variance"),
    [
        (1.0, [3.0, 1.5], [2.0, 4.0]),
        (0.5, [(1 + 3) / 2, (-1 + 1.5) / 2], [(4 + 2) / 2, (9 + 4) / 2]),
        (0.25, [0.75 * 1 + 0.25 * 3, -0.75 + 0.25 * 1.5], [3 + 0.5, 6.75 + 1.0]),
    ],
)
def test_statistics_by_hand(share: float, mean: list[float], variance: list[float]) -> None:
    norm = layer()
    re_estimate(norm, BATCHES, share=share)
    assert norm.running_mean.tolist() == pytest.approx(mean)
    assert norm.running_var.tolist() == pytest.approx(variance)


def test_everything_else_stays() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 2, 1), layer(), nn.Dropout(0.5), nn.Conv2d(2, 2, 1))
    net[3].eval()
    before, modes = copy.deepcopy(net.state_dict()), [module.training for module in net.modules()]
    re_estimate(net, BATCHES, share=0.5)
    changed = [name for name, value in net.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == ["1.running_mean", "1.running_var"]
    assert [module.training for module in net.modules()] == modes
    assert net[1].momentum == 0.1 and int(net[1].num_batches_tracked) == 7


def test_a_layer_sees_what_the_layers_before_it_make_of_the_batch() -> None:
    # The first layer normalises by the batch itself, so the second sees mean 0 and (biased) variance 1, whatever was before.
    net = nn.Sequential(layer(), nn.Dropout(0.9), layer())
    re_estimate(net, [BATCHES[1]], share=1.0)
    assert net[2].running_mean.tolist() == pytest.approx([0, 0], abs=1e-6)
    assert net[2].running_var.tolist() == pytest.approx([2, 2], rel=1e-4)  # unbiased, of two values


def test_real_images_come_in_order_at_the_working_size_and_a_rest_is_left_out(tmp_path: Path) -> None:
    config = load(make(tmp_path / "run", "train.batch=2") / "run.toml")
    frames = []
    for number in range(5):
        Image.fromarray(np.full((24, 32, 3), 50 * number, dtype=np.uint8)).save(tmp_path / f"{number}.png")
        frames.append(Frame(str(number), tmp_path / f"{number}.png"))
    batches = list(real_batches(frames, config, device=torch.device("cpu"), workers=2))
    assert [batch.shape for batch in batches] == [(2, 3, 48, 64)] * 2
    wanted = [[(50 * number / 255 - 0.5) / 0.5 for number in pair] for pair in ((0, 1), (2, 3))]
    assert [batch.mean(dim=(1, 2, 3)).tolist() for batch in batches] == [pytest.approx(pair, abs=1e-5) for pair in wanted]
    assert len(next(iter(real_batches(frames[:1], config, device=torch.device("cpu"), workers=1)))) == 1


def test_a_round_without_updates_is_the_net_before_with_the_statistics_of_the_real_images(tmp_path: Path) -> None:
    run = make(tmp_path / "run", "train.steps=2", "rounds.steps=0", "rounds.adapted=false", "rounds.adabn_share=1.0")
    for verb in (["world"], ["train", "--bound", "source-only"], ["train", "--round", "0"]):
        code, said = selfsyn_here(verb[0], "--run", run, *verb[1:])
        assert code == 0, said
    before, after = (load_file(run / stage / "task/weights.safetensors") for stage in ("source-only", "round-0"))
    changed = {name.rsplit(".", 1)[1] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"running_mean", "running_var"}
    first = (run / "round-0/task/weights.safetensors").read_bytes()
    assert selfsyn_here("train", "--run", run, "--round", "0", "--force")[0] == 0
    assert (run / "round-0/task/weights.safetensors").read_bytes() == first
