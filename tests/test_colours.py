"""Colours matched to the anchors: sharper from the centre, no outline beside a depth edge."""

from __future__ import annotations

import math

import pytest
import torch

from onescene.geometry.cubemap import face_cameras
from onescene.metrics import psnr
from onescene.splatting import render
from onescene.stages.colours import COLOUR_MARGIN, colour_limits, near_edge
from onescene.stages.scaffold import ScaffoldConfig, lift_panorama
from onescene.types import Cameras

SIZE = ScaffoldConfig(face_px=64)


def grey_wall() -> tuple[torch.Tensor, torch.Tensor]:
    """A light wall all around, and a dark board hung before it straight ahead: colours and distance."""
    colours, distance = torch.full((3, 128, 256), 0.6), torch.full((128, 256), 4.0)
    colours[:, 48:80, 112:144] = 0.1
    distance[48:80, 112:144] = 2.0
    return colours, distance


def lifted(colours, distance, **settings):
    config = ScaffoldConfig(**{"face_px": SIZE.face_px, **settings})
    return lift_panorama(colours, distance, torch.zeros_like(distance), config)


def ahead(shift: float) -> Cameras:
    camera = face_cameras(SIZE.face_px, 95.0)
    pose = camera.world_from_cam[:1].clone()
    pose[0, 0, 3] = shift
    return Cameras(world_from_cam=pose, K=camera.K[:1], hw=camera.hw)


def test_more_rounds_match_the_anchors_better():
    waves = torch.arange(256) * (2 * math.pi / 32)
    colours = (0.5 + 0.4 * waves[:128, None].sin() * waves.sin()).expand(3, -1, -1)
    quality = []
    for steps in (0, 1, 2, 4):
        made = lifted(colours, torch.full((128, 256), 3.0), colour_steps=steps)
        seen = render(made.gaussians, face_cameras(SIZE.face_px, 95.0)).rgb
        inner = (..., slice(4, -4), slice(4, -4))  # at the borders the next face's splats lie over a pixel
        quality.append(psnr(seen[inner], made.faces[inner]).mean().item())
    assert quality[0] + 8 < quality[1] < quality[2] - 3 and quality[2] < quality[3], quality


def test_no_outline_beside_a_depth_edge():
    """To the left of the board the wall behind it comes into sight: it is as light as everywhere, not lighter."""
    colours, distance = grey_wall()
    brightest = {}
    for name, threshold in (("kept", 0.25), ("free", 50.0)):  # 50: nothing is an edge
        made = lifted(colours, distance, colour_steps=4, edge_threshold=threshold)
        brightest[name] = max(render(made.gaussians, ahead(s)).rgb[:, :, 16:48].max().item() for s in (-0.3, 0.3))
    assert brightest["kept"] < 0.6 + 0.005
    assert brightest["free"] > 0.6 + 0.05


def test_limits_are_what_is_seen_on_ones_own_side():
    faces, distance = torch.full((6, 3, 16, 16), 0.6), torch.full((6, 16, 16), 4.0)
    faces[..., 8:], distance[..., 8:] = 0.1, 2.0
    faces[0, :, 5, 7] = 0.7  # a bright pixel at the edge, on the far side
    held = near_edge(distance.log(), 0.25)
    assert held[0, 0].nonzero().flatten().tolist() == [6, 7, 8, 9]
    assert not near_edge(distance.log(), math.log(2) + 1e-3).any()
    low, high = colour_limits(faces, distance, held, 0.25)
    assert torch.equal(low[0, 0, 5, 6:10], torch.tensor([0.6, 0.6, 0.1, 0.1]))
    torch.testing.assert_close(high[0, 0, 5, 6:10], torch.tensor([0.7, 0.7, 0.1, 0.1]))
    assert high[0, 0, 0, 0] == pytest.approx(1 + COLOUR_MARGIN) and low[0, 0, 0, 15] == pytest.approx(-COLOUR_MARGIN)
