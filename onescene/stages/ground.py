"""A ground texture for the outpainting: noise on the ground plane with the spectrum of the ground in the photo.

Private to the panorama stage. The ground is seen in a chart from above: a square of the plane y = 1 (one camera height
below the panorama's centre), x to the right, z upwards in the chart.
"""

from __future__ import annotations

import cv2
import numpy as np

CHART_PX = 512  # side of the chart
CHART_REACH = 2.75  # half its side [camera heights]: latitudes below -20 degrees
BLOCK_PX = 48  # side of the blocks that the spectrum is measured on
STEP_PX = 12
LARGEST_RMS = 0.02  # above, the photo shows things that stand on the ground rather than ground
SMALLEST_RMS = 0.004  # below, the ground is plain
EVEN, UNEVEN = 1.4, 2.2  # ratio of the blocks' quartiles: ground reaches 1.7, furniture 1.8 to 6 (twelve photos)
UNEVEN_STRENGTH = 0.3


def smoothstep(t: np.ndarray | float) -> np.ndarray:
    """0 below 0, 1 above 1, smooth in between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _ground_chart(placed: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Detail of the ground [CHART_PX, CHART_PX, 3] (its blur taken away), and where the photo shows it."""
    height, width = mask.shape
    axis = ((np.arange(CHART_PX) + 0.5) / CHART_PX * 2 - 1) * CHART_REACH
    x, z = np.meshgrid(axis, axis[::-1])
    column = (np.arctan2(x, z) / (2 * np.pi) + 0.5) * width - 0.5
    row = (0.5 + np.arctan2(1, np.hypot(x, z)) / np.pi) * height - 0.5
    where = column.astype(np.float32), row.astype(np.float32)
    chart = cv2.remap(placed, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    eroded = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    known = cv2.remap(eroded, *where, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE) > 0
    weight = known.astype(np.float32)[..., None]
    blur_weight = cv2.GaussianBlur(weight, (0, 0), 8)[..., None]
    blurred = cv2.GaussianBlur(chart * weight, (0, 0), 8) / np.maximum(blur_weight, 1e-3)
    return (chart - blurred) * weight, known


def _plain_blocks(detail: np.ndarray, known: np.ndarray) -> tuple[list[np.ndarray], float]:
    """The plainer half of the blocks that lie inside the photo, and how strong the texture should be (RMS)."""
    starts = range(0, CHART_PX - BLOCK_PX + 1, STEP_PX)
    cuts = [(slice(i, i + BLOCK_PX), slice(j, j + BLOCK_PX)) for i in starts for j in starts]
    blocks = [detail[cut] for cut in cuts if known[cut].all()]
    if not blocks:
        return [], 0.0
    rms = np.sqrt([float(np.square(block).mean()) for block in blocks])
    low, middle, high = np.quantile(rms, [0.25, 0.5, 0.75])
    uneven = smoothstep((high / max(low, 1e-8) - EVEN) / (UNEVEN - EVEN))
    strength = min(low, LARGEST_RMS) * smoothstep(low / SMALLEST_RMS - 1) * (1 - (1 - UNEVEN_STRENGTH) * uneven)
    return [block for block, r in zip(blocks, rms, strict=True) if r <= middle], float(strength)


def ground_texture(placed: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise for the panorama's ground, to be added: zero mean, without a preferred direction.

    Args:
        placed: RGB [height, width, 3], float32, the photo on the panorama.
        mask: True where the photo is.
        rng: The noise.

    Returns:
        [height, width, 3]; zero where the photo shows no ground (latitudes below -20 degrees), and above the horizon.
    """
    height, width = mask.shape
    blocks, strength = _plain_blocks(*_ground_chart(placed, mask))
    noise = rng.standard_normal((CHART_PX, CHART_PX))
    if strength == 0:
        return np.zeros_like(placed)
    window = np.outer(np.hanning(BLOCK_PX), np.hanning(BLOCK_PX))[..., None]
    power = sum(np.abs(np.fft.fft2((b - b.mean((0, 1))) * window, axes=(0, 1))) ** 2 for b in blocks).sum(axis=-1)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(BLOCK_PX), np.fft.fftfreq(BLOCK_PX)))
    ring = np.minimum(np.rint(radius * BLOCK_PX), BLOCK_PX // 2).astype(int)
    spectrum = np.sqrt(np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel()))
    radius = np.hypot(np.fft.fftfreq(CHART_PX)[:, None], np.fft.rfftfreq(CHART_PX))
    gain = np.interp(radius * BLOCK_PX, np.arange(len(spectrum)), spectrum, right=0)
    texture = np.fft.irfft2(np.fft.rfft2(noise) * gain, s=(CHART_PX, CHART_PX))
    colour = np.sqrt(np.mean([np.square(b).mean(axis=(0, 1)) for b in blocks], axis=0))
    texture = texture / max(texture.std(), 1e-8) * strength
    return _on_panorama(texture, (height, width))[..., None] * (colour / max(colour.mean(), 1e-8))


def _on_panorama(texture: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """The chart, repeated over the whole plane, seen in a panorama; fades out towards the horizon."""
    height, width = hw
    longitude = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    depression = ((np.arange(height) + 0.5) / height - 0.5)[:, None] * np.pi  # below the horizon
    reach = 1 / np.tan(np.maximum(depression, np.deg2rad(5)))
    x = (reach * np.sin(longitude) / CHART_REACH + 1) / 2 * CHART_PX - 0.5
    y = (1 - reach * np.cos(longitude) / CHART_REACH) / 2 * CHART_PX - 0.5
    seen = cv2.remap(
        texture.astype(np.float32),
        x.astype(np.float32),
        y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    return seen * smoothstep((depression - np.deg2rad(18)) / np.deg2rad(10))
