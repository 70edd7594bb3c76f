"""How training sees a scaffold network: its pretrained part, its distance on the panorama, its Gaussians.

The loop and the losses know networks by :class:`TrainedNetwork` alone; a new kind of network is one more class here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from onescene.geometry.cubemap import faces_from_panorama, panorama_from_faces
from onescene.models.one2scene import One2Scene, One2ScenePrediction
from onescene.models.scaffold import CubeScaffold, ScaffoldPrediction
from onescene.models.scaffold.lift import lift_faces
from onescene.training.batches import Sample, known_ground
from onescene.types import Gaussians

SKY_LOG_FACTOR = 0.7  # the sky stands twice as far as the farthest true surface [log]
_LOG_LIMITS = (-4.0, 7.0)  # of a log distance that is lifted [log m], so that an early step can not overflow
NOT_SKY_LOGIT = -20.0  # everywhere, of a network that does not tell
_LOG_SKY = 4.0  # of a panorama that is all sky [log m]


class TrainedNetwork(Protocol):
    """What training asks of a network.

    Attributes:
        face_px: Side of the faces that it sees [pixels].
        fov_deg: Their field of view [degrees].
        holes_are_errors: Whether it answers for what its Gaussians leave black (see ``render_loss.py``).
    """

    face_px: int
    fov_deg: float
    holes_are_errors: bool

    def pretrained(self) -> list[nn.Parameter]:
        """Parameters that learn at the backbone's rate."""

    def on_panorama(self, prediction: object, hw: tuple[int, int]) -> ScaffoldPrediction:
        """The network's output as distance on a panorama of the targets' size."""

    def gaussians(self, prediction: object, index: int, sample: Sample, true_log: Tensor, sky: Tensor) -> Gaussians:
        """Differentiable Gaussians of one scene of a batch, at the truth's median distance."""


def median_log_ratio(
    log_distance: Float[Tensor, "h w"], true_log: Float[Tensor, "h w"], ground: Bool[Tensor, "h w"]
) -> Tensor:
    """By how much a prediction has to shrink to the truth's median [log], without gradient; 0 where nothing is known.

    One image does not tell its scale: views from beside the centre are compared after this; the term ``absolute`` is
    what teaches metres.
    """
    if not bool(ground.any()):
        return true_log.new_zeros(())
    return (log_distance.detach() - true_log)[ground].median()


class TrainedCube:
    """:class:`CubeScaffold`: distance alone, lifted to one Gaussian per face pixel in the panorama's colours."""

    holes_are_errors = False

    def __init__(self, network: CubeScaffold) -> None:
        self.network = network
        self.face_px, self.fov_deg = network.config.face_px, network.config.fov_deg

    def pretrained(self) -> list[nn.Parameter]:
        """The encoder, with its ImageNet features."""
        return list(self.network.encoder.parameters())

    def on_panorama(self, prediction: ScaffoldPrediction, hw: tuple[int, int]) -> ScaffoldPrediction:
        """As it is: this network answers on a panorama as high as its faces."""
        return prediction

    def gaussians(
        self, prediction: ScaffoldPrediction, index: int, sample: Sample, true_log: Tensor, sky: Tensor
    ) -> Gaussians:
        """One Gaussian per face pixel, the true sky far away."""
        log_distance, ground = prediction.log_distance[index], known_ground(true_log, sky)
        offset = median_log_ratio(log_distance, true_log, ground)
        far = true_log[ground].amax() + SKY_LOG_FACTOR if bool(ground.any()) else torch.tensor(_LOG_SKY).to(true_log)
        log_distance = torch.where(sky, far, log_distance - offset).clamp(*_LOG_LIMITS)
        face_log = faces_from_panorama(log_distance[None], self.face_px, self.fov_deg)[:, 0]
        face_sky = faces_from_panorama(sky[None].to(face_log), self.face_px, self.fov_deg, mode="nearest")[:, 0] > 0.5
        faces = faces_from_panorama(sample.rgb.to(face_log), self.face_px, self.fov_deg)
        return lift_faces(faces, face_log.exp(), face_sky, self.fov_deg)


class TrainedOne2Scene:
    """:class:`One2Scene`: VGGT with fusion, which gives depth and all of the Gaussians."""

    holes_are_errors = True

    def __init__(self, network: One2Scene) -> None:
        self.network = network
        self.face_px, self.fov_deg = network.config.face_px, network.config.fov_deg

    def pretrained(self) -> list[nn.Parameter]:
        """What public weights exist for."""
        return self.network.split_parameters()[0]

    def on_panorama(self, prediction: One2ScenePrediction, hw: tuple[int, int]) -> ScaffoldPrediction:
        """C2E of the faces' log distance, and of the sky where the network has one."""
        log_distance, sky_logit = prediction.face_log_distance, prediction.face_sky_logit
        sky_logit = torch.full_like(log_distance, NOT_SKY_LOGIT) if sky_logit is None else sky_logit
        maps = panorama_from_faces(torch.stack((log_distance, sky_logit), dim=2), hw, self.fov_deg)
        return ScaffoldPrediction(maps[:, 0], maps[:, 1], log_distance)

    def gaussians(
        self, prediction: One2ScenePrediction, index: int, sample: Sample, true_log: Tensor, sky: Tensor
    ) -> Gaussians:
        """The network's own; the scene is scaled as a whole."""
        log_distance = prediction.face_log_distance[index][None, :, None]
        log_distance = panorama_from_faces(log_distance, tuple(true_log.shape), self.fov_deg)[0, 0]
        scale = (-median_log_ratio(log_distance, true_log, known_ground(true_log, sky))).exp()
        own = prediction.gaussians(index)
        return replace(own, means=own.means * scale, scales=own.scales * scale)


def trained(network: nn.Module) -> TrainedNetwork:
    """Training's view of a network.

    Raises:
        ValueError: training does not know this kind of network.
    """
    if isinstance(network, CubeScaffold):
        return TrainedCube(network)
    if isinstance(network, One2Scene):
        return TrainedOne2Scene(network)
    raise ValueError(f"network must be a CubeScaffold or a One2Scene, got {type(network).__name__}")
