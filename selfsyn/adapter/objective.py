"""The objectives of the adapter's four nets: the translations of a batch, and their loss terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from selfsyn.adapter.crops import Batch, Views
from selfsyn.adapter.generator import Translated
from selfsyn.adapter.losses import fooling, reconstruction, semantic, softened, telling_apart
from selfsyn.adapter.pixels import main_logits
from selfsyn.adapter.state import AdapterState
from selfsyn.config import Adapter, RunConfig
from selfsyn.randomness import generator


class Pictures(NamedTuple):
    """The translations of a batch, each (B, 3, H, W).

    adapted: G_ST(x_s), with grain.  same_target: G_ST(x_t), without grain.  back_source: G_TS(adapted), without grain.
    unadapted, same_source, back_target: the same with source and target exchanged.
    """

    adapted: Tensor
    same_target: Tensor
    back_source: Tensor
    unadapted: Tensor
    same_source: Tensor
    back_target: Tensor


def translate_batch(state: AdapterState, batch: Batch) -> Pictures:
    """All six translations in four forwards; batches can be joined because a generator treats each image independently.

    Discriminators and the frozen net get images with grain. The identity terms use images without grain: a real image has
    its grain already. The way back starts from the image with grain, so that the generators cannot hide information in fine
    detail and learn to remove grain. The cycle loss sends no gradient to the grain, because it would always reduce it.
    """
    count = len(batch.source.image_BCHW)
    both = Views(*(torch.cat(parts) for parts in zip(batch.source, batch.target, strict=True)))
    there, back = state.to_target(*both), state.to_source(*both)
    adapted, unadapted = _part(there, slice(count)), _part(back, slice(count, None))
    return Pictures(
        adapted=adapted.grainy_BCHW,
        same_target=there.clean_BCHW[count:],
        back_source=state.to_source(_return(adapted), batch.source.place_BCHW).clean_BCHW,
        unadapted=unadapted.grainy_BCHW,
        same_source=back.clean_BCHW[:count],
        back_target=state.to_target(_return(unadapted), batch.target.place_BCHW).clean_BCHW,
    )


def generator_terms(state: AdapterState, batch: Batch, made: Pictures, *, config: RunConfig) -> dict[str, Tensor]:
    """{name: unweighted term} of the generators, in both directions (Hoffman et al. 2018, eq. 5 without the task terms)."""
    source_BCHW, target_BCHW = batch.source.image_BCHW, batch.target.image_BCHW
    terms = {
        "gan_target": fooling(state.target_critic(made.adapted)),
        "gan_source": fooling(state.source_critic(made.unadapted)),
        "cycle_source": reconstruction(softened(made.back_source), softened(source_BCHW)),
        "cycle_target": reconstruction(softened(made.back_target), softened(target_BCHW)),
        "identity_target": reconstruction(made.same_target, target_BCHW),
        "identity_source": reconstruction(made.same_source, source_BCHW),
    }
    return terms | (_semantic_terms(state, batch, made, config=config) if config.adapter.semantic else {})


def critic_terms(state: AdapterState, batch: Batch, made: Pictures, *, seed: int) -> dict[str, Tensor]:
    """{name: term} of the discriminators, on images from the pools; no gradient reaches the generators."""
    judged = {
        "critic_target": (state.target_critic, state.target_pool, batch.target.image_BCHW, made.adapted),
        "critic_source": (state.source_critic, state.source_pool, batch.source.image_BCHW, made.unadapted),
    }
    terms = {}
    for domain, (name, (critic, pool, real_BCHW, fake_BCHW)) in enumerate(judged.items()):
        older_BCHW = pool.exchange(fake_BCHW, random=generator(seed, "adapter-pool", state.step, domain))
        real, fake = critic(torch.cat([real_BCHW, older_BCHW])).split(len(real_BCHW))
        terms[name] = telling_apart(real, fake)
    return terms


def weighted(terms: Mapping[str, Tensor], *, adapter: Adapter) -> Tensor:
    """The generators' objective: the sum of the terms, each with the weight of its kind."""
    weights = {"gan": adapter.gan, "cycle": adapter.cycle, "identity": adapter.identity, "semantic": adapter.semantic}
    return torch.stack([weights[name.split("_")[0]] * term for name, term in terms.items()]).sum()


def _part(made: Translated, images: slice) -> Translated:
    return Translated(made.clean_BCHW[images], made.grain_BCHW[images])


def _return(made: Translated) -> Tensor:
    # The input of the way back; see translate_batch.
    return made._replace(grain_BCHW=made.grain_BCHW.detach()).grainy_BCHW


def _semantic_terms(state: AdapterState, batch: Batch, made: Pictures, *, config: RunConfig) -> dict[str, Tensor]:
    count = len(batch.source.image_BCHW)
    with torch.no_grad():
        as_they_are = torch.cat([batch.source.image_BCHW, batch.target.image_BCHW])
        before_BKHW = main_logits(state.frozen, as_they_are, task=config.task)
        target_BHW = before_BKHW.argmax(dim=1)
    after_BKHW = main_logits(state.frozen, torch.cat([made.adapted, made.unadapted]), task=config.task)
    return {
        "semantic_target": semantic(after_BKHW[:count], target_BHW[:count]),
        "semantic_source": semantic(after_BKHW[count:], target_BHW[count:]),
    }
