"""AttentiveNAS and AlphaNet: the sandwich rule with chosen networks in between, and with another divergence."""

from __future__ import annotations

from dataclasses import replace

from sharewise.engine import Attention, Recipe, Sandwich
from sharewise.engine.alpha_divergence import AlphaDivergence
from sharewise.methods.registry import named, variant
from sharewise.methods.sandwich import sandwich

__all__ = ["alphanet", "attentive_nas"]


@variant("attentive-nas", of=sandwich)
def attentive_nas(recipe: Recipe, *, attention: str = "best-up", attended: int = 3, attention_bins: int = 70) -> Recipe:
    """Attentive sampling: each random network of the sandwich is the best, or worst, of some of about its cost.

    For every network in between, k architectures are drawn in one bin of multiply-accumulates and the one with the
    lowest loss on the batch is trained (BestUp-k), or the one with the highest (WorstUp-k): attention goes to one end
    of what a supernet can do at a cost.

    Args:
        recipe: of `sandwich`, whose arguments this method takes too.
        attention: `"best-up"` or `"worst-up"`.
        attended: k, at least 1.
        attention_bins: into which the range of costs is divided.

    Returns:
        The recipe.

    Example:
        >>> attentive_nas(epochs=2).level.attention
        Attention(best=True, candidates=3, bins=70)

    References:
        D. Wang et al., *AttentiveNAS: Improving Neural Architecture Search via Attentive Sampling*, CVPR 2021
        (arXiv 2011.09011), sections 3 and 4: BestUp-3, WorstUp-3; bins of 25 M multiply-accumulates.

    Deviations:
        Those of `sandwich` and of `Attention`.
    """
    best = named("attention", attention, **{"best-up": True, "worst-up": False})
    assert isinstance(recipe.level, Sandwich)
    chosen = Attention(best, attended, attention_bins)
    return replace(recipe, level=replace(recipe.level, attention=chosen))


@variant("alphanet", of=sandwich)
def alphanet(recipe: Recipe, *, alpha_least: float = -1.0, alpha_most: float = 1.0, ratio_clip: float = 5.0) -> Recipe:
    """The sandwich rule with an adaptive alpha-divergence from the largest network (AlphaNet).

    The soft cross-entropy forgives a small network that is too sure where the largest is not, and one that is unsure
    where it is; the larger of two α-divergences forgives neither (see `AlphaDivergence`).

    Args:
        recipe: of `sandwich`, whose arguments this method takes too.
        alpha_least: α₋, not 0.
        alpha_most: α₊, above α₋ and not 0.
        ratio_clip: β, at which the ratio of probabilities is clipped in the gradient.

    Returns:
        The recipe.

    Example:
        >>> alphanet(epochs=2).level.soft
        AlphaDivergence(least=-1.0, most=1.0, clip=5.0)

    References:
        D. Wang et al., *AlphaNet: Improved Training of Supernets with Alpha-Divergence*, ICML 2021 (arXiv 2102.07954),
        section 3; α in {-1, 1} and a clip at 5 as in the released code.

    Deviations:
        Those of `sandwich`.
    """
    assert isinstance(recipe.level, Sandwich)
    soft = AlphaDivergence(alpha_least, alpha_most, ratio_clip)
    return replace(recipe, level=replace(recipe.level, soft=soft))
