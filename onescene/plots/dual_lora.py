"""Figures of the Dual-LoRA toy: a scene on a circle, losses, attention between kinds of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

KINDS = ("anchor", "render", "hole")


def scene_figure(
    tokens: Float[Tensor, "n c"],
    rendered: Float[Tensor, " n"],
    true: Float[Tensor, "n 3"],
    answer: Float[Tensor, "n 3"] | None = None,
) -> Figure:
    """One scene around its circle: true colours on the inner ring, what each token shows outside, the answer beyond.

    Args:
        tokens: Colour (3), hole flag (1), then sine and cosine of the angle first.
        rendered: 1 for renders.
        true: The scene's colours in [-1, 1].
        answer: A network's colours, or None.
    """
    angle = torch.atan2(tokens[:, 4], tokens[:, 5])
    rings = [(true, 1.0, "true"), (tokens[:, :3], 1.35, "shown")]
    if answer is not None:
        rings.append((answer, 1.7, "answer at renders"))
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axis = figure.subplots()
    for colours, radius, name in rings:
        for i in range(len(angle)):
            is_render, hole = bool(rendered[i]), bool(tokens[i, 3]) and name == "shown"
            if name == "answer at renders" and not is_render:
                continue
            x, y = radius * angle[i].sin(), radius * angle[i].cos()
            face = "white" if hole else tuple(((colours[i] + 1) / 2).clamp(0, 1).tolist())
            axis.plot(x, y, "s" if is_render else "o", color=face, markersize=13, markeredgecolor="black")
        axis.text(0, -radius - 0.1, name, ha="center", va="top", fontsize=8, color="0.4")
    axis.set(xlim=(-2, 2), ylim=(-2, 2), aspect="equal")
    axis.axis("off")
    axis.set_title("circles: anchors, squares: renders, white: holes", fontsize=9)
    return figure


def curves_figure(curves: Mapping[str, Sequence[float]], levels: Mapping[str, float]) -> Figure:
    """Losses over steps on a logarithmic axis, with dashed lines for what does not learn."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axis = figure.subplots()
    for name, values in curves.items():
        smooth = []
        for value in values:
            smooth.append(value if not smooth else 0.9 * smooth[-1] + 0.1 * value)
        axis.plot(smooth, label=name)
    for name, level in levels.items():
        axis.axhline(level, color="0.5", linestyle="--", linewidth=1, label=name)
    axis.set(yscale="log", xlabel="step", ylabel="mean squared error at renders")
    axis.legend(fontsize=8)
    return figure


def attention_figure(
    attention: Float[Tensor, "depth batch n n"], rendered: Float[Tensor, "batch n"], hole: Float[Tensor, "batch n"]
) -> Figure:
    """Share of attention that each kind of token gives to each kind, per block.

    Args:
        attention: Rows ask, columns are asked; every row sums to 1.
        rendered: 1 for renders.
        hole: 1 for renders that show nothing.
    """
    kinds = torch.stack((1 - rendered, rendered * (1 - hole), rendered * hole), dim=-1)  # batch n 3
    given = torch.einsum("dbij,bik,bjl->dkl", attention, kinds, kinds)
    share = given / given.sum(-1, keepdim=True)
    figure = Figure(figsize=(4.2 * len(share), 3.4), layout="constrained")
    for number, axis in enumerate(figure.subplots(1, len(share), squeeze=False)[0]):
        shown = axis.imshow(share[number].numpy(), vmin=0, vmax=1, cmap="Blues")
        for row in range(3):
            for column in range(3):
                axis.text(column, row, f"{share[number, row, column]:.2f}", ha="center", va="center", fontsize=9)
        axis.set_xticks(range(3), KINDS)
        axis.set_yticks(range(3), KINDS)
        axis.set(xlabel="is asked", ylabel="asks", title=f"block {number + 1}")
    figure.colorbar(shown, ax=figure.axes, label="share of attention")
    return figure
