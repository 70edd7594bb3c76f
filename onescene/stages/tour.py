"""The tour around the circle: which of a photo's columns every missing column of the panorama repeats.

Private to the panorama stage: a zigzag over the photo that turns where the photo is plain and closes behind the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

# Chosen by eye on crops of panoramas.
TOURS = 1500  # random tours to choose from
MIN_RUN = 0.3  # a tour runs over at least this share of half the photo before it turns
UNIQUE_WEIGHT, REPEAT_WEIGHT, TURN_WEIGHT, STRETCH_WEIGHT, BACK_WEIGHT = 2.0, 0.4, 0.3, 0.5, 0.5


def degrees(height: int) -> float:
    """Pixels per degree of a panorama of this height."""
    return height / 180


def latitudes(height: int) -> np.ndarray:
    """Of every row's centre, upwards from the horizon [height, rad]."""
    return (0.5 - (np.arange(height) + 0.5) / height) * np.pi


@dataclass(frozen=True)
class Columns:
    """The photo's columns on the panorama: the ones with at least half of its tallest column.

    Attributes:
        start: The first of them.
        count: How many.
        unique: How unlike its neighbours in the same rows each column is, 1 on average; objects are, walls are not.
        edges: How strongly each column differs from the next, 1 on average.
        top: The first row of the photo in each column.
        bottom: The last.
    """

    start: int
    count: int
    unique: np.ndarray
    edges: np.ndarray
    top: np.ndarray
    bottom: np.ndarray


def photo_columns(placed: np.ndarray, mask: np.ndarray) -> Columns:
    """Measures the columns of a placed photo."""
    height, _ = mask.shape
    tall = mask.sum(axis=0)
    inside = np.flatnonzero(tall >= 0.5 * tall.max())
    start, stop = int(inside[0]), int(inside[-1]) + 1
    image, known = placed[:, start:stop], mask[:, start:stop]
    smooth = cv2.GaussianBlur(image, (0, 0), max(degrees(height), 0.5))
    rows = np.flatnonzero(known.any(axis=1))
    typical = np.zeros((height, 1, 3), dtype=np.float32)
    typical[rows, 0] = [np.median(smooth[r][known[r]], axis=0) for r in rows]
    weight = known / np.maximum(known.sum(axis=0), 1)
    unique = (np.abs(smooth - typical).sum(axis=-1) * weight).sum(axis=0)
    slope = np.gradient(smooth, axis=1) if stop - start > 1 else np.zeros_like(smooth)
    edges = (np.abs(slope).sum(axis=-1) * weight).sum(axis=0)
    columns = known.shape[1]
    return Columns(
        start=start,
        count=columns,
        unique=unique / max(unique.mean(), 1e-6),
        edges=edges / max(edges.mean(), 1e-6),
        top=np.argmax(known, axis=0).astype(np.float32),
        bottom=(height - 1 - np.argmax(known[::-1], axis=0)).astype(np.float32),
    )


def draw_turns(rng: np.random.Generator, most: int) -> np.ndarray:
    """Turning points of a random zigzag over [-1, 1], which starts at 1 and ends at -1."""
    points = [1.0]
    for k in range(2 * int(rng.integers(1, most + 1))):
        low, high = (-1.0, points[-1] - MIN_RUN) if k % 2 == 0 else (points[-1] + MIN_RUN, 1.0)
        if low >= high:
            break
        points.append(float(rng.uniform(low, high)))
    if len(points) % 2 == 0:  # ended upside down: the last run has to fall
        points.pop()
    return np.array([*points, -1.0]) if points[-1] > MIN_RUN - 1 else np.array([1.0, -1.0])


def choose_tour(columns: Columns, missing: int, rng: np.random.Generator, tours: int = TOURS) -> np.ndarray:
    """Which of the photo's columns (a fraction of an index) each missing column repeats, from its right edge on.

    The tour starts at the photo's right edge and ends at its left one, so the panorama closes; it turns where the
    photo is plain, passes behind the viewer where it is plain, and avoids to show single objects again and again.
    """
    span = missing / columns.count  # in photos
    longest = max(1.6, span / 8)  # a narrow photo is stretched: 8 mirrored runs are enough
    bins = np.linspace(-1, 1, columns.count)
    best_cost, best = np.inf, np.array([1.0, -1.0])
    for _ in range(tours):
        turns = draw_turns(rng, int(np.clip(np.ceil(span), 1, 5)))
        runs = np.abs(np.diff(turns)) / 2
        stretch = span / runs.sum()
        if not 0.75 < stretch < longest:
            continue
        path = np.interp(np.linspace(0, 1, 256), np.append(0, np.cumsum(runs)) / runs.sum(), turns)
        visits, edges = np.histogram(path, bins=64, range=(-1, 1))
        visits = visits * (span * 64 / 256)
        unique = np.interp((edges[1:] + edges[:-1]) / 2, bins, columns.unique)
        cost = UNIQUE_WEIGHT * np.mean(unique**1.5 * visits) + REPEAT_WEIGHT * np.mean(visits**2)
        cost += TURN_WEIGHT * np.interp(turns[1:-1], bins, columns.edges).sum() + STRETCH_WEIGHT * abs(np.log(stretch))
        cost += BACK_WEIGHT * np.interp(path[126:130], bins, columns.edges).max()  # where the panorama's ends meet
        if cost < best_cost:
            best_cost, best = cost, turns
    along = np.append(0, np.cumsum(np.abs(np.diff(best))))
    path = np.interp((np.arange(missing) + 0.5) / missing, along / along[-1], best)
    return (path + 1) / 2 * (columns.count - 1)
