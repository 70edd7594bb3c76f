"""Depth of panoramas under the rules that papers use, which give different numbers for the same prediction.

The rule is part of every key: ``abs_rel_da2`` is not ``abs_rel_unifuse``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxtyping import Float, Shaped
from torch import Tensor

from onescene.metrics.depth import DepthRule, check_maps, metrics_of_parts, pixel_weights, sums_by_image, valid_pixels

PANORAMA_RULES: dict[str, DepthRule] = {
    # metric prediction, truth up to 10 m, depths under 0.1 m raised to it
    "unifuse": DepthRule(align="none", min_depth=0.1, raise_true=True, max_depth=10.0),
    # least-squares scale and shift per image, then one pool of pixels; easier than "da2"
    "one2scene-release": DepthRule(align="scale_shift", min_depth=1e-3, max_depth=10.0, pool=True),
    # median scale per image, clipped to the datasets' range, mean over images
    "da2": DepthRule(align="median", min_depth=1e-3, max_depth=5.0, clip_to_max=True),
    # no alignment and no cap: what a robot would see
    "metric": DepthRule(align="none"),
}


def _names(rule: str | Sequence[str]) -> list[str]:
    names = list(PANORAMA_RULES) if rule == "all" else [rule] if isinstance(rule, str) else list(rule)
    if unknown := [name for name in names if name not in PANORAMA_RULES]:
        raise ValueError(f"rule must be all or one of {', '.join(PANORAMA_RULES)}, got {unknown[0]!r}")
    return names


def panorama_depth_metrics(
    predicted: Float[Tensor, "*batch height width"],
    true: Float[Tensor, "*batch height width"],
    rule: str | Sequence[str] = "all",
    *,
    mask: Shaped[Tensor, "*_ height width"] | None = None,
    weights: Shaped[Tensor, "*_ height width"] | str | None = None,
) -> dict[str, float]:
    """Depth errors under the rules that papers on panoramas use; the same prediction gets a different number in each.

    Args:
        predicted: Predicted distance [m].
        true: True distance [m]; nan, inf and <= 0 are left out.
        rule: A name of ``PANORAMA_RULES``, several, or ``all``. ``unifuse``: metric, truth in (0, 10] m, depths
            under 0.1 m raised to it. ``one2scene-release``: scale and shift by least squares, pixels of all images
            pooled, truth <= 10 m. ``da2``: median scale, clipped to [0.001, 5] m, mean over images. ``metric``: no
            alignment, no cap.
        mask: Where to look.
        weights: As in :func:`onescene.metrics.depth_metrics`; no paper weighs by ``latitude``, so the key says it.

    Returns:
        ``{metric}_{rule}`` with the metrics of :func:`onescene.metrics.depth_metrics` and ``_`` for ``-`` in the rule's
        name; ``_latitude`` or ``_weighted`` behind it where weights are given.

    Raises:
        ValueError: an unknown rule, or any error of :func:`onescene.metrics.depth_metrics`.

    Notes: UniFuse pools the pixels of a batch, we average over images; its code also sets the truth to 10 m where the
        prediction exceeds 10 m, which is not repeated.
    """
    out: dict[str, float] = {}
    for name in _names(rule):
        by_pixel, suffix = pixel_weights(weights, true)
        parts = sums_by_image(predicted, true, PANORAMA_RULES[name], mask, by_pixel)
        out |= _keyed(metrics_of_parts(parts, PANORAMA_RULES[name].pool), name, suffix)
    return out


def _keyed(values: dict[str, float], rule: str, suffix: str) -> dict[str, float]:
    return {f"{key}_{rule.replace('-', '_')}{suffix}": value for key, value in values.items()}


class PanoramaDepthScores:
    """The same over a data set of any size, panorama by panorama: what a rule pools is pooled over all of them.

    Args:
        rule: As in :func:`panorama_depth_metrics`.
        weights: ``latitude`` or None.

    Raises:
        ValueError: an unknown rule.
    """

    def __init__(self, rule: str | Sequence[str] = "all", weights: str | None = None) -> None:
        self.weights = weights
        self._parts: dict[str, list[dict[str, Tensor]]] = {name: [] for name in _names(rule)}
        self._suffix = ""

    def add(
        self,
        predicted: Float[Tensor, "height width"],
        true: Float[Tensor, "height width"],
        mask: Shaped[Tensor, "height width"] | None = None,
    ) -> dict[str, float]:
        """Takes one more panorama in; returns its own scores, NaN under a rule that has none of its pixels in range.

        Raises:
            ValueError: see :func:`onescene.metrics.depth_metrics`.
        """
        check_maps(predicted, true, mask)
        by_pixel, self._suffix = pixel_weights(self.weights, true)
        scores: dict[str, float] = {}
        for name, parts in self._parts.items():
            rule = PANORAMA_RULES[name]
            if not bool(valid_pixels(true, rule, mask).any()):
                scores |= _keyed(dict.fromkeys(("abs_rel", "delta1"), math.nan), name, self._suffix)
                continue
            own = sums_by_image(predicted, true, rule, mask, by_pixel)
            parts += own
            scores |= _keyed(metrics_of_parts(own, rule.pool), name, self._suffix)
        return scores

    def result(self) -> dict[str, float]:
        """Scores of all panoramas so far, and under ``panoramas_{rule}`` how many the rule could look at."""
        out: dict[str, float] = {}
        for name, parts in self._parts.items():
            if parts:
                out |= _keyed(metrics_of_parts(parts, PANORAMA_RULES[name].pool), name, self._suffix)
            out[f"panoramas_{name.replace('-', '_')}"] = len(parts)
        return out
