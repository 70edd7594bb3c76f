"""Analytic rooms: by hand, against a marcher that knows only distances, and as the truth for the cubemap."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from onescene.data.rooms import (
    PATTERNS,
    ROOM_KINDS,
    FreeBox,
    Light,
    Pattern,
    Room,
    Solid,
    away_from_edges,
    box_room,
    draw_pattern,
    render_panorama,
    render_views,
    sample_room,
    trace,
)
from onescene.geometry.cubemap import face_directions, faces_from_panorama, panorama_from_faces
from onescene.geometry.equirect import directions_from_panorama, panorama_xy_from_directions, sample_panorama
from onescene.types import Cameras

CHECKER = Pattern(kind="checker", a=(0.9, 0.9, 0.9), b=(0.2, 0.3, 0.4), size_m=(0.5, 0.5))
SMOOTH = Pattern(kind="smooth", a=(0.85, 0.5, 0.35), b=(0.25, 0.55, 0.7), size_m=(3.0, 2.5))


def unit_directions(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, 3, generator=generator, dtype=torch.float64), dim=-1)


def crowded_room(yaw_rad: float = 0.4) -> Room:
    """Two rooms joined by a passage, with one solid of each kind (the round ones with circular sections)."""
    free = (
        FreeBox(low=(-2.0, -1.2, -3.0), high=(2.0, 1.4, 3.0)),
        FreeBox(low=(2.2, -1.0, -1.0), high=(5.0, 1.4, 2.0)),
        FreeBox(low=(1.5, -0.7, 0.0), high=(2.7, 1.4, 1.0)),
    )
    solids = (
        Solid(kind="box", centre=(-1.2, 1.0, 1.6), half=(0.5, 0.4, 0.3), yaw_rad=0.6),
        Solid(kind="ellipsoid", centre=(0.9, 0.9, -1.4), half=(0.4, 0.4, 0.4)),
        Solid(kind="cylinder", centre=(-1.0, 0.5, -1.8), half=(0.3, 0.9, 0.3)),
    )
    return Room(free=free, solids=solids, lights=(Light(position=(0.0, -0.9, 0.0)),), yaw_rad=yaw_rad)


def march(room: Room, origin: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """Distance to the first surface by stepping the free distance at every place, for unit directions."""
    distance = torch.zeros(len(directions), dtype=directions.dtype)
    for _ in range(600):
        step = room.clearance(origin + distance[:, None] * directions)
        distance = distance + step.clamp_min(0)
    return distance


# ---------------------------------------------------------------- one ray at a time


def test_distances_of_a_box_by_hand() -> None:
    room = box_room((-1.0, -1.5, -2.0), (3.0, 1.0, 4.0))
    s = math.sqrt(0.5)
    directions = torch.tensor(
        [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1], [s, 0, s], [0, s, s], [0, -2, -2]],
        dtype=torch.float64,
    )
    hit = trace(room, torch.zeros(3, dtype=torch.float64), directions)
    wanted = [3.0, 1.0, 1.0, 1.5, 4.0, 2.0, 3 * math.sqrt(2), math.sqrt(2), 1.5 * math.sqrt(2)]
    torch.testing.assert_close(hit.distance, torch.tensor(wanted, dtype=torch.float64))
    assert hit.surface.tolist() == [1, 0, 3, 2, 5, 4, 1, 3, 2]
    torch.testing.assert_close(hit.normal_world[:6], -directions[:6])
    assert not hit.sky.any()


def test_distances_of_solids_by_hand() -> None:
    solids = (
        Solid(kind="ellipsoid", centre=(0, 0, 3), half=(0.5, 0.25, 1.0)),
        Solid(kind="cylinder", centre=(3, 0, 0), half=(0.5, 1.0, 0.5)),
        Solid(kind="box", centre=(0, 0, -3), half=(1.0, 1.0, 1.0), yaw_rad=math.pi / 4),  # an edge faces the viewer
    )
    room = replace(box_room((-5, -5, -5), (5, 5, 5)), solids=solids)
    directions = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 0, -1], [1, 0, 0.1]], dtype=torch.float64)
    hit = trace(room, torch.zeros(3, dtype=torch.float64), directions)
    torch.testing.assert_close(hit.distance[:3], torch.tensor([2.0, 2.5, 3 - math.sqrt(2)], dtype=torch.float64))
    d = directions[3] / directions[3].norm()
    nearest = (3 - hit.distance[3] * d[0]) ** 2 + (hit.distance[3] * d[2]) ** 2
    assert nearest.item() == pytest.approx(0.25)  # on the mantle


@pytest.mark.parametrize("yaw_rad", [0.0, 0.4, -2.0])
def test_agrees_with_marching(yaw_rad: float) -> None:
    room, directions = crowded_room(yaw_rad), unit_directions(400)
    origin = torch.zeros(3, dtype=torch.float64)
    hit = trace(room, origin, directions)
    marched = march(room, origin, directions)
    arrived = room.clearance(origin + marched[:, None] * directions) < 1e-7
    assert arrived.double().mean() > 0.98 and (marched < hit.distance + 1e-6).all()  # a few crawl along a jamb
    torch.testing.assert_close(hit.distance[arrived], marched[arrived], atol=1e-6, rtol=0)
    assert len(hit.surface.unique()) >= 12  # walls of both rooms, passage, every solid


def test_normals_are_unit_face_the_viewer_and_point_to_free_space() -> None:
    room, directions = crowded_room(), unit_directions(400, seed=1)
    hit = trace(room, torch.zeros(3, dtype=torch.float64), directions)
    torch.testing.assert_close(hit.normal_world.norm(dim=-1), torch.ones(400, dtype=torch.float64))
    assert ((hit.normal_world * directions).sum(-1) < 0).all()
    lifted = hit.distance[:, None] * directions + 1e-5 * hit.normal_world
    torch.testing.assert_close(room.clearance(lifted), torch.full((400,), 1e-5, dtype=torch.float64), atol=1e-7, rtol=0)


@pytest.mark.parametrize("batch", [(), (2,), (1, 2)])
def test_any_batch_shape_and_length_of_directions(batch: tuple[int, ...]) -> None:
    directions = unit_directions(max(math.prod(batch), 1)).reshape(*batch, 3)
    origins = torch.tensor([0.1, 0.0, -0.2], dtype=torch.float64)
    hit = trace(crowded_room(), origins, 3 * directions)
    assert hit.rgb.shape == (*batch, 3) and hit.distance.shape == hit.region.shape == batch
    torch.testing.assert_close(hit.distance, trace(crowded_room(), origins, directions).distance)


def test_float32_agrees_with_float64() -> None:
    room, directions = sample_room(3, "office"), unit_directions(3000, seed=2)
    exact = trace(room, torch.zeros(3, dtype=torch.float64), directions)
    single = trace(room, torch.zeros(3), directions.float())
    same = exact.region == single.region
    assert same.double().mean() > 0.995  # the rest passes an edge within rounding
    torch.testing.assert_close(single.distance[same].double(), exact.distance[same], atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(single.rgb[same].double(), exact.rgb[same], atol=2e-3, rtol=0)


def test_colour_of_a_place_does_not_depend_on_the_viewer() -> None:
    seen = 0
    for seed in (0, 1, 5):
        room, directions = sample_room(seed), unit_directions(1500, seed=seed)
        first = trace(room, torch.zeros(3, dtype=torch.float64), directions)
        places = first.distance[:, None] * directions
        eye = torch.tensor([0.35, 0.1, -0.3], dtype=torch.float64)
        second = trace(room, eye, places - eye)
        same = ((second.distance - (places - eye).norm(dim=-1)).abs() < 1e-6) & ~first.sky
        assert same.double().mean() > 0.5
        close = (first.rgb[same] - second.rgb[same]).abs().amax(-1) < 1e-4
        # hits 1e-15 to either side of a pattern's edge differ; nothing else may
        assert close.double().mean() > 0.998
        seen += int(same.sum())
    assert seen > 2500


def test_solids_cast_shadows_and_darken_their_foot() -> None:
    lamp = Light(position=(0.0, -1.0, 0.0), reach_m=4.0)
    bare = replace(box_room((-2, -1.2, -2), (2, 1.5, 2)), lights=(lamp,))
    plate = replace(bare, solids=(Solid(kind="box", centre=(0.8, 0.5, 0.8), half=(0.5, 0.05, 0.5)),))
    eye = torch.tensor([0.0, 1.2, 0.0], dtype=torch.float64)
    below, away = torch.tensor([1.1, 1.5, 1.1]).double() - eye, torch.tensor([-1.2, 1.5, -1.2]).double() - eye
    assert (trace(plate, eye, below).rgb < trace(bare, eye, below).rgb - 0.1).all()
    torch.testing.assert_close(trace(plate, eye, away).rgb, trace(bare, eye, away).rgb, atol=1e-3, rtol=0)
    off = replace(plate, shadows=False)
    torch.testing.assert_close(trace(off, eye, below).rgb, trace(replace(bare, shadows=False), eye, below).rgb)


def test_walls_hide_lamps_and_glowing_things_do_not() -> None:
    two = replace(crowded_room(0.0), solids=(), ambient=(0.1, 0.1, 0.1))
    eye = torch.tensor([3.5, 0.0, 1.0], dtype=torch.float64)
    behind_wall = trace(two, eye, torch.tensor([-0.8, 1.0, -1.6], dtype=torch.float64))
    dark = trace(replace(two, lights=()), eye, torch.tensor([-0.8, 1.0, -1.6], dtype=torch.float64))
    torch.testing.assert_close(behind_wall.rgb, dark.rgb)
    shade = Solid(kind="cylinder", centre=(0, -0.6, 0), half=(0.3, 0.1, 0.3), pattern=Pattern(glow=0.9))
    room = replace(two, solids=(shade,))
    down, start = torch.tensor([0.0, 1.0, 0.1], dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(trace(room, start, down).rgb, trace(two, start, down).rgb)


def test_open_walls_show_the_sky() -> None:
    box = FreeBox(low=(-3, -1, -3), high=(3, 1.5, 3), open_walls=("ceiling",))
    room = Room(free=(box,), sky_distance=77.0)
    up, ahead = torch.tensor([0.1, -1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    hit = trace(room, torch.zeros(3), torch.stack((up, ahead)))
    assert hit.sky.tolist() == [True, False]
    assert hit.distance.tolist() == [77.0, 3.0]
    assert hit.surface.tolist() == [-1, 5]
    assert hit.rgb[0, 2] > hit.rgb[0, 0]  # blue
    assert room.is_free(torch.tensor([0.0, -0.9, 0.0]), 1.0).item()


# ---------------------------------------------------------------- patterns


@pytest.mark.parametrize("kind", sorted(PATTERNS))
def test_patterns_are_smooth_inside_a_cell(kind: str) -> None:
    pattern = Pattern(kind=kind, a=(0.7, 0.5, 0.4), size_m=(0.4, 0.3), line_m=0.02, variation=0.3, seed=4)
    generator = torch.Generator().manual_seed(0)
    place = 3 * torch.rand(20000, 2, generator=generator, dtype=torch.float64)
    step = 1e-4 * unit_directions(20000)[:, :2]
    (colour, cell), (moved, cell_moved) = draw_pattern(pattern, place), draw_pattern(pattern, place + step)
    assert colour.min() >= 0 and colour.max() <= 1 and cell.min() >= 0
    jump = (colour - moved).abs().amax(-1)
    assert jump[cell == cell_moved].max() < 2e-3  # 20 per metre, the wood's grain
    if kind not in ("plain", "smooth"):
        assert jump[cell != cell_moved].max() > 0.02


def test_variation_and_seed_make_cells_differ() -> None:
    place = torch.rand(500, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 4
    flat = Pattern(kind="bricks", size_m=(0.5, 0.2))
    assert len(draw_pattern(flat, place)[0].unique(dim=0)) == 1
    varied = replace(flat, variation=0.5)
    assert len(draw_pattern(varied, place)[0].unique(dim=0)) > 50
    assert not torch.equal(draw_pattern(varied, place)[0], draw_pattern(replace(varied, seed=1), place)[0])


def test_away_from_edges_by_hand() -> None:
    region = torch.zeros(4, 8, dtype=torch.int64)
    region[:, 7] = 1 << 41
    assert away_from_edges(region)[1].tolist() == [True] * 6 + [False] * 2
    assert away_from_edges(region, panorama=True)[1].tolist() == [False] + [True] * 5 + [False] * 2
    assert away_from_edges(region, 2)[1].tolist() == [True] * 5 + [False] * 3


# ---------------------------------------------------------------- panoramas and views


def test_panorama_rows_and_columns_look_where_they_should() -> None:
    room = box_room((-2, -1, -2), (2, 1.5, 2))
    p = render_panorama(room, (32, 64), dtype=torch.float64)
    assert (p.region[0] >> 40 == 1 + 2).all() and (p.region[-1] >> 40 == 1 + 3).all()  # ceiling, floor
    up = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(p.normals_world[:, 0], up[:, None].expand(3, 64))
    torch.testing.assert_close(p.normals_world[:, -1], -up[:, None].expand(3, 64))
    torch.testing.assert_close(p.normals_world[:, 16, 32], torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64))
    torch.testing.assert_close(p.normals_world[:, 16, 48], torch.tensor([-1.0, 0.0, 0.0], dtype=torch.float64))
    half = math.pi / 64
    assert p.distance[0, 0].item() == pytest.approx(1 / math.cos(half))
    assert p.distance[-1, 0].item() == pytest.approx(1.5 / math.cos(half))
    shifted = render_panorama(room, (32, 64), centre=(0.0, 0.5, 0.0), dtype=torch.float64)
    assert shifted.distance[-1, 0].item() == pytest.approx(1 / math.cos(half))


def test_turning_the_room_rolls_the_panorama() -> None:
    room = crowded_room(0.0)
    still = render_panorama(room, (24, 48), dtype=torch.float64)
    turned = render_panorama(replace(room, yaw_rad=2 * math.pi * 5 / 48), (24, 48), dtype=torch.float64)
    torch.testing.assert_close(turned.distance, still.distance.roll(5, -1), atol=1e-9, rtol=0)
    torch.testing.assert_close(turned.rgb, still.rgb.roll(5, -1), atol=1e-6, rtol=0)


def random_cameras(n: int, hw: tuple[int, int]) -> Cameras:
    generator = torch.Generator().manual_seed(0)
    rotation, _ = torch.linalg.qr(torch.randn(n, 3, 3, generator=generator, dtype=torch.float64))
    rotation = rotation * torch.linalg.det(rotation)[:, None, None]
    world_from_cam = torch.eye(4, dtype=torch.float64).repeat(n, 1, 1)
    world_from_cam[:, :3, :3] = rotation
    world_from_cam[1:, :3, 3] = 0.3 * (torch.rand(n - 1, 3, generator=generator, dtype=torch.float64) - 0.5)
    K = torch.tensor([[20.0, 0, 12.5], [0, 21.0, 8.0], [0, 0, 1]], dtype=torch.float64).repeat(n, 1, 1)
    return Cameras(world_from_cam=world_from_cam, K=K, hw=hw)


def test_depth_of_views_puts_pixels_on_surfaces() -> None:
    room, cameras = crowded_room(), random_cameras(5, (16, 24))
    views = render_views(room, cameras)
    x, y = torch.meshgrid(torch.arange(24) + 0.5, torch.arange(16) + 0.5, indexing="xy")
    pixels = torch.stack((x, y, torch.ones_like(x)), dim=-1).double()
    for v in range(5):
        in_camera = (pixels @ torch.linalg.inv(cameras.K[v]).T) * views.depth_z[v][..., None]
        world = in_camera @ cameras.world_from_cam[v, :3, :3].T + cameras.world_from_cam[v, :3, 3]
        assert room.clearance(world).abs().max() < 1e-9
    assert views.rgb.shape == views.normals_world.shape == (5, 3, 16, 24)


def test_views_agree_with_the_panorama() -> None:
    room, cameras = crowded_room(), random_cameras(1, (16, 24))  # the first stands at the origin
    views = render_views(room, cameras)
    p = render_panorama(room, (256, 512), dtype=torch.float64)
    x, y = torch.meshgrid(torch.arange(24) + 0.5, torch.arange(16) + 0.5, indexing="xy")
    rays = torch.stack((x, y, torch.ones_like(x)), dim=-1).double() @ torch.linalg.inv(cameras.K[0]).T
    xy = panorama_xy_from_directions(rays @ cameras.world_from_cam[0, :3, :3].T, (256, 512))
    distance = sample_panorama(p.distance[None], xy)[0]
    calm = sample_panorama(away_from_edges(p.region, 2, panorama=True)[None].double(), xy, "nearest")[0] > 0
    assert calm.double().mean() > 0.7
    torch.testing.assert_close((views.depth_z[0] * rays.norm(dim=-1))[calm], distance[calm], rtol=2e-3, atol=0)


def test_supersampling_averages_the_parts_of_pixels_at_edges() -> None:
    room = replace(crowded_room(), free=(FreeBox(low=(-2, -1.2, -3), high=(2, 1.4, 3), walls=(CHECKER,) * 6),))
    pool = torch.nn.functional.avg_pool2d
    one, three = (render_panorama(room, (24, 48), supersample=s, dtype=torch.float64) for s in (1, 3))
    edge = ~away_from_edges(one.region, panorama=True)
    large = render_panorama(room, (72, 144), dtype=torch.float64).rgb
    torch.testing.assert_close(three.rgb[:, edge], pool(large, 3)[:, edge], atol=1e-6, rtol=0)
    torch.testing.assert_close(three.rgb[:, ~edge], one.rgb[:, ~edge])
    torch.testing.assert_close(three.distance, one.distance)
    cameras = random_cameras(2, (16, 24))
    one, three = (render_views(room, cameras, supersample=s) for s in (1, 3))
    edge = (~away_from_edges(one.region))[:, None].expand(-1, 3, -1, -1)
    large = render_views(room, cameras.resized((48, 72))).rgb
    torch.testing.assert_close(three.rgb[edge], pool(large, 3)[edge], atol=1e-6, rtol=0)
    torch.testing.assert_close(three.rgb[~edge], one.rgb[~edge])


# ---------------------------------------------------------------- the truth for the cubemap


@pytest.mark.parametrize(("pattern", "fov_deg"), [(SMOOTH, 90.0), (SMOOTH, 95.0), (CHECKER, 95.0)])
def test_faces_of_an_analytic_panorama_have_the_analytic_colour(pattern: Pattern, fov_deg: float) -> None:
    """To 1/255 at every pixel away from edges, from a panorama of 512x1024 (measured: 0.5/255)."""
    room = replace(
        box_room((-2.3, -1.3, -1.9), (2.0, 1.6, 2.6), pattern, yaw_rad=0.5),
        solids=(Solid(kind="ellipsoid", centre=(0.8, 0.9, 1.2), half=(0.4, 0.4, 0.4), pattern=SMOOTH),),
        shadows=False,
    )
    p = render_panorama(room, (512, 1024), dtype=torch.float64)
    directions = face_directions(128, fov_deg, dtype=torch.float64)
    truth = trace(room, torch.zeros(3, dtype=torch.float64), directions)
    faces = faces_from_panorama(p.rgb, 128, fov_deg)
    xy = panorama_xy_from_directions(directions, (512, 1024))
    calm = sample_panorama(away_from_edges(p.region, 1, panorama=True)[None].double(), xy, "nearest")[0] > 0
    error = (faces - truth.rgb.movedim(-1, 1)).abs().amax(1)
    assert calm.double().mean() > (0.95 if pattern is SMOOTH else 0.85)
    assert error[calm].max() < 1 / 255
    cut = faces_from_panorama(p.distance[None], 128, fov_deg)[:, 0]
    # at a ball's outline the distance bends like a square root: 0.0056 measured there, 6e-5 on the walls
    torch.testing.assert_close(cut[calm], truth.distance[calm], rtol=1e-2, atol=0)
    walls = calm & (truth.surface < 6)
    torch.testing.assert_close(cut[walls], truth.distance[walls], rtol=2e-4, atol=0)


def test_a_smooth_panorama_survives_the_cubemap_everywhere() -> None:
    """E2C then C2E above 45 dB at every pixel, seams, poles and the +-180 meridian included."""
    d = directions_from_panorama((192, 384), dtype=torch.float64)
    waves = [(3 * d[..., 0] + 2 * d[..., 1]).sin(), (4 * d[..., 2] - d[..., 0]).cos(), (5 * d[..., 1]).sin()]
    image = 0.5 + 0.4 * torch.stack(waves)
    for fov_deg in (90.0, 95.0):
        back = panorama_from_faces(faces_from_panorama(image, 96, fov_deg), (192, 384), fov_deg)
        worst = ((back - image) ** 2).mean(0).max()
        assert -10 * worst.log10() > 45  # measured 45.8 at 90 degrees (on the cube's edges), 65.0 at 95


# ---------------------------------------------------------------- sampled rooms


def test_sampled_rooms_are_their_seed_and_leave_the_eye_free() -> None:
    for seed in range(60):
        room = sample_room(seed)
        assert room.name in ROOM_KINDS
        below = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.4, 0.0], [0.0, 0.8, 0.0]], dtype=torch.float64)
        assert room.clearance(below).min() > 0.5  # the floor is 1.35 m or more below the eye
    assert sample_room(7) == sample_room(7)
    assert sample_room(7) != sample_room(8)
    generator = torch.Generator().manual_seed(7)
    assert sample_room(generator) == sample_room(7)
    assert sample_room(generator) != sample_room(7)


@pytest.mark.parametrize("kind", ROOM_KINDS)
def test_every_kind_renders(kind: str) -> None:
    room = sample_room(11, kind)
    p = render_panorama(room, (24, 48))
    assert room.name == kind
    assert torch.isfinite(p.rgb).all() and p.rgb.min() >= 0 and p.rgb.max() <= 1
    assert p.distance.min() > 0.4 and p.distance.max() <= room.sky_distance
    assert p.sky.any() == (kind == "courtyard")
    assert 0.25 < p.rgb.mean() < 0.85  # neither a cellar nor burnt out
    assert len(p.region.unique()) > 20


def test_errors_name_the_argument() -> None:
    room = crowded_room(0.0)
    inside_solid, in_wall = torch.tensor([0.9, 0.9, -1.4]), torch.tensor([9.0, 0.0, 0.0])
    for origin in (inside_solid, in_wall):
        with pytest.raises(ValueError, match="origins must lie in the room's free space, got 1 of 1"):
            trace(room, origin, torch.tensor([0.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match="directions must be finite and not zero"):
        trace(room, torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match="kind must be one of living"):
        sample_room(0, "cave")
    with pytest.raises(ValueError, match="kind must be one of books, bricks"):
        Pattern(kind="marble")
    with pytest.raises(ValueError, match="a must be three numbers"):
        Pattern(a=(2.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="kind must be one of box"):
        Solid(kind="cone", centre=(0, 0, 0), half=(1, 1, 1))
    with pytest.raises(ValueError, match="half must be > 0"):
        Solid(centre=(0, 0, 0), half=(1, 0, 1))
    with pytest.raises(ValueError, match="low must be below high"):
        FreeBox(low=(0, 0, 0), high=(1, 0, 1))
    with pytest.raises(ValueError, match="open_walls must name walls"):
        FreeBox(low=(0, 0, 0), high=(1, 1, 1), open_walls=("roof",))
    with pytest.raises(ValueError, match="free must hold"):
        Room(free=())
    with pytest.raises(ValueError, match="supersample must be"):
        render_panorama(room, (8, 16), supersample=0)
