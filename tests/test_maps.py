"""Maps: a box room written byte by byte, compared with the analytic box; packing; bad input."""

from __future__ import annotations

import numpy as np
import pytest
from map_bytes import (
    EYE_QUAKE_M,
    EYE_WORLD_M,
    HIGH_M,
    LOW_M,
    SIDES,
    box_map,
    distance_to_box,
    image_bytes,
    quad,
    write_pack,
)

from onescene.data import panoramas
from onescene.data.maps import load_map, open_games, trace_panorama, trace_view
from onescene.data.maps.bsp import clusters_at, read_bsp, tessellate_patch
from onescene.data.maps.generate import MapsConfig, generate_dataset
from onescene.data.maps.points import CLEARANCE_M, camera_points, is_clear
from onescene.data.maps.raytrace import panorama_directions, view_directions, yaw_rotation
from onescene.data.maps.shaders import parse_shaders
from onescene.data.maps.world import WORLD_FROM_QUAKE, quake_from_world, world_from_quake

HW = (32, 64)
SMALL = dict(hw=HW, points_per_map=3, workers=1)


@pytest.fixture(scope="module")
def packs_dir(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("packs"), {"aroom": box_map(), "oacmpbox": box_map()})


@pytest.fixture(scope="module")
def room(packs_dir):
    return load_map(open_games(packs_dir)["tinygame"], "aroom")


def analytic(yaw_rad: float = 0.0):
    """Distance [m] and sky of the box from the eye, and directions in Quake's axes."""
    rays = panorama_directions(HW) @ yaw_rotation(yaw_rad).T @ WORLD_FROM_QUAKE
    distance = distance_to_box(EYE_QUAKE_M, rays)
    hit = EYE_QUAKE_M + rays * distance[..., None]
    return distance, np.isclose(hit[..., 2], HIGH_M[2]), rays


def test_axes_turn_at_the_border():
    forward, left, up = np.eye(3) * 32
    np.testing.assert_allclose(world_from_quake(forward), [0, 0, 1])
    np.testing.assert_allclose(world_from_quake(left), [-1, 0, 0])
    np.testing.assert_allclose(world_from_quake(up), [0, -1, 0])
    np.testing.assert_allclose(quake_from_world(world_from_quake(np.array([[3.0, -5.0, 7.0]]))), [[3, -5, 7]])
    np.testing.assert_allclose(world_from_quake(EYE_QUAKE_M * 32), EYE_WORLD_M)


@pytest.mark.parametrize("yaw_rad", [0.0, 1.1])
def test_panorama_distance_and_sky_equal_the_analytic_box(room, yaw_rad):
    pano = trace_panorama(room, EYE_WORLD_M, HW, yaw_rad)
    distance, sky, _ = analytic(yaw_rad)
    np.testing.assert_array_equal(pano.sky, sky)
    assert np.isinf(pano.distance[sky]).all()
    np.testing.assert_allclose(pano.distance[~sky], distance[~sky], rtol=1e-4)


def test_panorama_shows_each_side_where_it_stands(room):
    pano = trace_panorama(room, EYE_WORLD_M, HW, gain=1.0)
    row = HW[0] // 2 - 1
    seen = {"forward": (row, 32), "right": (row, 48), "left": (row, 16), "back": (row, 0), "floor": (31, 20)}
    for side, (y, x) in seen.items():
        stored = np.array(SIDES[side][2]) / 255
        # the darkest channel is under the shoulder: the power of the tone alone
        assert pano.rgb[y, x].min() / 255 == pytest.approx(stored.min() ** 0.8, abs=0.01), side
        assert (pano.rgb[y, x].argmax() == stored.argmax()) or side == "floor", side
    assert pano.sky[0].all() and not pano.sky[-1].any()


def test_view_depth_equals_the_analytic_box_and_looks_where_it_should(room):
    focal, size = 40.0, (24, 32)
    intrinsics = np.array([[focal, 0, 16], [0, focal, 12], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = yaw_rotation(np.pi / 2), EYE_WORLD_M  # to the right
    view = trace_view(room, pose, intrinsics, size, gain=1.0)
    rays, cosine = view_directions(pose, intrinsics, size)
    expected = distance_to_box(EYE_QUAKE_M, rays @ WORLD_FROM_QUAKE).reshape(size)
    np.testing.assert_allclose(view.distance, expected, rtol=1e-4)
    np.testing.assert_allclose(view.depth_z, expected * cosine.reshape(size), rtol=1e-4)
    assert view.rgb[12, 16].argmin() == 2  # the right side is yellow


def test_a_cut_out_is_seen_through_and_keeps_its_bars(tmp_path):
    bars = np.zeros((8, 8, 4), np.uint8)
    bars[:, :4] = 255  # left half solid
    corners, normal = quad(0, 1, LOW_M, np.array([4.0, 6.0, 8.0]))
    shader = b"textures/box/bars\n{\n{\nmap textures/box/bars.tga\nalphaFunc GE128\n}\n}\n"
    files = {"textures/box/bars.tga": image_bytes(bars), "scripts/bars.shader": shader}
    write_pack(tmp_path, {"barred": box_map([("textures/box/bars", corners, normal)])}, files)
    world = load_map(open_games(tmp_path)["tinygame"], "barred")
    pano = trace_panorama(world, EYE_WORLD_M, HW)
    depth = (pano.distance * panorama_directions(HW)[..., 2])[HW[0] // 2]
    # the image's left half lies at y < 0, to the right of the eye at y = 2
    np.testing.assert_allclose(depth[28:36], 7.0, rtol=1e-3)
    np.testing.assert_allclose(depth[40:43], 3.0, atol=0.01)


def test_backs_of_one_sided_surfaces_are_not_seen(tmp_path):
    corners, _ = quad(0, 1, LOW_M, np.array([4.0, 6.0, 8.0]))
    away, towards = np.array([1.0, 0, 0]), np.array([-1.0, 0, 0])
    maps = {n: box_map([("textures/box/floor", corners, side)]) for n, side in (("back", away), ("front", towards))}
    games = open_games(write_pack(tmp_path, maps))
    depth = {n: trace_panorama(load_map(games["tinygame"], n), EYE_WORLD_M, HW).distance[16, 32] for n in maps}
    assert depth["back"] == pytest.approx(7.0, rel=0.02)
    assert depth["front"] == pytest.approx(3.0, rel=0.02)


def test_missing_images_are_counted(tmp_path):
    corners, normal = quad(0, 1, LOW_M, np.array([4.0, 6.0, 8.0]))
    write_pack(tmp_path, {"bare": box_map([("textures/box/nowhere", corners, normal)])})
    assert load_map(open_games(tmp_path)["tinygame"], "bare").missing == pytest.approx(1 / 7)


def test_camera_points_keep_clear_of_walls_and_inside(room):
    points = camera_points(room, 12, np.random.default_rng(0))
    assert len(points) == 12
    quake = quake_from_world(points) / 32
    gap = np.minimum(quake - LOW_M, HIGH_M - quake)[:, :2].min(1)
    gap = np.minimum(gap, quake[:, 2] - LOW_M[2])
    assert gap.min() >= CLEARANCE_M * 0.98  # probes are 5 degrees apart
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1) + 99 * np.eye(12)
    assert apart.min() > 0.3


def test_points_in_walls_and_outside_are_refused(room):
    bad = world_from_quake(np.array([[7.8, 0, 2.0], [20, 0, 2], [0, 0, -3]]) * 32)
    assert not is_clear(room, bad).any()
    assert is_clear(room, EYE_WORLD_M[None]).all()


def test_clusters_follow_the_planes():
    bsp = read_bsp(box_map())
    assert (clusters_at(bsp, np.zeros((2, 3))) == 0).all()  # no tree: everything is inside


def test_a_bezier_patch_passes_through_its_curve():
    t = np.array([0.0, 0.5, 1.0])
    x, y = np.meshgrid(t, t)
    control = np.stack([x, y, np.where(x == 0.5, 1.0, 0.0)], -1).reshape(9, 3)  # an arch: z = 2 x (1 - x)
    triangles = tessellate_patch(control, (3, 3), steps=4)
    assert triangles.shape == (32, 3, 3)
    np.testing.assert_allclose(triangles[..., 2], 2 * triangles[..., 0] * (1 - triangles[..., 0]), atol=1e-12)
    flat = triangles * [1, 1, 0]
    area = np.linalg.norm(np.cross(flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]), axis=-1) / 2
    assert area.sum() == pytest.approx(1.0)


def test_shader_scripts_survive_comments_and_a_missing_end():
    text = "textures/a // x\n{ // y\n surfaceparm sky\n skyparms env/b 512 -\n { map c\n blendFunc add }\n}\nd\n{"
    shaders = parse_shaders(text)
    assert list(shaders) == ["textures/a"]
    assert shaders["textures/a"].sky_box == "env/b" and "sky" in shaders["textures/a"].parms
    assert shaders["textures/a"].stages[0].blend == ("add",)


def test_distance_codes_return_within_their_step():
    distance = np.geomspace(0.06, 900, 5000).astype(np.float32)
    back = panoramas.decode_distance(panoramas.encode_distance(distance))
    np.testing.assert_allclose(back, distance, rtol=1.5e-4)
    assert panoramas.encode_distance(np.array([np.inf]))[0] == 0
    assert np.isinf(panoramas.decode_distance(np.zeros(1, np.uint16)))[0]
    ends = panoramas.decode_distance(panoramas.encode_distance(np.array([1e-9, 1e9])))
    np.testing.assert_allclose(ends, [0.05, 1000], rtol=1e-4)


def test_a_set_is_packed_read_back_and_resumed(packs_dir, tmp_path):
    config = MapsConfig(split="heldout", views_per_point=2, view_px=16, **SMALL)
    calls = []
    index = generate_dataset(packs_dir, tmp_path / "set", config, lambda *a: calls.append(a))
    assert calls == [("tinygame__oacmpbox", 1, 1)]
    assert index["maps"]["tinygame__oacmpbox"]["panoramas"] == 3
    assert panoramas.read_index(tmp_path / "set") == index
    assert panoramas.list_maps(tmp_path / "set", "heldout") == ["tinygame__oacmpbox"]
    assert panoramas.list_maps(tmp_path / "set", "train") == []
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == ["index.json", "tinygame__oacmpbox.npz"]
    world = load_map(open_games(packs_dir)["tinygame"], "oacmpbox")
    arrays = panoramas.read_arrays(tmp_path / "set", "tinygame__oacmpbox")
    for i, item in enumerate(panoramas.iterate_panoramas(tmp_path / "set")):
        point, yaw = arrays["points_m"][i].astype(float), float(arrays["yaw_rad"][i])
        again = trace_panorama(world, point, HW, yaw, float(arrays["gain"][i]))
        np.testing.assert_array_equal(item.sky, again.sky)
        np.testing.assert_allclose(item.distance_m, again.distance, rtol=2e-4)
        assert np.abs(item.rgb.astype(int) - again.rgb).max() <= 2
        _check_views(item, world, point, yaw)
    before = (tmp_path / "set" / "tinygame__oacmpbox.npz").stat().st_mtime_ns
    generate_dataset(packs_dir, tmp_path / "set", config)
    assert (tmp_path / "set" / "tinygame__oacmpbox.npz").stat().st_mtime_ns == before
    generate_dataset(packs_dir, tmp_path / "set", MapsConfig(split="heldout", seed=1, **SMALL))
    assert (tmp_path / "set" / "tinygame__oacmpbox.npz").stat().st_mtime_ns != before


def _check_views(item, world, point, yaw):
    """Views are displaced as promised, and their depth is the box's in the panorama's frame."""
    median = np.median(item.distance_m[~item.sky])
    shift = np.linalg.norm(item.views.world_from_cam[:, :3, 3], axis=1) / median
    assert (shift > 0.049).all() and (shift < 0.251).all()
    for depth_z, pose, intrinsics in zip(item.views.depth_z, item.views.world_from_cam, item.views.K, strict=True):
        rays, cosine = view_directions(pose.astype(float), intrinsics.astype(float), depth_z.shape)
        turn = yaw_rotation(yaw)
        origin = quake_from_world(point + turn @ pose[:3, 3]) / 32
        expected = distance_to_box(origin, rays @ turn.T @ WORLD_FROM_QUAKE) * cosine
        seen = np.isfinite(depth_z.ravel())
        assert seen.any()
        np.testing.assert_allclose(depth_z.ravel()[seen], expected[seen], rtol=1e-3)


def test_a_damaged_map_is_noted_and_the_others_are_made(tmp_path):
    maps = {"good": box_map(), "bad": box_map()[:300]}
    index = generate_dataset(write_pack(tmp_path / "p", maps), tmp_path / "o", MapsConfig(**SMALL))
    assert "truncated" in index["maps"]["tinygame__bad"]["error"]
    assert panoramas.list_maps(tmp_path / "o") == ["tinygame__good"]


def test_an_interrupted_set_is_continued_by_two_processes(tmp_path):
    packs = write_pack(tmp_path / "p", {name: box_map() for name in ("one", "two", "three")})

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_dataset(packs, tmp_path / "o", MapsConfig(**SMALL), interrupt)
    assert len(panoramas.list_maps(tmp_path / "o")) == 1
    calls = []
    generate_dataset(packs, tmp_path / "o", MapsConfig(**SMALL | {"workers": 2}), lambda *a: calls.append(a[1:]))
    assert calls == [(2, 3), (3, 3)]
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == [
        "index.json",
        "tinygame__one.npz",
        "tinygame__three.npz",
        "tinygame__two.npz",
    ]


def test_bad_input_is_named_in_one_sentence(tmp_path, packs_dir):
    with pytest.raises(FileNotFoundError, match="packs_dir must be a folder"):
        open_games(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="packs_dir must hold pk3 files"):
        open_games(tmp_path)
    for data, words in ((b"", "must be an IBSP map"), (box_map()[:300], "truncated: lump"), (b"x" * 500, "IBSP map")):
        with pytest.raises(ValueError, match=words):
            read_bsp(data, "some map")
    elsewhere = bytearray(box_map())
    start = int.from_bytes(elsewhere[8 + 13 * 8 : 12 + 13 * 8], "little")  # the face lump
    elsewhere[start : start + 4] = b"\xff\0\0\0"
    with pytest.raises(ValueError, match="damaged: a surface of a face"):
        read_bsp(bytes(elsewhere))
    with pytest.raises(ValueError, match="version 46, got 47"):
        read_bsp(box_map()[:4] + b"\x2f" + box_map()[5:])
    with pytest.raises(FileNotFoundError, match=r"maps/none\.bsp is in none of the packs"):
        load_map(open_games(packs_dir)["tinygame"], "none")
    with pytest.raises(ValueError, match="must hold maps of the split validation"):
        generate_dataset(packs_dir, tmp_path / "o", MapsConfig(split="validation", **SMALL))
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="out_dir must be a folder"):
        generate_dataset(packs_dir, tmp_path / "file", MapsConfig(**SMALL))
    with pytest.raises(ValueError, match="hw must be a height >= 16"):
        MapsConfig(hw=(100, 100))
    with pytest.raises(FileNotFoundError, match="folder must hold packed maps"):
        panoramas.list_maps(tmp_path)
    (tmp_path / "broken.pk3").write_bytes(b"not a zip")
    with pytest.raises(ValueError, match="must be a pk3"):
        open_games(tmp_path)
