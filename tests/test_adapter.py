"""The adapter: hand-computed losses, the pool, what a step may change, kill and resume, and the two verbs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from selfsyn.adapter import fit as fitting
from selfsyn.adapter.adapt import adapt, load_generator
from selfsyn.adapter.crops import Batch, Crops, Views, batches
from selfsyn.adapter.discriminator import Discriminator, Look
from selfsyn.adapter.fit import CHECKPOINT, HISTORY, SAMPLES, WEIGHTS, fit
from selfsyn.adapter.generator import SPEED, Generator, Reflect
from selfsyn.adapter.losses import fooling, reconstruction, semantic, softened, telling_apart
from selfsyn.adapter.objective import critic_terms, generator_terms, translate_batch, weighted
from selfsyn.adapter.pixels import bytes_of, main_logits, signed
from selfsyn.adapter.planes import CELL, Window, crop_noise, frame_noise, place
from selfsyn.adapter.pool import Pool
from selfsyn.adapter.samples import Content, content, read_samples
from selfsyn.adapter.state import AdapterState, new_state
from selfsyn.adapter.step import average_decay, backward, fit_step, learning_rate
from selfsyn.adapter.tiles import translate
from selfsyn.config import Adapter, RunConfig, Source, Task
from selfsyn.data import Frame, LabelledFrame, labelled
from selfsyn.data.frames import listing
from selfsyn.errors import FaultError, InputError
from selfsyn.images import encode_png, read_ids, read_image
from selfsyn.labels import CLASSES
from selfsyn.randomness import generator

SIZE = (48, 32)
CPU = torch.device("cpu")
ADAPTER = Adapter(
    steps=6,
    batch=2,
    crop=32,
    generator_channels=4,
    generator_blocks=1,
    discriminator_channels=4,
    image_pool=3,
    checkpoint_every=2,
)


class FakeTaskNet(nn.Module):
    """Scores a pixel by its colour: the interface of a task net, small enough to fit in a test."""

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(3, classes, 3, padding=1)
        self.norm = nn.BatchNorm2d(classes)
        self.calls_left = 10**9

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        self.calls_left -= 1
        if not self.calls_left:
            raise KeyboardInterrupt
        scores: Tensor = self.norm(self.classifier(image_BCHW))
        return scores, scores


class Signal:
    """SIGTERM that comes during a given poll."""

    def __init__(self, polls: int = 10**9) -> None:
        self.polls = polls

    @property
    def requested(self) -> bool:
        return self.polls <= 0

    def exit_if_requested(self) -> None:
        self.polls -= 1
        if self.requested:
            raise SystemExit(143)


def frozen_net() -> FakeTaskNet:
    torch.manual_seed(1)
    return FakeTaskNet()


@pytest.fixture
def config() -> RunConfig:
    return RunConfig(
        "test", 7, SIZE, synthetic=(Source("gta5", "synthetic"),), real=(Source("cityscapes", "real"),), adapter=ADAPTER
    )


def street(random: np.random.Generator, *, blue: int) -> np.ndarray:
    image = random.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    image[16:, :, 2] = blue
    return image


@pytest.fixture
def frames(tmp_path: Path) -> tuple[list[LabelledFrame], list[Frame]]:
    random = np.random.default_rng(3)
    synthetic, city = tmp_path / "synthetic", tmp_path / "real" / "leftImg8bit" / "train" / "town"
    for folder in (synthetic / "images", synthetic / "labels", city):
        folder.mkdir(parents=True)
    for number in range(1, 6):
        (synthetic / "images" / f"{number:05d}.png").write_bytes(encode_png(street(random, blue=20)))
        ids = np.where(np.arange(32)[:, None] < 16, 23, 7) * np.ones((1, 48))  # sky above road
        Image.fromarray(ids.astype(np.uint8)).save(synthetic / "labels" / f"{number:05d}.png")
    for number in range(4):
        (city / f"town_{number}_leftImg8bit.png").write_bytes(encode_png(street(random, blue=220)))
    return labelled(synthetic, layout="gta5"), listing(tmp_path / "real", layout="cityscapes")


def a_batch(*, seed: int = 0, side: int = 32) -> Batch:
    random = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 2, 3, side, side, generator=random) * 1.6 - 0.8
    noise = torch.randn(2, 2, 3, side, side, generator=random)
    source, target = (Views(*parts, noises) for parts, noises in zip(map(seen, images), noise, strict=True))
    return Batch(source, target, ["a.png", "b.png", "c.png", "d.png"])


def seen(image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Whole images with their places: what a generator needs."""
    height, width = image_BCHW.shape[-2:]
    place_CHW = place(Window(0, 0, height, width), whole=(width, height))
    return image_BCHW, place_CHW.expand(len(image_BCHW), -1, -1, -1)


def a_moved_state(config: RunConfig) -> AdapterState:
    """A state whose generators are no longer the identity."""
    state = new_state(frozen_net(), config=config, device=CPU)
    for translator in (state.to_target, state.to_source):
        nn.init.normal_(translator.last.weight, 0.0, 0.05)
    return state


def a_moved_generator(*, blocks: int = 1) -> Generator:
    torch.manual_seed(2)
    translator = Generator(channels=4, blocks=blocks).eval()
    nn.init.normal_(translator.last.weight, 0.0, 0.05)
    return translator


# Losses


@pytest.mark.parametrize(("scores", "expected"), [([1.0, 1.0], 0.0), ([0.0, 0.0], 1.0), ([3.0, 0.5], (4 + 0.25) / 2)])
def test_fooling_by_hand(scores: list[float], expected: float) -> None:
    assert fooling(torch.tensor(scores)).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("real", "fake", "expected"),
    [([1.0, 1.0], [0.0, 0.0], 0.0), ([0.0, 2.0], [0.0, 0.0], 0.5), ([1.0, 1.0], [1.0, 3.0], 2.5), ([0.5], [0.5], 0.25)],
)
def test_telling_apart_by_hand(real: list[float], fake: list[float], expected: float) -> None:
    assert telling_apart(torch.tensor(real), torch.tensor(fake)).item() == pytest.approx(expected)


def test_reconstruction_by_hand() -> None:
    image_BCHW = torch.tensor([[[[0.0, 1.0], [-1.0, 0.5]]]])
    assert reconstruction(image_BCHW + torch.tensor([0.5, -0.25]), image_BCHW).item() == pytest.approx(0.375)


def test_softened_by_hand() -> None:
    image_BCHW = torch.zeros(1, 1, 3, 4)
    image_BCHW[..., 1, 1] = 16.0
    assert softened(image_BCHW).tolist() == [[[[4.0, 2.0]]]]
    assert torch.equal(softened(torch.full((1, 3, 5, 5), 0.25)), torch.full((1, 3, 3, 3), 0.25))


def test_semantic_by_hand() -> None:
    # One row of two pixels, two classes with odds 3:1 and 1:1; targets are class 0 and class 1.
    logits_BKHW = torch.tensor([[[[np.log(3.0), 0.0]], [[0.0, 0.0]]]])
    expected = (-np.log(3 / 4) - np.log(1 / 2)) / 2
    assert semantic(logits_BKHW, torch.tensor([[[0, 1]]])).item() == pytest.approx(expected)


def test_semantic_is_torchs_cross_entropy_in_value_and_gradient() -> None:
    torch.manual_seed(0)
    target_BHW = torch.randint(0, 19, (2, 5, 6))
    ours, theirs = (torch.linspace(-4, 4, 2 * 19 * 30).reshape(2, 19, 5, 6).sin().requires_grad_() for _ in range(2))
    semantic(ours, target_BHW).backward()
    torch.nn.functional.cross_entropy(theirs, target_BHW).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_objective_weighs_each_kind(config: RunConfig) -> None:
    terms = {"gan_target": 1.0, "cycle_source": 0.5, "identity_target": 0.25, "semantic_source": 2.0}
    adapter = replace(ADAPTER, gan=1.0, cycle=10.0, identity=4.0, semantic=0.5)
    assert weighted({name: torch.tensor(v) for name, v in terms.items()}, adapter=adapter).item() == pytest.approx(8.0)


# Nets


def test_a_generator_starts_at_the_identity_with_a_grey_level_of_grain() -> None:
    translator, views = Generator(channels=4, blocks=2), a_batch().source
    made = translator(*views)
    assert torch.equal(made.clean_BCHW, views.image_BCHW)
    torch.testing.assert_close(made.grain_BCHW, 0.01 * views.noise_BCHW)
    assert torch.equal(translator(views.image_BCHW, views.place_BCHW).grainy_BCHW, views.image_BCHW)


def test_a_generator_stays_in_range_and_translates_each_image_alone() -> None:
    translator, views = a_moved_generator(), a_batch().source
    together = translator(*views)
    assert not torch.equal(together.clean_BCHW, views.image_BCHW)
    assert together.clean_BCHW.abs().max() <= 1 and together.grainy_BCHW.abs().max() <= 1
    torch.testing.assert_close(together.grainy_BCHW[1:], translator(*(part[1:] for part in views)).grainy_BCHW)


def test_gain_and_offset_by_hand() -> None:
    translator, views = Generator(channels=4, blocks=1), a_batch().source
    with torch.no_grad():
        translator.last.bias[:] = torch.tensor([0.1, 0.1, 0.1, -0.5, -0.5, -0.5, 2.0, 2.0, 2.0]) / SPEED
    made = translator(*views)
    torch.testing.assert_close(made.clean_BCHW, (0.5 * views.image_BCHW - 0.5 + 0.1).clamp(-1, 1))
    torch.testing.assert_close(made.grain_BCHW, 0.03 * views.noise_BCHW)


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_generator_reaches_as_far_as_it_says(blocks: int) -> None:
    # From the pixels of one row of tiles of four: where a pixel stands among them decides how far it looks.
    translator, farthest, side = a_moved_generator(blocks=blocks).double(), 0, 96
    image_BCHW = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    for pixel in range(side // 2, side // 2 + 4):
        image_BCHW.grad = None
        translator(*(part.double() for part in seen(image_BCHW))).clean_BCHW[0, :, pixel, pixel].sum().backward()
        assert image_BCHW.grad is not None
        rows = torch.nonzero(image_BCHW.grad.abs().sum(dim=(0, 1, 3)))
        farthest = max(farthest, pixel - int(rows.min()), int(rows.max()) - pixel)
    assert farthest == translator.reach


def test_places_by_hand() -> None:
    # The middle two columns of the lower row of an image of 4 x 2.
    row_HW, distance_HW = place(Window(1, 1, 1, 2), whole=(4, 2))
    assert row_HW.tolist() == [[0.5, 0.5]]
    assert distance_HW.tolist() == [[(0.25 + 0.0625) / 2] * 2]


def test_noise_is_a_function_of_name_and_place() -> None:
    whole = frame_noise(Window(0, 0, 2 * CELL, 2 * CELL), seed=3, name="a")
    window = Window(CELL - 8, 12, 40, CELL + 4)
    part = frame_noise(window, seed=3, name="a")
    assert torch.equal(part, whole[:, CELL - 8 : CELL + 32, 12 : CELL + 16])
    assert not torch.equal(part, frame_noise(window, seed=3, name="b"))
    assert not torch.equal(part, frame_noise(window, seed=4, name="a"))
    assert abs(whole.mean()) < 0.01 and abs(whole.std() - 1) < 0.01
    assert not torch.equal(whole[:, :CELL, :CELL], whole[:, :CELL, CELL:]), "each cell has its own"
    assert abs(torch.corrcoef(whole[:, :CELL, :CELL].reshape(3, -1))[0, 1]) < 0.05
    crop = crop_noise(8, seed=3, purpose="p", step=1, slot=0)
    assert torch.equal(crop, crop_noise(8, seed=3, purpose="p", step=1, slot=0))
    assert not torch.equal(crop, crop_noise(8, seed=3, purpose="p", step=1, slot=1))


@pytest.mark.parametrize("margin", [1, 3])
def test_reflect_is_torchs_reflection_pad(margin: int) -> None:
    image_BCHW = torch.rand(2, 3, 5, 7)
    assert torch.equal(Reflect(margin)(image_BCHW), nn.ReflectionPad2d(margin)(image_BCHW))


@pytest.mark.parametrize(("halvings", "patch"), [(2, 34), (3, 70)])
def test_a_discriminators_patch_size(halvings: int, patch: int) -> None:
    # The pixels that reach the middle score; Look adds one on each side.
    critic = Discriminator(channels=4, halvings=halvings).double()
    image_BCHW = torch.rand(1, 3, 160, 160, dtype=torch.float64, requires_grad=True)
    scores = critic(image_BCHW)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    assert image_BCHW.grad is not None
    rows = torch.nonzero(image_BCHW.grad.abs().sum(dim=(0, 1, 3)))
    assert int(rows.max() - rows.min()) + 1 == patch + 2


def test_look_by_hand() -> None:
    # A grey image with one bright pixel: the detail is its distance from the mean of the pixels around; no colour.
    image_BCHW = torch.zeros(1, 3, 5, 5)
    image_BCHW[..., 2, 2] = 0.9
    seen_BCHW = Look()(image_BCHW)
    assert torch.equal(seen_BCHW[:, :3], image_BCHW)
    assert seen_BCHW[0, 3, 2, 1:4].tolist() == pytest.approx([4 * 0.1, 4 * 0.8, 4 * 0.1])
    assert seen_BCHW[:, 6:].abs().max() == pytest.approx(0, abs=1e-6)


def test_look_sees_colour() -> None:
    red_BCHW = torch.tensor([0.6, 0.0, 0.0])[None, :, None, None].expand(1, 3, 4, 4)
    assert Look()(red_BCHW)[0, 6:, 1, 1].tolist() == pytest.approx([4 * 0.4, 4 * 0.2, 4 * 0.2])


def test_pixels_there_and_back() -> None:
    image_HWC = np.arange(256 * 3, dtype=np.uint8).reshape(16, 16, 3)
    assert np.array_equal(bytes_of(signed(image_HWC)), image_HWC)
    assert bytes_of(torch.full((3, 1, 1), 1.7)).max() == 255


def test_the_frozen_net_gets_what_training_gives_it() -> None:
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
            seen.append(image_BCHW)
            return image_BCHW, -image_BCHW

    image_BCHW = signed(np.full((1, 1, 3), 51, dtype=np.uint8))[None]
    main_logits(Spy(), image_BCHW, task=Task(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.1)))
    assert seen[0].flatten().tolist() == pytest.approx([(0.2 - 0.1) / 0.5, 0.0, (0.2 - 0.3) / 0.1], abs=1e-6)


# The pool


def test_a_pool_fills_before_it_swaps() -> None:
    pool, random = Pool(2), np.random.default_rng(0)
    first = torch.arange(2.0).reshape(2, 1, 1, 1)
    assert torch.equal(pool.exchange(first, random=random), first)
    assert [image.item() for image in pool.images] == [0.0, 1.0]


def test_a_pool_gives_old_for_new_half_of_the_time() -> None:
    pool, given = Pool(10), []
    for step in range(1000):
        given.append(pool.exchange(torch.full((1, 1, 1, 1), float(step)), random=generator(0, "pool", step)).item())
    older = [step for step, value in enumerate(given) if value != step]
    assert len(pool.images) == 10
    assert 440 < len(older) < 560
    assert all(given[step] < step for step in older)
    assert len(set(given)) == 990, "beyond the first ten, an image that was given back has left the pool"


def test_a_pool_of_nothing_passes_through() -> None:
    image_BCHW = torch.rand(2, 1, 1, 1)
    assert torch.equal(Pool(0).exchange(image_BCHW, random=np.random.default_rng(0)), image_BCHW)


# A step


def test_the_learning_rate_rises_stays_and_falls_to_zero() -> None:
    adapter = replace(ADAPTER, steps=20, learning_rate=1.0)
    rates = [learning_rate(step, adapter=adapter) for step in range(21)]
    assert rates == pytest.approx([0.5, *[1] * 10, *(left / 10 for left in range(9, -1, -1))])


def test_the_average_forgets_half_in_a_twentieth_of_the_fit() -> None:
    assert average_decay(replace(ADAPTER, steps=400)) ** 20 == pytest.approx(0.5)


def gradients(net: nn.Module) -> list[bool]:
    return [parameter.grad is not None for parameter in net.parameters()]


def test_the_generators_objective_reaches_exactly_the_generators(config: RunConfig) -> None:
    state, batch = a_moved_state(config), a_batch()
    terms = generator_terms(state, batch, translate_batch(state, batch), config=config)
    for name, term in terms.items():
        reached = torch.autograd.grad(term, state.generator_parameters, retain_graph=True, allow_unused=True)
        assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in reached), name
    objective = weighted(terms, adapter=config.adapter)
    assert backward(objective, state.generator_parameters) > 0
    assert all(gradients(state.to_target) + gradients(state.to_source))
    others = (state.target_critic, state.source_critic, state.frozen, state.average)
    assert not any(has for net in others for has in gradients(net))


def test_the_discriminators_objective_reaches_exactly_the_discriminators(config: RunConfig) -> None:
    state, batch = a_moved_state(config), a_batch()
    terms = critic_terms(state, batch, translate_batch(state, batch), seed=0)
    backward(terms["critic_target"] + terms["critic_source"], state.critic_parameters)
    assert all(gradients(state.target_critic) + gradients(state.source_critic))
    assert not any(gradients(state.to_target) + gradients(state.to_source))


def test_a_step_changes_four_nets_and_leaves_the_frozen_one(config: RunConfig) -> None:
    state = a_moved_state(config)
    nets = (state.to_target, state.to_source, state.target_critic, state.source_critic, state.average)
    before = [[p.clone() for p in net.parameters()] for net in nets]
    frozen = {name: value.clone() for name, value in state.frozen.state_dict().items()}
    terms = fit_step(state, a_batch(), config)
    for old, net in zip(before, nets, strict=True):
        assert all(not torch.equal(a, b) for a, b in zip(old, net.parameters(), strict=True))
    assert all(torch.equal(value, frozen[name]) for name, value in state.frozen.state_dict().items())
    assert set(terms) == {f"{kind}_{domain}" for kind in KINDS for domain in ("source", "target")} | {"generators"}
    assert state.step == 1


KINDS = ("gan", "cycle", "identity", "semantic", "critic")


def test_at_the_identity_only_grain_separates_there_and_back(config: RunConfig) -> None:
    terms = fit_step(new_state(frozen_net(), config=config, device=CPU), a_batch(), config)
    assert all(terms[f"identity_{domain}"] == 0 for domain in ("source", "target"))
    # A grey level of noise through a binomial filter: mean |n| is 0.8 sigma, of which the filter leaves 6/16.
    assert all(terms[f"cycle_{domain}"] == pytest.approx(0.01 * 0.8 * 6 / 16, rel=0.1) for domain in ("source", "target"))
    assert terms["semantic_target"] > 0 and terms["gan_target"] > 0


def test_the_semantic_terms_compare_an_image_with_its_own_translation(config: RunConfig) -> None:
    state, batch = a_moved_state(config), a_batch()
    made = translate_batch(state, batch)
    terms = generator_terms(state, batch, made, config=config)
    before = {"semantic_target": batch.source.image_BCHW, "semantic_source": batch.target.image_BCHW}
    for name, image_BCHW in (("semantic_target", made.adapted), ("semantic_source", made.unadapted)):
        target_BHW = main_logits(state.frozen, before[name], task=config.task).argmax(dim=1)
        logits_BKHW = main_logits(state.frozen, image_BCHW, task=config.task)
        torch.testing.assert_close(terms[name], semantic(logits_BKHW, target_BHW))


def test_no_term_but_the_adversarial_and_semantic_ones_teaches_the_grain(config: RunConfig) -> None:
    state, batch = a_moved_state(config), a_batch()
    terms = generator_terms(state, batch, translate_batch(state, batch), config=config)
    grain = [state.to_target.grain.weight, state.to_source.grain.weight]
    for name, term in terms.items():
        reached = torch.autograd.grad(term, grain, retain_graph=True, allow_unused=True)
        taught = any(gradient is not None and gradient.abs().sum() > 0 for gradient in reached)
        assert taught == name.startswith(("gan", "semantic")), name


def test_the_way_back_starts_from_the_picture_with_grain(config: RunConfig) -> None:
    state, batch = a_moved_state(config), a_batch()
    made = translate_batch(state, batch)
    again = state.to_source(made.adapted, batch.source.place_BCHW).clean_BCHW
    torch.testing.assert_close(made.back_source, again)
    torch.testing.assert_close(made.same_target, state.to_target(*batch.target[:2]).clean_BCHW)


def test_without_a_semantic_weight_the_frozen_net_is_not_asked(config: RunConfig) -> None:
    state = new_state(frozen_net(), config=config, device=CPU)
    state.frozen.calls_left = 1  # the first call would be an interruption
    fit_step(state, a_batch(), replace(config, adapter=replace(ADAPTER, semantic=0.0)))


def test_a_loss_that_is_not_finite_stops_before_the_update(config: RunConfig) -> None:
    state, batch = a_moved_state(config), a_batch()
    batch.source.image_BCHW[0, 0, 0, 0] = float("nan")
    before = [p.clone() for p in state.generator_parameters]
    with pytest.raises(FaultError, match=r"gan_target is nan at adapter step 0 on a\.png, b\.png"):
        fit_step(state, batch, config)
    assert all(torch.equal(a, b) for a, b in zip(before, state.generator_parameters, strict=True))


def test_steps_bring_the_look_of_the_other_domain(config: RunConfig) -> None:
    # Colourful streets and grey ones: the GAN must take colour away in one direction and bring it in the other.
    adapter = replace(ADAPTER, steps=120, discriminator_channels=16, learning_rate=3e-3, gan=4.0, cycle=2.0, identity=0.5)
    config = replace(config, adapter=replace(adapter, semantic=0.1))
    state = new_state(frozen_net(), config=config, device=CPU)
    for step in range(60):
        fit_step(state, colourful_and_grey(step), config)
    batch = colourful_and_grey(99)
    assert colour_of(state.to_target(*batch.source).clean_BCHW) < 0.95 * colour_of(batch.source.image_BCHW)
    assert colour_of(state.to_source(*batch.target).clean_BCHW) > 1.3 * colour_of(batch.target.image_BCHW)


def test_steps_bring_the_noise_of_the_other_domain(config: RunConfig) -> None:
    # The same flat greys, noisy on one side: the noise must be learned in one direction, and not in the other.
    adapter = replace(ADAPTER, steps=200, discriminator_channels=16, learning_rate=2e-3, gan=4.0, semantic=0.0)
    config = replace(config, adapter=adapter)
    state = new_state(frozen_net(), config=config, device=CPU)
    for step in range(80):
        fit_step(state, flat_and_noisy(step), config)
    batch = flat_and_noisy(99)
    assert state.to_target(*batch.source).grain_BCHW.std() > 0.03
    assert state.to_source(*batch.target).grain_BCHW.std() < 0.02


def flat_and_noisy(seed: int, *, sigma: float = 0.06) -> Batch:
    batch = a_batch(seed=seed)
    random = torch.Generator().manual_seed(10_000 + seed)
    flat_BCHW = torch.rand(4, 1, 1, 1, generator=random).sub(0.5).expand(4, 3, 32, 32)
    noisy_BCHW = flat_BCHW[2:] + sigma * torch.randn(2, 3, 32, 32, generator=random)
    return batch._replace(
        source=batch.source._replace(image_BCHW=flat_BCHW[:2]), target=batch.target._replace(image_BCHW=noisy_BCHW)
    )


def colourful_and_grey(seed: int) -> Batch:
    batch = a_batch(seed=seed)
    image_BCHW = batch.target.image_BCHW
    grey_BCHW = image_BCHW.mean(dim=1, keepdim=True)
    return batch._replace(target=batch.target._replace(image_BCHW=grey_BCHW + 0.2 * (image_BCHW - grey_BCHW)))


def colour_of(image_BCHW: Tensor) -> float:
    return (image_BCHW - image_BCHW.mean(dim=1, keepdim=True)).abs().mean().item()


# Crops


def test_crops_follow_from_their_position(config: RunConfig, frames: tuple[list[LabelledFrame], list[Frame]]) -> None:
    def walk(first: int) -> list[Batch]:
        crops = [Crops(part, config=config, domain=name) for part, name in zip(frames, ("synthetic", "real"), strict=True)]
        return list(batches(*crops, first=first))

    whole, rest = walk(0), walk(4)
    assert [batch.names for batch in whole[4:]] == [batch.names for batch in rest]
    for ours, theirs in zip(whole[4:], rest, strict=True):
        assert all(torch.equal(a, b) for a, b in zip((*ours.source, *ours.target), (*theirs.source, *theirs.target), strict=True))
    assert [part.shape[1:] for part in whole[0].source] == [(3, 32, 32), (2, 32, 32), (3, 32, 32)]
    assert not torch.equal(whole[0].source.noise_BCHW, whole[0].target.noise_BCHW)
    first_epoch = [name for batch in whole for name in batch.names[:2]][:5]
    assert len(set(first_epoch)) == 5, "each frame once an epoch"


# The fit


def run_fit(
    folder: Path,
    frames: tuple[list[LabelledFrame], list[Frame]],
    config: RunConfig,
    *,
    polls: int = 10**9,
    calls: int = 10**9,
) -> AdapterState:
    net = frozen_net()
    net.calls_left = calls
    return fit(net, synthetic=frames[0], real=frames[1], config=config, folder=folder, device=CPU, stopping=Signal(polls))


def read_fit(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (WEIGHTS, HISTORY, SAMPLES)}


def assert_same_state(ours: Path, theirs: Path) -> None:
    a, b = (torch.load(folder / CHECKPOINT, weights_only=True)["state"] for folder in (ours, theirs))
    leaves_a, leaves_b = torch.utils._pytree.tree_leaves(a), torch.utils._pytree.tree_leaves(b)
    assert len(leaves_a) == len(leaves_b) > 100
    assert all(
        torch.equal(torch.as_tensor(x), torch.as_tensor(y)) for x, y in zip(leaves_a, leaves_b, strict=True) if x is not None
    )


def test_fit_killed_and_resumed_ends_with_the_same_bytes(
    tmp_path: Path, config: RunConfig, frames: tuple[list[LabelledFrame], list[Frame]]
) -> None:
    whole, stopped, killed = tmp_path / "whole", tmp_path / "stopped", tmp_path / "killed"
    run_fit(whole, frames, config)

    with pytest.raises(SystemExit, match="143"):
        run_fit(stopped, frames, config, polls=2)
    assert not (stopped / WEIGHTS).exists()
    run_fit(stopped, frames, config)

    with pytest.raises(KeyboardInterrupt):
        run_fit(killed, frames, config, calls=40)  # during step 4 or so, after the checkpoint of step 2
    assert (killed / CHECKPOINT).exists() and not (killed / WEIGHTS).exists()
    run_fit(killed, frames, config)

    assert read_fit(stopped) == read_fit(whole) == read_fit(killed)
    assert_same_state(stopped, whole)
    assert_same_state(killed, whole)


def test_at_full_resolution_crops_come_from_whole_images(
    tmp_path: Path, config: RunConfig, frames: tuple[list[LabelledFrame], list[Frame]]
) -> None:
    small = replace(config, size=(36, 32))
    full = replace(small, adapter=replace(ADAPTER, full_resolution=True))
    for some, most in ((small, 2), (full, 8)):
        crops = Crops(frames[0], config=some, domain="synthetic")
        # Crops and images are of one height: the largest distance from the middle says how far from it a crop was cut.
        views = [crops.at(step, slot)[0] for step in range(20) for slot in range(2)]
        farthest = {round(view.place_BCHW[1].max().item(), 4) for view in views}
        assert most // 2 + 1 < len(farthest) <= most + 1
    run_fit(tmp_path / "fit", frames, full)
    assert Image.open(tmp_path / "fit" / SAMPLES).size == (4 * SIZE[0], 4 * SIZE[1])


def test_an_image_smaller_than_the_crop_is_named(config: RunConfig, frames: tuple[list[LabelledFrame], list[Frame]]) -> None:
    large = replace(config, adapter=replace(ADAPTER, crop=36, full_resolution=True))
    with pytest.raises(InputError, match=r"0000\d\.png: 48x32; expected at least adapter\.crop 36"):
        Crops(frames[0], config=large, domain="synthetic").at(0, 0)


def test_history_has_every_term_and_the_agreement_at_checkpoints(
    tmp_path: Path, config: RunConfig, frames: tuple[list[LabelledFrame], list[Frame]]
) -> None:
    state = run_fit(tmp_path / "fit", frames, config)
    rows = [json.loads(line) for line in (tmp_path / "fit" / HISTORY).read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert ["agreement_adapted" in row for row in rows] == [False, True] * 3
    assert rows == state.history
    assert rows[-1]["shares_source"].keys() == rows[-1]["shares_adapted"].keys() == set(CLASSES)
    assert sum(rows[-1]["shares_adapted"].values()) == pytest.approx(1, abs=1e-3)
    assert Image.open(tmp_path / "fit" / SAMPLES).size == (4 * SIZE[0], 4 * SIZE[1])


def test_a_history_row_is_the_mean_since_the_last(
    tmp_path: Path, config: RunConfig, frames: tuple[list[LabelledFrame], list[Frame]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = run_fit(tmp_path / "fine", frames, config).history
    monkeypatch.setattr(fitting, "HISTORY_ROWS", 2)
    coarse = run_fit(tmp_path / "coarse", frames, replace(config, adapter=replace(ADAPTER, checkpoint_every=3))).history
    assert [row["step"] for row in coarse] == [3, 6]
    assert coarse[0]["gan_target"] == pytest.approx(sum(row["gan_target"] for row in fine[:3]) / 3, abs=1e-6)


def test_fit_refuses_another_configurations_checkpoint(
    tmp_path: Path, config: RunConfig, frames: tuple[list[LabelledFrame], list[Frame]]
) -> None:
    with pytest.raises(SystemExit):
        run_fit(tmp_path / "fit", frames, config, polls=1)
    with pytest.raises(InputError, match="another configuration"):
        run_fit(tmp_path / "fit", frames, replace(config, adapter=replace(ADAPTER, cycle=5.0)))


def test_content_counts_labelled_pixels_and_predicted_classes(
    config: RunConfig, frames: tuple[list[LabelledFrame], list[Frame]]
) -> None:
    class SkyOnBright(FakeTaskNet):
        def forward(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
            scores = torch.zeros(len(image_BCHW), 19, *image_BCHW.shape[-2:])
            scores[:, 10] = (image_BCHW.mean(dim=(1, 2, 3), keepdim=True) > 2)[:, 0] * 2.0 - 1
            return scores, scores

    samples = read_samples(*frames, config=config)
    shades = [np.full_like(example.image, 255 * (number % 2)) for number, example in enumerate(samples.synthetic)]
    samples = replace(
        samples, synthetic=[e._replace(image=image_HWC) for e, image_HWC in zip(samples.synthetic, shades, strict=True)]
    )
    sky = content(SkyOnBright(), samples, config=config)
    assert sky.shares[10] == pytest.approx(2 / 5) and sky.shares[0] == pytest.approx(3 / 5)
    assert sky.agreement == pytest.approx(0.5), "sky above road: half of either is right"
    samples.synthetic[0].label[:] = 255
    translator = Generator(channels=4, blocks=1)
    with torch.no_grad():
        translator.grain.weight.zero_()
        translator.last.bias[:3] = 2.0  # all white
    white = content(SkyOnBright(), samples, config=config, generator=translator)
    assert white.agreement == pytest.approx(0.5) and white.shares[10] == 1
    assert white.moved(sky) == pytest.approx(3 / 5)


def test_moved_by_hand() -> None:
    one, other = np.zeros(19), np.zeros(19)
    one[[0, 1]], other[[0, 2]] = (0.75, 0.25), (0.5, 0.5)
    assert Content(1.0, one).moved(Content(1.0, other)) == 0.5


# Adapting


def run_adapt(
    folder: Path,
    frames: list[LabelledFrame],
    weights: Path,
    *,
    polls: int = 10**9,
    workers: int = 2,
    size: tuple[int, int] | None = (24, 16),
) -> dict[str, str]:
    translator = load_generator(weights, adapter=ADAPTER, device=CPU)
    return adapt(translator, frames, size=size, seed=7, folder=folder, workers=workers, stopping=Signal(polls))


@pytest.fixture
def weights(tmp_path: Path, config: RunConfig) -> Path:
    from safetensors.torch import save_file

    save_file(a_moved_state(config).to_target.state_dict(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_adapt_writes_image_and_label_at_working_size(
    tmp_path: Path, frames: tuple[list[LabelledFrame], list[Frame]], weights: Path
) -> None:
    run_adapt(tmp_path / "adapted", frames[0], weights)
    image, label = (tmp_path / "adapted" / part / "00003.png" for part in ("images", "labels"))
    assert read_image(image).shape == (16, 24, 3)
    assert np.array_equal(read_ids(label), np.where(np.arange(16)[:, None] < 8, 10, 0) * np.ones((1, 24)))
    assert len(labelled(tmp_path / "adapted", layout="adapted")) == 5


def test_adapt_stopped_damaged_and_resumed_ends_with_the_same_bytes(
    tmp_path: Path, frames: tuple[list[LabelledFrame], list[Frame]], weights: Path
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    digests = run_adapt(whole, frames[0], weights)
    with pytest.raises(SystemExit, match="143"):
        run_adapt(stopped, frames[0], weights, polls=3)
    written = sorted((stopped / "images").glob("*.png"))
    assert len(written) == 3
    kept = written[0].stat().st_mtime_ns
    written[1].write_bytes(written[1].read_bytes()[:60])  # as a disk that lost power may leave it
    (stopped / "labels" / written[2].name).unlink()
    assert run_adapt(stopped, frames[0], weights, workers=0) == digests
    assert written[0].stat().st_mtime_ns == kept
    for path in whole.rglob("*.png"):
        assert (stopped / path.relative_to(whole)).read_bytes() == path.read_bytes()


def test_at_full_resolution_images_and_labels_keep_their_size(
    tmp_path: Path, frames: tuple[list[LabelledFrame], list[Frame]], weights: Path
) -> None:
    run_adapt(tmp_path / "adapted", frames[0], weights, size=None)
    image, label = (tmp_path / "adapted" / part / "00003.png" for part in ("images", "labels"))
    assert read_image(image).shape == (32, 48, 3)
    assert np.array_equal(read_ids(label), frames[0][2].read_label())


@pytest.mark.parametrize("shape", [(64, 96), (61, 99), (18, 130)])
def test_tiles_have_no_seams(shape: tuple[int, int]) -> None:
    translator = a_moved_generator()
    image_HWC = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    whole = translate(translator, image_HWC, seed=1, name="a", tile=512)
    tiled = translate(translator, image_HWC, seed=1, name="a", tile=16)
    assert not np.array_equal(whole, image_HWC)
    difference = np.abs(whole.astype(int) - tiled)
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3, "sums of another order may round one level the other way"


def test_without_grain_the_identity_adapts_to_the_same_bytes(frames: tuple[list[LabelledFrame], list[Frame]]) -> None:
    image_HWC, translator = read_image(frames[0][0].image), Generator(channels=4, blocks=1).eval()
    nn.init.zeros_(translator.grain.weight)
    assert np.array_equal(translate(translator, image_HWC, seed=0, name="a"), image_HWC)


def test_the_same_frame_has_the_same_grain_and_another_has_its_own() -> None:
    translator, grey_HWC = Generator(channels=4, blocks=1).eval(), np.full((32, 32, 3), 128, np.uint8)
    first, again, other = (translate(translator, grey_HWC, seed=0, name=name) for name in ("a", "a", "b"))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert 0.7 < first.astype(float).std() < 2


def test_load_generator_refuses_other_weights(weights: Path) -> None:
    with pytest.raises(InputError, match="not this adapter's weights"):
        load_generator(weights, adapter=replace(ADAPTER, generator_channels=8), device=CPU)
    weights.write_bytes(b"not weights")
    with pytest.raises(InputError, match="not this adapter's weights"):
        load_generator(weights, adapter=ADAPTER, device=CPU)
