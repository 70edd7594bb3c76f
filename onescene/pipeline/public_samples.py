"""Evaluation samples of public data sets, straight from their own files."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from onescene.data.public import PublicSet
from onescene.pipeline.evaluation import EvaluationSample


class PublicSamples:
    """Samples of a public set. What is not known is left out as the sky is: neither has a distance to compare with.

    Args:
        data: The set.
        every: Takes every n-th panorama.

    Attributes:
        skipped: Why panoramas were left out, by their names; filled while the samples are taken.
    """

    def __init__(self, data: PublicSet, every: int = 1) -> None:
        self.data, self.every = data, every
        self.skipped: dict[str, str] = {name: "its depth is missing" for name in data.without_depth}

    def __iter__(self) -> Iterator[EvaluationSample]:
        for index in range(0, len(self.data), self.every):
            try:
                rgb, distance, _ = self.data[index]
            except ValueError as error:
                self.skipped[self.data.name(index)] = str(error)
                continue
            distance = torch.from_numpy(distance)
            known = torch.isfinite(distance)
            yield EvaluationSample(
                name=self.data.name(index),
                rgb=torch.from_numpy(rgb).permute(2, 0, 1).float() / 255,
                distance=torch.where(known, distance, torch.ones_like(distance)),
                sky=(~known).float(),
            )
