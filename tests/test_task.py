"""Task models, their losses and their training steps."""

from __future__ import annotations

import copy
import json
import math
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from timm.layers import convert_sync_batchnorm
from tiny_training import tiny_config, tiny_fit, tiny_mixture
from torch import nn

from selfsyn import devices, processes
from selfsyn.config import RunConfig, Task, from_mapping
from selfsyn.errors import FaultError, InputError
from selfsyn.labels import IGNORE
from selfsyn.layout import Layout
from selfsyn.recipes import read
from selfsyn.stage import SOURCE_ONLY, Stage, round_stage
from selfsyn.task import build, load_weights, normalised
from selfsyn.task.backbones import load_pretrained
from selfsyn.task.dilated import DilatedDepthwise, with_fast_dilation
from selfsyn.task.forward import Forward
from selfsyn.task.log import Log
from selfsyn.task.losses import class_weights, pixel_weights, weighted_cross_entropy
from selfsyn.task.mixture import SYNTHETIC, Batch
from selfsyn.task.schedule import Schedule, continued, learning_rate, schedule_of
from selfsyn.task.scores import by_matrices
from selfsyn.task.stages import located
from selfsyn.task.train import TrainState, _refuse_non_finite, new_state, train_step

NETS = {
    "deeplabv3plus": Task(architecture="deeplabv3plus", backbone="efficientnet_lite0", weights="scratch", decoder_channels=16),
    "fcn": Task(architecture="fcn", backbone="resnet50", weights="scratch"),
    "segnet": Task(architecture="segnet", backbone="vgg16_bn", weights="scratch"),
}


@pytest.mark.parametrize("name", NETS)
def test_both_heads_answer_at_image_size(name: str) -> None:
    net = build(NETS[name], pretrained=True).eval()
    with torch.no_grad():
        scores = net(torch.zeros(1, 3, 49, 66))
    assert scores.main.shape == scores.auxiliary.shape == (1, 19, 49, 66)


@pytest.mark.parametrize("name", NETS)
def test_gradients_reach_every_parameter(name: str) -> None:
    net = build(NETS[name], pretrained=False).train()
    scores = net(torch.randn(2, 3, 64, 64))
    (scores.main.square().mean() + scores.auxiliary.square().mean()).backward()
    assert [key for key, parameter in net.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", NETS)
def test_synchronised_batch_norm_changes_no_name_and_no_order(name: str) -> None:
    net = build(NETS[name], pretrained=False)
    names = list(net.state_dict())
    assert list(convert_sync_batchnorm(net).state_dict()) == names  # the average follows the net tensor by tensor, in order
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())


def test_packaged_weights_fill_the_backbone() -> None:
    task = Task(backbone="efficientnet_lite0", weights="package", decoder_channels=16)
    first, second = (build(task, pretrained=True).backbone.state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    # ImageNet batch-norm statistics are far from a new layer's zeros and ones.
    assert float(first["bn1.running_var"].std()) > 0.1


def backbone_state(task: Task) -> dict[str, torch.Tensor]:
    return build(task, pretrained=False).backbone.state_dict()


def local(path: Path, state: dict[str, torch.Tensor]) -> Task:
    save_file(state, path)
    return Task(backbone="efficientnet_lite0", weights=str(path), decoder_channels=16)


def test_a_local_file_is_loaded_and_its_classifier_left_over(tmp_path: Path) -> None:
    state = backbone_state(NETS["deeplabv3plus"])
    state["bn1.weight"] = torch.full_like(state["bn1.weight"], 3.0)
    task = local(tmp_path / "w.safetensors", {**state, "classifier.weight": torch.zeros(1000, 1280)})
    assert torch.equal(build(task, pretrained=True).backbone.state_dict()["bn1.weight"], state["bn1.weight"])


def test_a_path_of_weights_starts_at_the_run_folder_or_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, home = tmp_path / "run", tmp_path / "home"
    for folder in (run / "nets", home):
        folder.mkdir(parents=True)
        (folder / "w.pth").touch()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    layout = Layout(run)
    assert located(Task(weights="nets/w.pth"), layout).weights == str(run / "nets/w.pth")
    assert located(Task(weights="~/w.pth"), layout).weights == str(home / "w.pth")
    assert located(Task(weights="scratch"), layout).weights == "scratch"
    assert layout.resolve("~/photos") == home / "photos"
    with pytest.raises(InputError, match=r"run/w\.pth: no such file \(task\.weights = 'w\.pth'\); give a"):
        located(Task(weights="w.pth"), layout)


def test_a_missing_key_is_an_error(tmp_path: Path) -> None:
    state = backbone_state(NETS["deeplabv3plus"])
    del state["bn1.weight"]
    with pytest.raises(
        InputError, match=r"w\.safetensors: the weights lack bn1_weight \(1 keys\); expected weights of efficientnet_lite0"
    ):
        build(local(tmp_path / "w.safetensors", state), pretrained=True)


def test_a_left_over_key_outside_the_head_is_an_error(tmp_path: Path) -> None:
    state = {**backbone_state(NETS["deeplabv3plus"]), "blocks.9.weight": torch.zeros(1)}
    with pytest.raises(InputError, match="also hold blocks_9_weight"):
        build(local(tmp_path / "w.safetensors", state), pretrained=True)


def test_another_shape_is_an_error(tmp_path: Path) -> None:
    state = backbone_state(NETS["deeplabv3plus"])
    state["bn1.weight"] = torch.zeros(7)
    with pytest.raises(InputError, match="another shape of bn1_weight"):
        build(local(tmp_path / "w.safetensors", state), pretrained=True)


def test_missing_and_broken_files_are_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nonsense")
    for weights, message in ((tmp_path / "none.pth", "no such file"), (broken, "not readable as weights")):
        with pytest.raises(InputError, match=message) as failure:
            build(Task(backbone="efficientnet_lite0", weights=str(weights)), pretrained=True)
        assert "\n" not in str(failure.value)


def test_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    net = build(NETS["deeplabv3plus"], pretrained=False)
    task = Task(backbone="tf_efficientnet_b7.ns_jft_in1k", weights="download")
    with pytest.raises(InputError, match="could not be downloaded .* set task.weights to a local"):
        load_pretrained(net.backbone, task)


def test_trained_weights_of_another_net_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match="not this net's weights"):
        load_weights(build(NETS["deeplabv3plus"], pretrained=False), tmp_path / "weights.safetensors")


def test_normalisation_by_hand() -> None:
    image = torch.tensor([[[[0, 255, 51]]]], dtype=torch.uint8)
    values = normalised(image, mean=(0.5, 0.5, 0.2), std=(0.5, 0.25, 0.1))
    assert values.shape == (1, 3, 1, 1)
    torch.testing.assert_close(values.flatten(), torch.tensor([-1.0, 2.0, 0.0]), atol=1e-6, rtol=0)


def test_cross_entropy_by_hand() -> None:
    # Two classes matter: pixel 1 is class 0 with odds 3:1, pixel 2 class 1 with odds 1:1, pixel 3 is ignored.
    logits = torch.full((1, 19, 1, 3), -1e9)
    logits[0, 0, 0] = torch.tensor([math.log(3), 0.0, 5.0])
    logits[0, 1, 0] = torch.tensor([0.0, 0.0, 9.0])
    label = torch.tensor([[[0, 1, IGNORE]]])
    weights = torch.tensor([[[1.0, 4.0, 9.0]]])
    expected = (math.log(4 / 3) + 4 * math.log(2)) / 2
    assert float(weighted_cross_entropy(logits, label, weight_BHW=weights)) == pytest.approx(expected, rel=1e-6)


def test_class_weights_act_on_true_labels_alone() -> None:
    weights_K = torch.ones(19)
    weights_K[3] = 7.0
    label, true = torch.tensor([[[3, 3, 0, IGNORE]]]), torch.tensor([[[True, False, True, True]]])
    assert pixel_weights(label, true, weights_K=weights_K)[0, 0, :3].tolist() == [7.0, 1.0, 1.0]


def test_a_batch_without_labels_costs_nothing() -> None:
    loss = weighted_cross_entropy(torch.randn(1, 19, 2, 2), torch.full((1, 2, 2), IGNORE), weight_BHW=torch.ones(1, 2, 2))
    assert float(loss) == 0.0


def test_class_weights_by_hand() -> None:
    counts = np.zeros(19, dtype=np.int64)
    counts[[0, 1]] = (900, 100)
    # share ** -0.5 = 1.054, 3.162; mean over pixels 0.9 * 1.054 + 0.1 * 3.162 = 1.265
    weights = class_weights(counts, power=0.5)
    assert weights[:2].tolist() == pytest.approx([0.8333, 2.5], abs=1e-3)
    assert weights[2:].tolist() == [1.0] * 17
    assert class_weights(counts, power=0).tolist() == [1.0] * 19


def test_the_rate_warms_up_and_decays_to_zero() -> None:
    schedule = Schedule(steps=100, learning_rate=1.0, warmup_steps=10)
    assert learning_rate(0, schedule=schedule) == pytest.approx(0.1)
    assert learning_rate(9, schedule=schedule) == pytest.approx((1 - 0.09) ** 0.9)
    assert learning_rate(50, schedule=schedule) == pytest.approx(0.5**0.9)
    assert learning_rate(99, schedule=schedule) < 0.02


@pytest.mark.parametrize("amx", [False, True])
def test_auto_precision_is_half_on_a_cpu_with_amx(amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_amx", lambda: amx)
    assert [devices.half(word, device=torch.device("cpu")) for word in ("auto", "fp32", "bf16")] == [amx, False, True]


def test_auto_precision_is_float_when_another_process_has_no_amx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_amx", lambda: True)
    monkeypatch.setattr(processes, "any_of", lambda mine: mine or True)
    assert [devices.half(word, device=torch.device("cpu")) for word in ("auto", "fp32", "bf16")] == [False, False, True]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"granted": False}, False),
        ({"flags": "amx_tile amx_int8 avx512f"}, False),
        ({"flags": "not_amx_bf16"}, False),
        ({"capability": "AVX2"}, False),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, False),
        ({"ONEDNN_MAX_CPU_ISA": "avx512_core_amx"}, True),
        ({"DNNL_MAX_CPU_ISA": "AVX2"}, False),
        ({"ONEDNN_MAX_CPU_ISA": "DEFAULT", "DNNL_MAX_CPU_ISA": "AVX2"}, True),
    ],
)
def test_amx_is_what_cpu_kernel_and_user_allow(
    change: dict[str, Any], expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = {"granted": True, "flags": "fpu amx_bf16 avx512f amx_tile", "capability": "AVX512"} | change
    (tmp_path / "cpuinfo").write_text(f"model name\t: Some\nflags\t\t: {machine['flags']}\nbugs\t\t: none\n")
    monkeypatch.setattr(devices, "CPUS", tmp_path / "cpuinfo")
    monkeypatch.setattr(torch.cpu, "_init_amx", lambda: machine["granted"])
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: machine["capability"])
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
        if name in change:
            monkeypatch.setenv(name, change[name])
    assert devices.has_amx() is expected


def test_a_training_resumed_in_another_precision_says_so_and_remembers_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(precision="auto")

    def trained(*, amx: bool, dies_at: int | None = None) -> TrainState | None:
        monkeypatch.setattr(devices, "has_amx", lambda: amx)
        return tiny_fit(tmp_path, config, tiny_mixture(config), dies_at=dies_at)

    trained(amx=False, dies_at=2)
    trained(amx=True, dies_at=4)
    assert "resumes in another precision (fp32, from step 2 bf16)" in capsys.readouterr().err
    state = trained(amx=True)
    assert state is not None and state.precision == "fp32, from step 2 bf16"
    assert "another precision" not in capsys.readouterr().err


def test_scores_of_a_net_that_computes_in_half_precision_are_floats() -> None:
    net = build(NETS["deeplabv3plus"], pretrained=False).eval()
    seen: dict[str, list[torch.dtype]] = {"dense": [], "depthwise": []}
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            kind = "dense" if layer.groups == 1 else "depthwise"
            layer.register_forward_hook(lambda _, given, found, kind=kind: seen[kind].append(found.dtype))
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        exact = Forward(net, device=image.device, half=False)(image, [2])
        assert set(seen["dense"]) == set(seen["depthwise"]) == {torch.float32}
        seen["dense"].clear()
        rough = Forward(net, device=image.device, half=True)(image, [2])
    assert set(seen["dense"]) == {torch.bfloat16} and set(seen["depthwise"]) == {torch.float32}
    for ours, theirs in zip(rough, exact, strict=True):
        assert ours.dtype == torch.float32
        assert 0 < float((ours - theirs).abs().max()) < 0.1 * float(theirs.abs().max())


@pytest.mark.parametrize(("before", "after"), [((4, 6), (32, 48)), ((5, 7), (33, 50)), ((1, 1), (9, 5)), ((12, 16), (8, 10))])
def test_enlarging_by_matrices_is_bilinear(before: tuple[int, int], after: tuple[int, int]) -> None:
    planes = torch.randn(2, 3, *before, generator=torch.Generator().manual_seed(0)).requires_grad_()
    theirs = nn.functional.interpolate(planes, size=after, mode="bilinear", align_corners=False)
    ours = by_matrices(planes, size=after)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    slope = torch.rand(theirs.shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad(found, planes, slope)[0] for found in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-4)


def test_gradients_are_clipped_by_their_common_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    norms = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: (norms.append(norm_of(self)), step(self))[1])
    for limit in (0.0, 0.25):
        config = from_mapping(read("demo") | {"train": {"clip_norm": limit}})
        net = build(NETS["deeplabv3plus"], pretrained=False).train()
        schedule = Schedule(steps=2, learning_rate=1e-3, warmup_steps=1)
        state = new_state(net, config=config.train, schedule=schedule, weights_K=torch.ones(19), device=torch.device("cpu"))
        train_step(state, a_batch(), config)
    assert norms[0] > 0.5 and norms[1] == pytest.approx(0.25, rel=1e-3)


def norm_of(optimizer: torch.optim.Optimizer) -> float:
    return float(sum(p.grad.square().sum() for group in optimizer.param_groups for p in group["params"]) ** 0.5)


def a_batch() -> Batch:
    shape = (2, 64, 64)
    images, labels = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8), torch.randint(0, 19, shape, dtype=torch.uint8)
    return Batch({SYNTHETIC: {"image": images, "label": labels, "true": torch.ones(shape, dtype=torch.bool)}}, ["a", "b"])


def test_compiling_without_a_compiler_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(InputError, match=r"train\.compile: no compiler found \(looked for g\+\+ .*set train\.compile = false"):
        devices.require_compiler(torch.device("cpu"))


def test_the_log_goes_on_where_a_checkpoint_was_and_measures(tmp_path: Path) -> None:
    def log(first: int) -> Log:
        return Log(tmp_path, batch=4, first=first, device=torch.device("cpu"), tensorboard=False)

    killed = log(0)
    assert killed.speed() == ""
    for step in (10, 20):
        killed.add({"step": step})
    killed.save()
    resumed = log(10)
    resumed.since -= 2.0  # ten steps of four images in two seconds and the time of this line
    resumed.add({"step": 20})
    resumed.save()
    rows = [json.loads(line) for line in (tmp_path / "speed.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20]
    assert 15 < rows[-1]["images_per_second"] <= 20 and 0.05 < rows[-1]["peak_memory_gib"] < 100
    assert resumed.speed().endswith("GiB") and "images/s" in resumed.speed()


def test_event_files_hold_the_rows(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="the extra tensorboard")
    log = Log(tmp_path, batch=4, first=0, device=torch.device("cpu"), tensorboard=True)
    log.add({"step": 10, "loss": 0.5})
    log.save()
    (events,) = (tmp_path / "tensorboard").iterdir()
    text = events.read_bytes()
    assert b"loss" in text and b"images_per_second" in text and struct.pack("<f", 0.5) in text


def test_event_files_without_their_package_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match=r"tensorboardX is not installed; pip install 'selfsyn\[tensorboard\]'"):
        Log(tmp_path, batch=4, first=0, device=torch.device("cpu"), tensorboard=True)


def test_a_non_finite_loss_names_itself_the_step_and_the_images() -> None:
    with pytest.raises(FaultError, match=r"loss_pseudo is nan at step 7 on a\.png, b\.png"):
        _refuse_non_finite({"loss_synthetic": 1.0, "loss_pseudo": float("nan")}, step=7, names=["a.png", "b.png"])


@pytest.mark.parametrize("size", [(8, 12), (7, 13)])
def test_a_dilated_depthwise_convolution_learns_what_the_ordinary_one_does(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ordinary = nn.Conv2d(6, 6, 5, padding=4, dilation=2, groups=6)
    fast = with_fast_dilation(nn.Sequential(copy.deepcopy(ordinary)))
    image = torch.randn(2, 6, *size)
    assert torch.allclose(fast(image), ordinary(image), atol=1e-6)
    for net in (ordinary, fast):
        net(image).square().sum().backward()
    wanted, found = (next(net.parameters()).grad for net in (ordinary, fast))
    assert wanted is not None and torch.allclose(found, wanted, rtol=1e-4)
    assert torch.equal(fast.eval()(image), ordinary(image))


def test_only_dilated_depthwise_convolutions_are_replaced() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.Conv2d(4, 8, 3))
    assert not any(isinstance(layer, DilatedDepthwise) for layer in with_fast_dilation(net).modules())


def scheduled(**rounds: Any) -> RunConfig:
    values = read("demo")
    values |= {"train": {"steps": 40, "learning_rate": 1e-3, "warmup_steps": 4, "oracle_steps": 70}}
    return from_mapping(values | {"rounds": {"steps": [10, 20], "real_share": [0.0, 0.2, 0.2], "learning_rate": 5e-4} | rounds})


def test_rounds_that_continue_share_one_schedule_with_the_source_only_training() -> None:
    config = scheduled(start="continue")
    found = [schedule_of(config, stage=stage) for stage in (SOURCE_ONLY, *map(round_stage, range(3)))]
    assert found == [
        Schedule(steps=steps, learning_rate=1e-3, warmup_steps=4, done=done, whole=90)
        for steps, done in ((40, 0), (10, 40), (20, 50), (20, 70))
    ]
    one = Schedule(steps=90, learning_rate=1e-3, warmup_steps=4)
    rates = [learning_rate(step, schedule=part) for part in found for step in range(part.steps)]
    assert rates == [learning_rate(step, schedule=one) for step in range(90)]
    assert continued(config, stage=Stage("round-0")) == SOURCE_ONLY and continued(config, stage=Stage("oracle")) is None
    assert schedule_of(config, stage=Stage("oracle")) == Schedule(steps=70, learning_rate=1e-3, warmup_steps=4)


def test_a_warm_round_has_a_schedule_of_its_own_that_others_may_continue() -> None:
    config = scheduled(start=["warm", "continue", "warm"])
    assert schedule_of(config, stage=Stage("source-only")) == Schedule(40, 1e-3, 4, done=0, whole=40)
    assert schedule_of(config, stage=Stage("round-0")) == Schedule(10, 5e-4, 4, done=0, whole=30)
    assert schedule_of(config, stage=Stage("round-1")) == Schedule(20, 5e-4, 4, done=10, whole=30)
    assert schedule_of(config, stage=Stage("round-2")) == Schedule(20, 5e-4, 4, done=0, whole=20)


def test_a_round_beyond_the_planned_ones_has_no_schedule_to_continue() -> None:
    with pytest.raises(InputError, match="round-3 would continue a schedule that ends with round-2"):
        schedule_of(scheduled(start="continue"), stage=Stage("round-3"))
    assert schedule_of(scheduled(), stage=Stage("round-3")) == Schedule(20, 5e-4, 4, done=0, whole=20)
