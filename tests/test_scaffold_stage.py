"""Anchors, lifting and the sheet: exact rooms come back, the sky stays away, cracks close, mistakes are named."""

from dataclasses import replace

import pytest
import torch

from onescene.data.rooms import render_panorama, sample_room
from onescene.geometry.cubemap import face_cameras
from onescene.metrics import image_metrics
from onescene.models.scaffold import CubeScaffold, CubeScaffoldConfig
from onescene.models.scaffold.upsample import resize_panorama
from onescene.splatting import render
from onescene.stages import anchors, scaffold
from onescene.stages.sheet import backing_sheet
from onescene.types import Cameras, Gaussians

TINY = CubeScaffoldConfig(face_px=32, dim=24, heads=2, depth=1, decoder=(16, 16, 8, 8))


@pytest.fixture(scope="module")
def room():
    return render_panorama(sample_room(5), (128, 256))


@pytest.fixture(scope="module")
def lifted(room):
    return scaffold.lift_panorama(room.rgb, room.distance, room.sky.float(), scaffold.ScaffoldConfig(face_px=96))


def test_the_anchors_come_back_from_the_centre(lifted):
    seen = render(lifted.gaussians, face_cameras(96, 95))
    for face in range(6):
        assert image_metrics(seen.rgb[face].clamp(0, 1), lifted.faces[face])["psnr_db"] > 30
    assert seen.alpha.min() > 0.85


def test_who_looks_four_times_closer_sees_no_cracks(lifted):
    alpha = render(lifted.gaussians, face_cameras(4 * 96, 95)).alpha
    assert (alpha < 0.85).float().mean() < 0.01  # with Gaussians four fifths as wide a grid of gaps covers a third


def test_lifted_distances_are_the_rooms(room, lifted):
    on_ground = lifted.gaussians.means.norm(dim=-1)
    assert on_ground.min() > 0.95 * room.distance.min() and on_ground.max() < 1.05 * room.distance.max()


def test_the_sheet_closes_cracks_and_stays_behind(room, lifted):
    sheet = backing_sheet(lifted.faces, room.distance, 95.0)
    zoom = Cameras(
        world_from_cam=torch.eye(4)[None], K=torch.tensor([[[300.0, 0, 80], [0, 300, 80], [0, 0, 1]]]), hw=(160, 160)
    )
    thin = replace(lifted.gaussians, scales=0.8 * lifted.gaussians.scales)  # Gaussians with gaps between them
    alone = render(thin, zoom).alpha
    both = render(Gaussians.cat([thin, sheet]), zoom).alpha
    assert alone.min() < 0.9 < 0.97 < both.min()
    assert len(sheet) < len(lifted.gaussians) / 8
    faces = face_cameras(96, 95)
    before = render(lifted.gaussians, faces).rgb.clamp(0, 1)
    after = render(Gaussians.cat([lifted.gaussians, sheet]), faces).rgb.clamp(0, 1)
    assert image_metrics(after, before)["psnr_db"] > 30  # it shows through the gaps only


def test_the_sky_is_far_and_the_median_is_two():
    distance = torch.full((32, 64), 3.0)
    distance[:16] = 9.0
    sky = torch.zeros(32, 64)
    sky[:8] = 0.95
    sky[8:10] = 0.6  # a doubt is not a sky
    config = scaffold.ScaffoldConfig()
    placed, metres = scaffold.place_sky(distance, sky, config)
    assert torch.isclose(placed[sky < 0.7].median(), torch.tensor(2.0))
    assert metres == pytest.approx(1.5)
    assert (placed[:8] >= config.sky_medians * 2.0 - 1e-5).all() and torch.isfinite(placed).all()
    assert (placed[8:16] == 6.0).all()


def test_specks_of_sky_are_a_lamp_and_not_believed():
    config, sky = scaffold.ScaffoldConfig(), torch.full((32, 64), 0.1)
    sky[14:16, 30:33] = 0.9  # 6 of 2048 pixels near the horizon: 0.5 % of the sphere
    assert not scaffold.believed_sky(sky, config).any()
    assert scaffold.believed_sky(sky, replace(config, least_sky=0.004)) is sky
    cap = torch.zeros(32, 64)
    cap[:3] = 0.9  # 9 % of the pixels, around the pole 2.2 % of the sphere
    assert scaffold.believed_sky(cap, config) is cap
    assert not scaffold.believed_sky(cap, replace(config, least_sky=0.03)).any()


def test_a_map_of_sky_alone_is_still_finite():
    placed, _ = scaffold.place_sky(torch.full((16, 32), 5.0), torch.ones(16, 32), scaffold.ScaffoldConfig())
    assert torch.isfinite(placed).all() and (placed > 0).all()


@pytest.mark.parametrize(("count", "believed"), [(1, 0.0), (2, 0.5), (4, 1.0), (8, 2.5)])
def test_of_copies_that_disagree_the_nearer_are_believed(count, believed):
    """Of eight the nearest one and the farthest three are left out, of four the farthest; every pixel by itself."""
    copies = torch.arange(count, dtype=torch.float32)[:, None, None].expand(count, 3, 6).clone()
    copies[:, 1] = copies[:, 1].flip(0)
    copies[-1, 0, 0] += 100.0 if count > 2 else 0.0
    torch.testing.assert_close(scaffold.nearer_mean(copies), torch.full((3, 6), believed))


def test_turning_the_panorama_turns_the_distance(room):
    torch.manual_seed(0)
    network = CubeScaffold(TINY).eval()
    config = scaffold.ScaffoldConfig(network_px=32, turns=2, mirror=True)
    still, _ = scaffold.predict_distance(room.rgb, network, config)
    turned, _ = scaffold.predict_distance(room.rgb.roll(64, -1), network, config)  # a quarter turn
    assert still.shape == (32, 64)
    assert torch.isfinite(turned).all()
    single = scaffold.ScaffoldConfig(network_px=32, turns=1, mirror=False)
    seen = resize_panorama(room.rgb, (64, 128))  # as the network's faces are cut from it
    grey = (seen**0.7).mean(0, keepdim=True).expand(3, -1, -1)
    for colourless, other in ((False, seen), (True, grey)):  # the mirrored copy, with and without its colour
        mirrored = [scaffold.predict_distance(x, network, single)[0] for x in (seen, other.flip(-1))]
        config = scaffold.ScaffoldConfig(network_px=32, turns=1, grey=colourless)
        both = scaffold.predict_distance(room.rgb, network, config)[0]
        torch.testing.assert_close(both, (mirrored[0] + mirrored[1].flip(-1)) / 2)


def test_a_run_gives_one_gaussian_per_owned_pixel(room):
    out = scaffold.run(room.rgb, CubeScaffold(TINY).eval(), scaffold.ScaffoldConfig(face_px=32, network_px=32, turns=1))
    assert len(out.gaussians) == 6 * 30**2
    assert out.distance.shape == (128, 256) and torch.isfinite(out.distance).all() and (out.distance > 0).all()


def test_anchors_of_a_fine_panorama_do_not_alias():
    stripes = (torch.arange(1024) % 2).float().expand(3, 512, 1024)
    faces = anchors.run(stripes, anchors.AnchorsConfig(face_px=32)).faces
    assert (faces[:4] - 0.5).abs().max() < 0.3


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda n, p: scaffold.run(p[:, :, :200], n), "panorama's size"),
        (lambda n, p: scaffold.run(p, n, scaffold.ScaffoldConfig(network_px=40)), "network_px"),
        (lambda n, p: scaffold.run(p, n, scaffold.ScaffoldConfig(turns=0)), "turns"),
        (lambda n, p: anchors.run(p, anchors.AnchorsConfig(face_px=1)), "face_px"),
    ],
)
def test_a_callers_mistake_is_named(call, words, room):
    with pytest.raises(ValueError, match=words):
        call(CubeScaffold(TINY).eval(), room.rgb)
