"""The engine ``small``: the classical filling of a view, corrected on a panorama by the small outpainter."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.perspective import crop_panorama, place_photo
from onescene.models.outpainter import Outpainter
from onescene.models.outpainter.weights import SmallOptions, load_outpainter
from onescene.stages.anchored.config import SMALL
from onescene.stages.anchored.engines import WHOLLY, Engine, InpaintRequest, classical_engine, refuse_prompt
from onescene.stages.anchored.order import View, view_cameras
from onescene.stages.outpaint import extend
from onescene.stages.outpaint_learned import correct


def learned_engine() -> Engine:
    """The outpainter that ships, as an engine; it reads no prompt.

    Raises:
        FileNotFoundError, ValueError: the weights are missing or do not fit.
    """
    network, _ = load_outpainter(SmallOptions().file())
    return lambda request: complete(network, request)


def complete(network: Outpainter, request: InpaintRequest) -> Float[Tensor, "3 height width"]:
    """A view completed: its classical filling, with the network's layout, colours and grain.

    The network knows panoramas: the view is laid on one, at longitude 0 where photos stood in its training, with the
    nearest colours around it.

    Args:
        network: In evaluation mode.
        request: The view; its camera may not be rolled.

    Raises:
        ValueError: there is a prompt.
    """
    refuse_prompt(request, SMALL)
    filled = classical_engine(request)
    if request.camera is None:
        return correct(network, request.rgb, request.known, filled, request.generator)
    f_px, side_px = float(request.camera.K[0, 0, 0]), request.camera.hw[1]
    fov_deg = math.degrees(2 * math.atan(side_px / 2 / f_px))
    pitch_deg = math.degrees(math.asin(-float(request.camera.world_from_cam[0, 1, 2].clamp(-1, 1))))
    height = max(network.config.height_px, round(math.pi * f_px))  # as fine as the view at its middle
    pictures = filled, request.rgb, request.known.to(filled).expand(3, -1, -1)
    placed = [place_photo(x, (height, 2 * height), fov_deg, pitch_deg=pitch_deg) for x in pictures]
    (draft, rgb, share), mask = (p.panorama for p in placed), placed[0].mask
    known = mask & (share[0] > WHOLLY)
    around = extend(np.ascontiguousarray(draft.permute(1, 2, 0).cpu().numpy()), mask.cpu().numpy())
    draft = torch.from_numpy(around).permute(2, 0, 1).to(filled)
    made = correct(network, rgb * known, known, draft, request.generator)
    there = view_cameras([View("view", "scene", pitch_deg=pitch_deg, fov_deg=fov_deg)], side_px).to(made)
    return crop_panorama(made, there)[0]
