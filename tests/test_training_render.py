"""Rendering loss, displaced views and terms on geometry: by hand, exact scenes, gradients that point the right way."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from onescene.data.panoramas import PackedViews, encode_distance
from onescene.geometry.cubemap import faces_from_panorama
from onescene.geometry.equirect import directions_from_panorama, panorama_xy_from_directions
from onescene.models import one2scene
from onescene.models.one2scene import One2Scene
from onescene.models.scaffold import CubeScaffold, CubeScaffoldConfig, ScaffoldPrediction
from onescene.splatting import render
from onescene.training import batches
from onescene.training.augment import Turn
from onescene.training.batches import draw_sample
from onescene.training.geometry_terms import crop_loss, normal_loss
from onescene.training.networks import TrainedCube, trained
from onescene.training.posed import PosedMaps, PosedRooms
from onescene.training.render_loss import render_terms, true_views
from onescene.training.scaffold import TrainConfig, batch_terms, new_state, train_scaffold
from onescene.training.scaffold_loss import PAPER_LOSS, LossWeights
from onescene.types import Cameras

TINY = CubeScaffoldConfig(face_px=32, dim=24, heads=2, depth=1, decoder=(16, 16, 8, 8))
RENDER = LossWeights(render=10.0)


@pytest.fixture(scope="module")
def rooms():
    return PosedRooms(2, (64, 128), seed=5, views=2, shift=(0.25, 0.4))


# --- displaced views -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mirror", [False, True])
def test_turned_cameras_see_the_turned_world(mirror):
    generator = torch.Generator().manual_seed(0)
    hw, turn = (32, 64), Turn(11, 64, mirror)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    rotation = rotation * torch.det(rotation).sign()
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, torch.tensor([0.2, -0.1, 0.3])
    K = torch.tensor([[20.0, 0, 14], [0, 20, 17], [0, 0, 1]])
    cameras = Cameras(world_from_cam=pose[None], K=K[None], hw=(30, 40))
    points = torch.randn(50, 3, generator=generator) * 3
    turned_cameras = turn.cameras(cameras)
    assert torch.linalg.det(turned_cameras.world_from_cam[0, :3, :3]) > 0.99
    moved = turned(points, turn)
    # the panorama agrees: a point's column moves as `panorama` moves columns
    x = panorama_xy_from_directions(F.normalize(points, dim=-1), hw)[:, 0]
    wanted = (x + 11) % 64
    wanted = 64 - wanted if mirror else wanted
    got = panorama_xy_from_directions(F.normalize(moved, dim=-1), hw)[:, 0]
    assert ((got - wanted + 32) % 64 - 32).abs().max() < 1e-3
    before, after = pixels(points, cameras), pixels(moved, turned_cameras)
    wanted = torch.stack((40 - before[:, 0], before[:, 1]), -1) if mirror else before
    torch.testing.assert_close(after, wanted, rtol=1e-4, atol=1e-3)


def turned(points, turn):
    angle = 2 * math.pi * turn.columns / turn.width
    x, y, z = points.unbind(-1)
    x, z = x * math.cos(angle) + z * math.sin(angle), z * math.cos(angle) - x * math.sin(angle)
    return torch.stack((-x if turn.mirror else x, y, z), -1)


def pixels(points, cameras):
    """By the definition: K cam_from_world p, in front of the camera or not."""
    cam = torch.linalg.inv(cameras.world_from_cam[0])
    local = (points @ cam[:3, :3].T + cam[:3, 3]) @ cameras.K[0].T
    return local[:, :2] / local[:, 2:]


def test_rooms_are_seen_from_free_space(rooms):
    views = rooms.views(0)
    assert views.rgb.shape == (2, 32, 32, 3) and views.rgb.std() > 5
    where = np.linalg.norm(views.world_from_cam[:, :3, 3], axis=-1)
    median = np.median(rooms[0][1])
    assert (where > 0.02 * median).all() and (where <= 0.4001 * median).all()
    axes = views.world_from_cam[:, :3, :3]
    np.testing.assert_allclose(axes @ axes.transpose(0, 2, 1), np.eye(3)[None].repeat(2, 0), atol=1e-6)
    assert np.allclose(np.linalg.det(axes), 1) and np.allclose(axes[:, 1, 1], 1)  # upright
    assert rooms.views(0) is views


def packed(folder, name, rooms, with_views):
    rgb, distance, sky = rooms[0]
    arrays = {"rgb": rgb[None], "log_distance": encode_distance(np.where(sky, np.inf, distance))[None]}
    if with_views:
        views = rooms.views(0)
        arrays |= {f"view_{k}": getattr(views, k)[None] for k in ("rgb", "depth_z", "world_from_cam", "K")}
    np.savez(folder / f"{name}.npz", **arrays)


def test_packed_views_are_found_where_they_are(tmp_path, rooms):
    for folder, views in (("with", True), ("without", False)):
        (tmp_path / folder).mkdir()
        packed(tmp_path / folder, "rooms__0", rooms, views)
    data = PosedMaps(tmp_path / "with", tmp_path / "without", split="train")
    assert len(data) == 2 and isinstance(data.views(0), PackedViews) and data.views(1) is None
    sample = draw_sample(data, 0, torch.Generator().manual_seed(0), views=1)
    assert sample.views.shape == (1, 3, 32, 32) and len(sample.cameras) == 1
    assert draw_sample(data, 1, torch.Generator().manual_seed(0), views=1).views is None
    with pytest.raises(ValueError, match="--views"):
        PosedMaps(tmp_path / "without", split="train")
    with pytest.raises(FileNotFoundError, match="heldout"):
        PosedMaps(tmp_path / "with", split="heldout")


# --- rendering loss --------------------------------------------------------------------------------------------------


def exact(sample, factor=1.0):
    log_distance = sample.log_distance + factor
    return ScaffoldPrediction(log_distance[None], torch.zeros_like(log_distance)[None], torch.zeros(1, 6, 64, 64))


def cube(face_px=64):
    return TrainedCube(
        CubeScaffold(CubeScaffoldConfig(face_px=face_px, dim=24, heads=2, depth=1, decoder=(16, 16, 8, 8)))
    )


def displaced_error(rooms, distort=0.0, factor=0.0):
    """Rendering error beside the centre of a room lifted by its exact distance, or by a distorted one."""
    sample, kind = draw_sample(rooms, 0, torch.Generator().manual_seed(0), views=2), cube()
    wave = distort * torch.sin(torch.arange(128) * 2 * math.pi * 3 / 128)
    prediction = exact(sample, factor + wave)
    gaussians = kind.gaussians(prediction, 0, sample, sample.log_distance, sample.sky)
    views = true_views(sample, 64, 95.0, torch.device("cpu"))[1:]
    return render_terms(gaussians, views, None, holes_are_errors=False)["render"]


def test_exact_distance_shows_the_true_views(rooms, monkeypatch):
    errors = {}
    for mirror in (False, True):
        monkeypatch.setattr(batches, "draw_turn", lambda width, _, m=mirror: Turn(32, width, m))
        errors[mirror] = displaced_error(rooms)
        assert errors[mirror] < 0.01  # 20 dB: 64-pixel faces of a room full of patterns
        torch.testing.assert_close(displaced_error(rooms, factor=0.7), errors[mirror], rtol=1e-3, atol=0)  # no scale
        assert displaced_error(rooms, distort=0.6) > 1.3 * errors[mirror]
    torch.testing.assert_close(errors[True], errors[False], rtol=0.02, atol=0)


def test_the_gradient_leads_back_to_the_true_distance(rooms):
    sample, kind = draw_sample(rooms, 0, torch.Generator().manual_seed(0), views=2), cube()
    wave = 0.6 * torch.sin(torch.arange(128) * 2 * math.pi * 3 / 128)
    share = torch.tensor(1.0, requires_grad=True)
    prediction = exact(sample, share * wave)
    gaussians = kind.gaussians(prediction, 0, sample, sample.log_distance, sample.sky)
    terms = render_terms(gaussians, true_views(sample, 64, 95.0, torch.device("cpu")), None, holes_are_errors=False)
    terms["render"].backward()
    assert torch.isfinite(share.grad) and share.grad > 0  # less of the wave is better


def test_holes_are_errors_only_where_the_network_answers_for_them(rooms):
    sample, kind = draw_sample(rooms, 0, torch.Generator().manual_seed(0), views=2), cube()
    gaussians = kind.gaussians(exact(sample), 0, sample, sample.log_distance, sample.sky).select(torch.arange(1))
    views = true_views(sample, 64, 95.0, torch.device("cpu"))
    black = render_terms(gaussians, views, lambda a, b: (a - b).abs().mean((1, 2, 3)), holes_are_errors=True)
    images = [image for view in views for image in view.rgb]
    assert len(images) == 8
    wanted = sum(float((r - i).square().mean()) for r, i in zip(pictures(gaussians, views), images, strict=True)) / 8
    assert float(black["render"]) == pytest.approx(wanted, rel=1e-4)
    assert set(black) == {"render", "perceptual"} and black["perceptual"] > 0.1
    assert render_terms(gaussians, views, None, holes_are_errors=False)["render"] < 1e-3 * black["render"]


def pictures(gaussians, views):
    return [image for view in views for image in render(gaussians, view.cameras).rgb]


def test_training_through_the_splatting_lowers_its_loss(rooms):
    torch.manual_seed(0)
    config = TrainConfig(steps=6, batch=1, lr=3e-3, warmup_steps=1, decay_fraction=0.0, views=2, loss=RENDER)
    state = new_state(CubeScaffold(TINY), config)
    logs = [log.losses for log in train_scaffold(state, rooms, config)]
    assert all(math.isfinite(value) for log in logs for value in log.values())
    assert all("render" in log and log["total"] > 10 * log["render"] for log in logs)
    assert "perceptual" not in logs[0] and "crop" not in logs[0]
    network = state.network
    assert all(bool(torch.isfinite(p).all()) for p in network.parameters())


def test_total_is_the_weighted_sum(rooms):
    weights = LossWeights(render=10.0, perceptual=0.5, crop=0.3, normal=0.2)
    config = TrainConfig(batch=1, loss=weights)
    sample = draw_sample(rooms, 0, torch.Generator().manual_seed(3), views=1)
    network = CubeScaffold(TINY)
    distance = lambda a, b: (a - b).abs().mean((1, 2, 3))  # noqa: E731
    terms = batch_terms(trained(network), network, [sample, sample], config, distance)
    total = sum(getattr(weights, name) * value for name, value in terms.items() if name != "total")
    torch.testing.assert_close(terms["total"], total)
    assert {"render", "perceptual", "crop", "normal", "silog"} < set(terms)
    alone = batch_terms(trained(network), network, [sample], config, distance)
    torch.testing.assert_close(alone["render"], terms["render"])


def test_another_network_is_refused():
    with pytest.raises(ValueError, match="got Linear"):
        trained(torch.nn.Linear(1, 1))


# --- geometry terms --------------------------------------------------------------------------------------------------


def box(hw=(32, 64), half=(2.0, 1.5, 3.0)):
    """Log distance to the walls of a box around the centre."""
    rays = directions_from_panorama(hw)
    return (torch.tensor(half) / rays.abs().clamp_min(1e-6)).amin(-1).log()[None]


def test_crops_may_have_a_scale_and_a_shift_of_their_own():
    true = box()
    valid = torch.ones_like(true, dtype=torch.bool)
    assert crop_loss(true, true, valid) < 1e-3
    disparity = (-true).exp()
    affine = disparity.clone()
    affine[..., :8, :8] = 0.5 * affine[..., :8, :8] + 0.3  # one crop
    assert crop_loss(-affine.log(), true, valid) < 1e-3
    affine = disparity.clone()
    affine[..., 4:12, 4:12] = 0.5 * affine[..., 4:12, 4:12] + 0.3  # across four crops
    assert crop_loss(-affine.log(), true, valid) > 3e-3  # 4 of 32 crops
    assert crop_loss(torch.zeros_like(true), true, valid) > 0.05


def test_crops_by_hand():
    true = -torch.tensor([1.0, 2, 3, 4, 2, 2, 2, 2]).reshape(1, 2, 4).log()  # disparities
    valid = torch.ones_like(true, dtype=torch.bool)
    flat = torch.zeros_like(true)
    # rows=1: crops [[1,2],[2,2]] and [[3,4],[2,2]]; a flat prediction leaves |d / mean - 1|
    wanted = (torch.tensor([1.0, 2, 2, 2]) / 1.75 - 1).abs().mean() / 2
    wanted = wanted + (torch.tensor([3.0, 4, 2, 2]) / 2.75 - 1).abs().mean() / 2
    torch.testing.assert_close(crop_loss(flat, true, valid, rows=1), wanted)
    valid[..., 3] = False
    wanted = (wanted * 0 + (torch.tensor([1.0, 2, 2, 2]) / 1.75 - 1).abs().sum() + 0.4) / 6
    torch.testing.assert_close(crop_loss(flat, true, valid, rows=1), wanted)


def test_normals_of_a_box():
    true, valid = box(), torch.ones(1, 32, 64, dtype=torch.bool)
    assert normal_loss(true, true, valid) < 1e-5
    torch.testing.assert_close(normal_loss(true + 0.7, true, valid), torch.zeros(()), atol=1e-5, rtol=0)
    sphere = normal_loss(torch.zeros_like(true), true, valid)
    assert 0.02 < sphere < 0.5
    assert (
        normal_loss(true + 0.05 * torch.randn(true.shape, generator=torch.Generator().manual_seed(0)), true, valid)
        > 0.02
    )


def test_depth_edges_have_no_normal():
    true, valid = torch.zeros(1, 32, 64), torch.ones(1, 32, 64, dtype=torch.bool)
    true[..., 20:40] = 1.0
    nearer = true.clone()
    nearer[..., 20:40] = 0.5  # another jump at the same edges
    groove = true.clone()
    groove[..., 30] = 0.5  # an edge where there is none
    assert normal_loss(true, true, valid) < 1e-5 and normal_loss(nearer, true, valid) < 1e-5
    assert normal_loss(groove, true, valid) > 0.01
    assert normal_loss(groove, true, valid & (torch.arange(64) < 20)) < 1e-5  # not asked there


# --- the paper's network ---------------------------------------------------------------------------------------------

PAPER_TINY = replace(
    one2scene.SMALL,
    **{"img_size": 32, "face_px": 32, "embed_dim": 24, "depth": 2, "num_heads": 2, "features": 16},
    **{"out_channels": (8, 8, 16, 16), "intermediate_layer_idx": (0, 0, 1, 1), "gaussian_hidden": 8},
)


def test_the_papers_network_trains_on_its_own_gaussians(rooms):
    torch.manual_seed(0)
    network = One2Scene(PAPER_TINY)
    kind = trained(network)
    config = TrainConfig(steps=3, batch=1, lr=1e-3, lr_encoder=1e-4, warmup_steps=1, views=1)
    config = replace(config, loss=replace(PAPER_LOSS, perceptual=0.0))
    state = new_state(network, config)
    new, public = ({id(p) for p in group["params"]} for group in state.optimiser.param_groups)
    encoder = {id(p) for p in network.aggregator.patch_embed.encoder.parameters()}
    assert public == encoder and len(new) + len(public) == len(list(network.parameters()))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    logs = [log.losses for log in train_scaffold(state, rooms, config)]
    assert all(math.isfinite(value) for log in logs for value in log.values()) and logs[0]["render"] > 0
    for prefix in ("gaussian_head.", "depth_head.", "fusion.", "aggregator.global_blocks.", "rays."):
        assert any(not torch.equal(v, before[k]) for k, v in network.state_dict().items() if k.startswith(prefix)), (
            prefix
        )
    assert kind.holes_are_errors


def test_the_papers_gaussians_stand_at_the_truths_scale(rooms):
    torch.manual_seed(0)
    network = One2Scene(PAPER_TINY).eval()
    kind, sample = trained(network), draw_sample(rooms, 0, torch.Generator().manual_seed(0))
    with torch.no_grad():
        prediction = network(faces_from_panorama(sample.rgb, 32, 95.0)[None])
    on_panorama = kind.on_panorama(prediction, (64, 128))
    torch.testing.assert_close(
        kind.on_panorama(prediction, (32, 64)).log_distance, prediction.log_distance, atol=1e-5, rtol=1e-5
    )
    assert on_panorama.log_distance.shape == (1, 64, 128)
    own = prediction.gaussians(0)
    moved = kind.gaussians(prediction, 0, sample, sample.log_distance, sample.sky)
    ratio = (on_panorama.log_distance[0] - sample.log_distance)[~sample.sky]
    scale = (-ratio.median()).exp()
    assert abs(scale - 1) > 0.05
    torch.testing.assert_close(moved.means, own.means * scale, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(moved.scales, own.scales * scale, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(kind.on_panorama(prediction, (32, 64)).sky_logit, prediction.sky_logit)
    blind = replace(prediction, face_sky_logit=None)
    torch.testing.assert_close(kind.on_panorama(blind, (32, 64)).sky_logit, torch.full((1, 32, 64), -20.0))
