"""The ViT: what timm's own forward computes, images of every size, its optimizer groups, frozen blocks, published weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import timm
import torch
from safetensors.torch import save_file
from test_distributed import in_processes
from tiny_training import tiny_config, tiny_fit, tiny_mixture
from torch.nn import functional as F

from selfsyn import processes
from selfsyn.config import Task, Train
from selfsyn.errors import InputError
from selfsyn.task import TaskNet, build
from selfsyn.task.scores import line_shares, products
from selfsyn.task.vit import ViT, _cubic_shares

TINY = Task(architecture="vit", backbone="test_vit", weights="scratch")
# A net of each kind, with random weights: class token, registers, no position embedding but rotations, both.
KINDS = ("test_vit", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3", "eva02_tiny_patch14_224")


def made(task: Task = TINY) -> ViT:
    torch.manual_seed(0)
    net = build(task, pretrained=False)
    assert isinstance(net, ViT)
    return net


@pytest.mark.parametrize("name", KINDS)
def test_tokens_are_those_of_timm(name: str) -> None:
    net = made(replace(TINY, backbone=name)).eval()
    rows, columns = 9, 14
    image = torch.randn(2, 3, rows * net.patch, columns * net.patch)
    with torch.no_grad():
        theirs = net.backbone.fc_norm(net.backbone.forward_features(image))[:, net.backbone.num_prefix_tokens :]
        ours, _ = net._encoded(net._canvas(image, rows, columns), rows, columns)
    torch.testing.assert_close(ours.flatten(2).transpose(1, 2), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("after", [(24, 18), (12, 50), (37, 37), (80, 33)])
def test_position_embeddings_are_resampled_as_by_torch(after: tuple[int, int]) -> None:
    plane = torch.randn(1, 5, 37, 37)
    ours = products(_cubic_shares(37, after[0], like=plane), plane, _cubic_shares(37, after[1], like=plane))
    torch.testing.assert_close(ours, F.interpolate(plane, size=after, mode="bicubic", antialias=True), rtol=0, atol=2e-5)


@pytest.mark.parametrize("size", [(16, 16), (49, 66), (33, 160), (96, 128)])
@pytest.mark.parametrize("scale", [1.0, 1.4])
def test_scores_have_the_size_of_any_image(size: tuple[int, int], scale: float) -> None:
    with torch.no_grad():
        scores = made(replace(TINY, input_scale=scale)).eval()(torch.zeros(1, 3, *size))
    assert scores.main.shape == scores.auxiliary.shape == (1, 19, *size)


def test_the_canvas_holds_the_enlarged_image_and_continues_its_edge() -> None:
    net = made(replace(TINY, input_scale=2.0))
    image = torch.arange(5.0).expand(1, 3, 5, 5)  # grows from left to right
    canvas = net._canvas(image, 1, 1)
    assert canvas.shape == (1, 3, 16, 16)
    torch.testing.assert_close(canvas[0, 0, 7, :12], torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4, 4, 4]))


def test_scores_lie_where_the_image_has_what_they_see() -> None:
    """Scores that are the canvas' own columns come back as the image's columns."""
    net = made(replace(TINY, input_scale=2.0))
    image = torch.zeros(1, 3, 20, 36)  # 40 x 72 on a canvas of 3 x 5 patches of 16: 48 x 80
    columns = (torch.arange(20.0) + 0.5) * 4 / 2 - 0.5  # the image's column under each of the 20 columns of scores
    found = net.to_image(columns.expand(1, 1, 12, 20), like=image)
    torch.testing.assert_close(found[0, 0, 3, 1:-1], torch.arange(36.0)[1:-1], rtol=0, atol=1e-4)


def test_an_enlargement_by_one_is_exact() -> None:
    image = torch.randn(1, 3, 32, 48)
    assert torch.equal(made()._canvas(image, 2, 3), image)
    assert torch.equal(line_shares(7, 7, step=1.0, like=image), torch.eye(7))


def rates(net: TaskNet, train: Train) -> dict[str, tuple[float, float]]:
    """{parameter: (factor of the learning rate, weight decay)}."""
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    groups = net.parameter_groups(train)
    return {names[id(p)]: (group["factor"], group["weight_decay"]) for group in groups for p in group["params"]}


def test_rates_decay_towards_the_first_block_and_small_things_have_no_weight_decay() -> None:
    net = made()
    found = rates(net, Train(layer_decay=0.5, head_lr_factor=10.0, weight_decay=0.01))
    blocks = len(net.backbone.blocks)
    assert set(found) == {name for name, _ in net.named_parameters()}
    assert found["backbone.patch_embed.proj.weight"] == (0.5**blocks, 0.01)
    assert found["backbone.pos_embed"] == found["backbone.cls_token"] == (0.5**blocks, 0.0)
    assert found["backbone.blocks.0.attn.qkv.weight"] == (0.5 ** (blocks - 1), 0.01)
    assert found[f"backbone.blocks.{blocks - 1}.mlp.fc1.weight"] == (1.0, 0.01)
    assert found[f"backbone.blocks.{blocks - 1}.mlp.fc1.bias"] == found["backbone.norm.weight"] == (1.0, 0.0)
    assert found["classifier.weight"] == (10.0, 0.01)
    assert found["classifier.bias"] == found["decoder.1.weight"] == (10.0, 0.0)


@pytest.mark.parametrize("count", [0, 2])
def test_frozen_blocks_get_no_gradient_and_no_update(count: int) -> None:
    net = made(replace(TINY, trainable_blocks=count)).train()
    net(torch.randn(1, 3, 32, 32)).main.square().mean().backward()
    blocks = len(net.backbone.blocks)
    learn = {f"blocks.{number}" for number in range(blocks - count, blocks)} | ({"norm"} if count else set())
    for name, parameter in net.backbone.named_parameters():
        wanted = any(name.startswith(f"{part}.") for part in learn)
        assert (parameter.grad is not None) == parameter.requires_grad == wanted, name
    assert {name for name in rates(net, Train()) if name.startswith("backbone.")} == {
        f"backbone.{name}" for name, parameter in net.backbone.named_parameters() if parameter.requires_grad
    }


def test_recomputed_activations_give_the_same_gradient() -> None:
    plain, again = made().train(), made().train()
    again.recompute_activations()
    image = torch.randn(1, 3, 48, 32)
    for net in (plain, again):
        net(image).main.square().mean().backward()
    assert all(
        torch.equal(one.grad, other.grad)
        for one, other in zip(plain.parameters(), again.parameters(), strict=True)
        if one.grad is not None and other.grad is not None
    )


def test_the_auxiliary_head_is_there_only_where_it_counts() -> None:
    net = made(replace(TINY, auxiliary_at_inference=0.0))
    assert net(torch.zeros(1, 3, 32, 32)).auxiliary is None
    assert not any(name.startswith("auxiliary") for name in net.state_dict())


def test_weights_in_float16_and_with_a_mask_token_are_loaded_whole(tmp_path: Path) -> None:
    state = timm.create_model("test_vit").state_dict()
    file = tmp_path / "published.safetensors"
    save_file({**{key: value.half() for key, value in state.items()}, "mask_token": torch.zeros(1, 64)}, file)
    net = build(replace(TINY, weights=str(file)), pretrained=True)
    assert torch.equal(net.backbone.cls_token, state["cls_token"].half().float())


@pytest.mark.parametrize("name", ["resnet18", "no_such_net", "swin_tiny_patch4_window7_224", "vit_tiny_r_s16_p8_224"])
def test_what_is_no_plain_vit_is_one_line(name: str) -> None:
    with pytest.raises(InputError, match=rf"task\.backbone '{name}': .*such as vit_small_patch14_dinov2"):
        made(replace(TINY, backbone=name))


def test_more_blocks_than_there_are_is_one_line() -> None:
    with pytest.raises(InputError, match=r"task\.trainable_blocks is 99, but test_vit has \d+; expected at most that"):
        made(replace(TINY, trainable_blocks=99))


def fitted(folder: Path, *, dies_at: int | None = None) -> dict[str, Any] | None:
    """A whole training of the tiny ViT with its last two blocks, layer decay and images that its EMA labels -> its end."""
    config = tiny_config(ema_pseudo_labels=True)
    train = replace(config.train, layer_decay=0.8, activation_checkpointing=True, clip_norm=1.0)
    config = replace(config, task=replace(TINY, trainable_blocks=2, auxiliary_at_inference=0.0), train=train)
    with mock.patch("tiny_training.TinyNet", return_value=made(config.task)), mock.patch("selfsyn.task.train.HISTORY_EVERY", 1):
        state = tiny_fit(folder, config, tiny_mixture(config), dies_at=dies_at)
    return state and {"average": state.average.state_dict(), "net": state.net.state_dict(), "history": state.history}


def test_a_killed_training_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole = fitted(tmp_path / "whole")
    assert fitted(tmp_path / "twice", dies_at=3) is None
    again = fitted(tmp_path / "twice")
    assert whole is not None and again is not None
    assert (tmp_path / "whole/weights.safetensors").read_bytes() == (tmp_path / "twice/weights.safetensors").read_bytes()
    assert whole["history"] == again["history"]
    started = made(replace(TINY, auxiliary_at_inference=0.0)).state_dict()
    moved = {name for name, value in whole["net"].items() if not torch.equal(value, started[name])}
    assert "backbone.blocks.0.attn.qkv.weight" not in moved and "classifier.weight" in moved


def of_processes(folder: Path) -> dict[str, Any] | None:
    """`fitted`, in a folder that all processes share."""
    assert processes.count() == 2
    return fitted(folder / "together")


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """Without batch norm and dropout nothing but the order of sums differs: to 1e-4 in float32."""
    alone = fitted(tmp_path / "alone")
    first, second = in_processes(of_processes, tmp_path, count=2)
    assert alone is not None
    for name, value in alone["net"].items():
        torch.testing.assert_close(first["net"][name], value, rtol=1e-3, atol=1e-4)
        assert torch.equal(first["net"][name], second["net"][name]), name
    losses = [[row["loss"] for row in one["history"]] for one in (alone, first)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
