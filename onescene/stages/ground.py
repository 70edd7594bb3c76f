"""A ground texture for the outpainting: noise on the ground plane, as fine and as strong as the ground in the photo.

Private to the panorama stage. A row of the panorama below the horizon is a circle on the ground around the viewer, so
the spectrum along it has a scale even where the photo shows the ground at a flat angle only:

    rows of the photo below the horizon -> pieces of one length on the ground -> spectrum of the plainer half
      -> noise with that spectrum and with those pieces' range of brightness on a chart seen from above
      -> seen in the panorama, the farther the smoother

The chart is a square of the plane y = 1 (one camera height below the panorama's centre), and repeats.
"""

from __future__ import annotations

import cv2
import numpy as np

from onescene.stages.tour import latitudes

CHART_PX = 512  # side of the chart
CHART_SIDE = 5.5  # the same [camera heights]
PIECE = 0.6  # length of a piece of a row [camera heights]
COARSE = 1.2  # waves per piece below which the texture fades: blotches look like dirt
FEWEST_PX = 12  # of a piece, in a row that is used
HORIZON_DEG = 8.0  # rows less far below the horizon show the ground too flat
LOWEST_DEG = 12.0  # only the photo's lowest rows are ground, those of so many degrees
LARGEST_RMS = 0.06  # above, the photo shows things that stand on the ground rather than ground
SMALLEST_RMS = 0.003  # below, the ground is plain
EVEN, UNEVEN = 1.6, 2.6  # ratio of the pieces' quartiles: ground reaches 2.1, furniture 2.4 to 28 (23 photos)
UNEVEN_STRENGTH = 0.3


def smoothstep(t: np.ndarray | float) -> np.ndarray:
    """0 below 0, 1 above 1, smooth in between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _depression(height: int) -> np.ndarray:
    """How far below the horizon every row looks [rad]."""
    return -latitudes(height)


def _pieces(placed: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """Stretches of the photo's lowest rows that are ``PIECE`` long on the ground, [n, 3] each, without their trend."""
    height, width = mask.shape
    inside = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    depression, pieces = _depression(height), []
    rows = np.flatnonzero(inside.any(axis=1))
    if not len(rows):
        return []
    first = max(np.deg2rad(HORIZON_DEG), depression[rows[-1]] - np.deg2rad(LOWEST_DEG))
    for row in rows[depression[rows] >= first]:
        count = round(PIECE * width / (2 * np.pi) * np.tan(depression[row]))
        columns = np.flatnonzero(inside[row])
        if count < FEWEST_PX:
            continue
        for start in range(columns[0], columns[-1] + 2 - count, max(1, count // 2)):
            if inside[row, start : start + count].all():
                along = np.linspace(-1, 1, count, dtype=np.float32)[:, None]
                piece = placed[row, start : start + count]
                piece = piece - piece.mean(axis=0)
                pieces.append(piece - along * (piece * along).sum(axis=0) / (along**2).sum())
    return pieces


def _plain_pieces(pieces: list[np.ndarray]) -> tuple[list[np.ndarray], float]:
    """The plainer half, and how strong the texture should be (RMS)."""
    if not pieces:
        return [], 0.0
    rms = np.sqrt([float(np.square(piece).mean()) for piece in pieces])
    low, middle, high = np.quantile(rms, [0.25, 0.5, 0.75])
    uneven = smoothstep((high / max(low, 1e-8) - EVEN) / (UNEVEN - EVEN))
    strength = min(low, LARGEST_RMS) * smoothstep(low / SMALLEST_RMS - 1) * (1 - (1 - UNEVEN_STRENGTH) * uneven)
    return [piece for piece, r in zip(pieces, rms, strict=True) if r <= middle], float(strength)


def _spectrum(pieces: list[np.ndarray]) -> np.ndarray:
    """Amplitude of a texture without a preferred direction at 0, 1, 2, ... waves per ``PIECE``.

    Along a line one sees the plane's power at that frequency and at all higher ones across it; for power laws, which
    natural textures nearly are, the plane's is the line's divided by the frequency.
    """
    longest = max(len(piece) for piece in pieces) // 2 + 1
    power, seen = np.zeros(longest), np.zeros(longest)
    for piece in pieces:
        found = np.abs(np.fft.rfft(piece * np.hanning(len(piece))[:, None], axis=0) / len(piece)) ** 2
        power[: len(found)] += found.sum(axis=1)
        seen[: len(found)] += 1
    return np.sqrt(power / np.maximum(seen, 1) / np.maximum(np.arange(longest), 1))


def ground_texture(placed: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise for the panorama's ground, to be added: zero mean, without a preferred direction.

    Args:
        placed: RGB [height, width, 3], float32, the photo on the panorama.
        mask: True where the photo is.
        rng: The noise.

    Returns:
        [height, width, 3]; zero where the photo shows no ground (8 degrees or more below the horizon), and above it.
    """
    pieces, strength = _plain_pieces(_pieces(placed, mask))
    noise = rng.standard_normal((CHART_PX, CHART_PX))
    if strength == 0:
        return np.zeros_like(placed)
    spectrum = _spectrum(pieces)
    waves = np.hypot(np.fft.fftfreq(CHART_PX)[:, None], np.fft.rfftfreq(CHART_PX)) * CHART_PX / CHART_SIDE * PIECE
    gain = np.interp(waves, np.arange(len(spectrum)), spectrum, right=0) * smoothstep((waves - 0.5) / COARSE)
    texture = np.fft.irfft2(np.fft.rfft2(noise) * gain, s=(CHART_PX, CHART_PX))
    grey = np.concatenate([piece.mean(axis=1) / max(piece.std(), 1e-8) for piece in pieces])
    colour = np.sqrt(np.mean([np.square(piece).mean(axis=0) for piece in pieces], axis=0))
    texture = _calm_below(_with_values(texture, grey) * strength)
    return _on_panorama(texture, mask.shape)[..., None] * (colour / max(colour.mean(), 1e-8))


def _with_values(texture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The texture with the distribution of ``values``, at zero mean and a standard deviation of 1.

    Joints between stones are narrow and dark, blades of grass narrow and bright: noise alone is neither.
    """
    order = texture.ravel().argsort()
    matched = np.empty(order.size)
    matched[order] = np.quantile(values, (np.arange(order.size) + 0.5) / order.size)
    return ((matched - matched.mean()) / max(matched.std(), 1e-8)).reshape(texture.shape)


def _calm_below(texture: np.ndarray) -> np.ndarray:
    """The texture shifted so that the most even of its places lies under the viewer, where all longitudes meet."""
    around = np.pad(texture, 16, "wrap").astype(np.float32)
    steepness = cv2.GaussianBlur(sum(np.square(g) for g in np.gradient(around)), (0, 0), 3)[16:-16, 16:-16]
    return np.roll(texture, -np.array(np.unravel_index(steepness.argmin(), texture.shape)), axis=(0, 1))


def _on_panorama(texture: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """The chart, repeated over the whole plane, seen in a panorama; fades out towards the horizon."""
    height, width = hw
    longitude = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    depression = _depression(height)[:, None]
    reach = 1 / np.tan(np.maximum(depression, np.deg2rad(5)))
    per_height = CHART_PX / CHART_SIDE
    places = [((reach * f(longitude)) * per_height % CHART_PX).astype(np.float32) for f in (np.sin, np.cos)]
    # so much of the plane lies behind half a row of pixels, away from the viewer [chart pixels]: it is averaged
    covered = (1 + reach**2) * np.pi / height * per_height / 2
    seen = np.zeros(hw, np.float32)
    for size in (0, 1, 2, 4, 8):
        share = smoothstep(np.log2(covered / size) + 1) if size else 1.0
        around = np.pad(texture, 4 * size + 1, "wrap").astype(np.float32)
        level = cv2.GaussianBlur(around, (0, 0), size) if size else around
        seen += (cv2.remap(level, *(p + 4 * size + 1 for p in places), cv2.INTER_LINEAR) - seen) * share
    return seen * smoothstep((depression - np.deg2rad(HORIZON_DEG)) / np.deg2rad(8))
