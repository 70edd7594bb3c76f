"""Which clean views go with a chunk of targets: anchors, and frames generated earlier (Sec. 3.3 of One2Scene)."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.plucker import camera_distance

Policy = Literal["nearest", "3 anchors + 2 generated", "none"]
POLICIES: tuple[Policy, ...] = ("nearest", "3 anchors + 2 generated", "none")
_COST_OF_DISTANCE = 100.0  # degrees per world unit, the release's


def camera_cost(a: Float[Tensor, "a 4 4"], b: Float[Tensor, "b 4 4"]) -> Float[Tensor, "a b"]:
    """How far cameras are from each other: rotation [degrees] + 100 x distance [world units]."""
    rotation_deg, distance = camera_distance(a, b)
    return rotation_deg + _COST_OF_DISTANCE * distance


def choose_views(
    policy: Policy,
    targets: Float[Tensor, "t 4 4"],
    anchors: Float[Tensor, "a 4 4"],
    generated: Float[Tensor, "g 4 4"],
    clean: int = 5,
) -> tuple[list[int], list[int]]:
    """Numbers of the anchors and of the generated frames that accompany a chunk of targets, ``clean`` together.

    Args:
        policy: ``nearest`` = one generated frame, that of the smallest mean cost to the targets (the paper), and the
            anchors of the smallest mean cost; ``3 anchors + 2 generated`` = the cheapest for the first, the middle two
            and the last target (the release). Places that no generated frame fills go to unused anchors, in order.
            ``none`` = as ``nearest`` without a generated frame.
        targets: Cameras of the chunk.
        anchors: Cameras of the anchors.
        generated: Cameras of the frames in memory; may be none.
        clean: Views in all; fewer are returned where there are no more.

    Raises:
        ValueError: an unknown policy, no target, or ``clean`` below 1.
    """
    if policy not in POLICIES:
        raise ValueError(f"policy must be one of {POLICIES}, got {policy!r}")
    if len(targets) == 0 or clean < 1:
        raise ValueError(f"targets and clean must be at least 1, got {len(targets)} and {clean}")
    to_anchors, to_generated = camera_cost(targets, anchors), camera_cost(targets, generated)
    if policy in ("nearest", "none"):
        wanted = min(1, clean - 1) if policy == "nearest" else 0
        remembered = to_generated.mean(dim=0).argsort(stable=True)[:wanted].tolist()
        chosen = to_anchors.mean(dim=0).argsort(stable=True)[: clean - len(remembered)].tolist()
        return chosen, remembered
    n = len(targets)
    middle = to_anchors[(n - 1) // 2 : n // 2 + 1].mean(dim=0)
    chosen = _distinct([to_anchors[0], middle, to_anchors[-1]])[:clean]
    remembered = _distinct([to_generated[0], to_generated[-1]])[: clean - len(chosen)]
    unused = [a for a in range(len(anchors)) if a not in chosen]
    return chosen + unused[: clean - len(chosen) - len(remembered)], remembered


def _distinct(costs: list[Tensor]) -> list[int]:
    """The cheapest of each list that no earlier one took."""
    taken: list[int] = []
    for cost in costs:
        free = [i for i in cost.argsort(stable=True).tolist() if i not in taken]
        taken += free[:1]
    return taken


def forget_over(kept: list[int], cameras: Float[Tensor, "g 4 4"], capacity: int) -> list[int]:
    """Takes what is missed least out of ``kept`` (numbers of cameras) until it has ``capacity``; returns what went."""
    forgotten = []
    while len(kept) > capacity:
        forgotten.append(kept.pop(most_redundant(cameras[kept]) if len(kept) > 1 else 0))
    return forgotten


def most_redundant(cameras: Float[Tensor, "g 4 4"]) -> int:
    """Number of the camera that a memory misses least: the older of the two that are closest to each other.

    Raises:
        ValueError: fewer than two cameras.
    """
    if len(cameras) < 2:
        raise ValueError(f"cameras must be at least two, got {len(cameras)}")
    cost = camera_cost(cameras, cameras)
    cost = cost + torch.tril(torch.full_like(cost, torch.inf))
    return int(cost.amin(dim=1).argmin())
