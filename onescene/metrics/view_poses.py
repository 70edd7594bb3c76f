"""Where a picture was taken, estimated from known pictures around it, and how far that is from where it should be.

One2Scene (A.1) has VGGT estimate the poses of generated views. Here SIFT points are matched with the clean views, whose
cameras are known; the five-point method with the known intrinsics (OpenCV, RANSAC) and a robust refinement turn the
matches into a rotation and a direction. How far apart two views stand can not be seen in them: that is taken from the
truth. Close to the known place a small turn looks like a small shift: what true pictures lose is to be shown beside.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import least_squares
from torch import Tensor

from onescene.geometry.rotations import look_at
from onescene.metrics.pose import pose_errors

INLIERS = 12  # fewer matches on their epipolar lines fix no pose
INLIER_SHARE = 0.4  # of all matches, as well
_LEAST_COSINE = 0.2  # of a match's direction to the mean one: all must fit on one plane
_CONTRAST = 0.01  # of a SIFT point: OpenCV's 0.04 leaves few in plain rooms
_RATIO = 0.8  # Lowe's: a match must be this much nearer than the second nearest
_THRESHOLD_PX = 1.0  # from the epipolar line
_CONFIDENCE = 0.9999  # of RANSAC
_FAR = 1e4  # points further away than this many baselines do not vote for the side that the camera looks to


class RelativePose(NamedTuple):
    """How a view stands to a known place.

    Attributes:
        world_from_cam: Its rotation [3, 3].
        direction: From the place to it, of length 1.
        inliers: Matches that agree.
    """

    world_from_cam: Float[Tensor, "3 3"]
    direction: Float[Tensor, " 3"]
    inliers: int


def directions(xy: Float[Tensor, "n 2"], K: Float[Tensor, "3 3"], rotation: Float[Tensor, "3 3"]) -> Tensor:
    """Where a camera of this rotation (world_from_cam) sees pixels: directions [n, 3] of length 1."""
    rays = torch.nn.functional.pad(xy.double().cpu(), (0, 1), value=1.0) @ torch.linalg.inv(K.double().cpu()).T
    return torch.nn.functional.normalize(rays @ rotation.double().cpu().T, dim=-1)


def relative_pose(seen: Float[Tensor, "n 3"], xy: Float[Tensor, "n 2"], K: Float[Tensor, "3 3"]) -> RelativePose | None:
    """A camera's rotation and direction by the five-point method; None where the matches fix none.

    Args:
        seen: Directions in which points are seen from the known place.
        xy: The same points in the view [pixels].
        K: Its intrinsics [pixels].
    """
    towards = torch.eye(3, dtype=torch.float64)
    if len(seen):
        towards = look_at(torch.zeros(3, dtype=torch.float64), seen.mean(0))[:3, :3]
    ahead = seen @ towards
    ahead, xy = (x[ahead[:, 2] > _LEAST_COSINE] for x in (ahead, xy))
    if len(xy) < INLIERS:
        return None
    rays = directions(xy, K, torch.eye(3, dtype=torch.float64))
    planes = [(d[:, :2] / d[:, 2:]).numpy().copy() for d in (ahead, rays)]
    limit = _THRESHOLD_PX / float(K[0, 0])
    essential, mask = cv2.findEssentialMat(*planes, np.eye(3), cv2.RANSAC, _CONFIDENCE, limit)
    if essential is None or essential.shape != (3, 3):
        return None
    _, R, t, *_ = cv2.recoverPose(essential, *planes, np.eye(3), _FAR, mask=mask)
    turn, shift = refined(R.T, -R.T @ t[:, 0], ahead.numpy(), rays.numpy(), limit)
    count = int((np.abs(epipolar_sines(turn, shift, ahead.numpy(), rays.numpy())) < limit).sum())
    if count < max(INLIERS, INLIER_SHARE * len(xy)):
        return None
    return RelativePose(towards @ torch.from_numpy(turn), towards @ torch.from_numpy(shift), count)


def epipolar_sines(rotation: np.ndarray, shift: np.ndarray, seen: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Sines of the angles between directions from the known place and the planes of a camera's rays and its shift."""
    normals = np.cross(shift, rays @ rotation.T)
    return (seen * normals).sum(1) / np.maximum(np.linalg.norm(normals, axis=1), 1e-12)


def refined(
    rotation: np.ndarray, shift: np.ndarray, seen: np.ndarray, rays: np.ndarray, limit: float
) -> tuple[np.ndarray, np.ndarray]:
    """The pose near a first guess that most matches agree with: robust least squares of epipolar angles.

    Args:
        rotation: A first guess of known_from_cam.
        shift: Of the direction to the camera, of length 1.
        seen: Directions [n, 3] from the known place.
        rays: The same points' directions in the camera.
        limit: Angles beyond this count ever less [radians].
    """

    def pose(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return cv2.Rodrigues(x[:3])[0] @ rotation, x[3:] / np.linalg.norm(x[3:])

    def errors(x: np.ndarray) -> np.ndarray:
        return epipolar_sines(*pose(x), seen, rays) / limit

    return pose(least_squares(errors, np.concatenate((np.zeros(3), shift)), loss="cauchy", f_scale=0.5).x)


def features(rgb: Float[Tensor, "3 h w"]) -> tuple[Tensor, np.ndarray]:
    """SIFT points of an image in [0, 1]: xy [n, 2] [pixels, corner at (0, 0)] and their descriptions [n, 128]."""
    grey = cv2.cvtColor((rgb.permute(1, 2, 0) * 255).round().byte().cpu().numpy(), cv2.COLOR_RGB2GRAY)
    points, words = cv2.SIFT_create(contrastThreshold=_CONTRAST).detectAndCompute(grey, None)
    xy = np.array([point.pt for point in points], np.float32).reshape(-1, 2) + 0.5
    return torch.from_numpy(xy), np.zeros((0, 128), np.float32) if words is None else words


def matched(words_a: np.ndarray, words_b: np.ndarray) -> list[tuple[int, int]]:
    """Numbers of descriptions that are nearest to each other, and clearly nearer than the second nearest."""
    if min(len(words_a), len(words_b)) < 2:
        return []
    there, back = (cv2.BFMatcher(cv2.NORM_L2).knnMatch(*pair, k=2) for pair in ((words_a, words_b), (words_b, words_a)))
    returns = {first.queryIdx: first.trainIdx for first, _ in back}
    clear = [first for first, second in there if first.distance < _RATIO * second.distance]
    return [(m.queryIdx, m.trainIdx) for m in clear if returns[m.trainIdx] == m.queryIdx]


class Reference:
    """Known views as places from which points are seen; those of one place, such as six anchors, are put together.

    Args:
        rgb: Pictures in [0, 1].
        world_from_cam: Their cameras, OpenCV axes.
        K: Intrinsics [pixels].
    """

    def __init__(
        self, rgb: Float[Tensor, "a 3 h w"], world_from_cam: Float[Tensor, "a 4 4"], K: Float[Tensor, "a 3 3"]
    ) -> None:
        parts: dict[tuple[float, ...], list[tuple[Tensor, np.ndarray]]] = {}
        for picture, camera, intrinsics in zip(rgb, world_from_cam, K, strict=True):
            xy, words = features(picture)
            centre = tuple(round(x, 6) for x in camera[:3, 3].tolist())
            parts.setdefault(centre, []).append((directions(xy, intrinsics, camera[:3, :3]), words))
        self.places = [
            (torch.tensor(centre, dtype=torch.float64), torch.cat([d for d, _ in p]), np.concatenate([w for _, w in p]))
            for centre, p in parts.items()
        ]

    def camera_of(
        self, rgb: Float[Tensor, "3 h w"], K: Float[Tensor, "3 3"], position: Float[Tensor, " 3"]
    ) -> Float[Tensor, "4 4"] | None:
        """Camera of a picture, from the place that most matches agree with; None where no place has enough.

        Args:
            rgb: In [0, 1].
            K: Its intrinsics [pixels].
            position: Where it should stand: its distance to the known place is taken over [world units].
        """
        xy, words = features(rgb)
        best, pose = 0, None
        for centre, seen, known_words in self.places:
            pairs = matched(known_words, words)
            found = relative_pose(seen[[i for i, _ in pairs]], xy[[j for _, j in pairs]], K)
            if found is not None and found.inliers > best:
                best, pose = found.inliers, torch.eye(4, dtype=torch.float64)
                pose[:3, :3] = found.world_from_cam
                pose[:3, 3] = centre + (position.double().cpu() - centre).norm() * found.direction
        return pose


def view_pose_errors(
    rgb: Float[Tensor, "v 3 h w"],
    world_from_cam: Float[Tensor, "v 4 4"],
    K: Float[Tensor, "v 3 3"],
    reference: Reference,
) -> dict[str, float]:
    """RotErr, TransErr and CamMC (A.1 of One2Scene) of estimated cameras against those that pictures were made for.

    Args:
        rgb: In [0, 1].
        world_from_cam: Cameras that they were made for.
        K: Intrinsics [pixels].
        reference: Clean views to estimate from.

    Returns:
        ``rot_err_rad_mean_true_scale``, ``trans_err_mean_true_scale`` [world units] and ``cam_mc_mean_true_scale`` over
        the views whose pose was found (NaN if none was), and ``poses_found``, their share in [0, 1].

    Raises:
        ValueError: numbers of pictures and cameras differ, or there is none.
    """
    if not len(rgb) == len(world_from_cam) == len(K) or len(rgb) == 0:
        got = f"{len(rgb)}, {len(world_from_cam)}, {len(K)}"
        raise ValueError(f"rgb, world_from_cam and K must agree in number and be at least one, got {got}")
    true, found = world_from_cam.double().cpu(), {}
    for view in range(len(rgb)):
        camera = reference.camera_of(rgb[view], K[view], true[view, :3, 3])
        if camera is not None:
            found[view] = camera
    names = {f"{name}_mean_none": f"{name}_mean_true_scale" for name in ("rot_err_rad", "trans_err", "cam_mc")}
    errors = pose_errors(torch.stack([*found.values()]), true[[*found]]) if found else {}
    return {new: errors.get(old, float("nan")) for old, new in names.items()} | {"poses_found": len(found) / len(rgb)}
