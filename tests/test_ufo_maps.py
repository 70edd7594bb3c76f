"""Maps of UFO: Alien Invasion: the box of the other map tests, without its ceiling, in that game's format."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from map_bytes import EYE_QUAKE_M, EYE_WORLD_M, HIGH_M, LOW_M, SIDES, distance_to_box, image_bytes, quad, write_pack

from onescene.data.maps import load_map, open_games, trace_panorama
from onescene.data.maps.bsp import POLYGON
from onescene.data.maps.generate import MapsConfig, generate_dataset, key_of
from onescene.data.maps.points import camera_points, is_clear
from onescene.data.maps.raytrace import panorama_directions
from onescene.data.maps.ufo_bsp import LUMP_NAMES, read_ufo_bsp
from onescene.data.maps.world import WORLD_FROM_QUAKE
from onescene.data.splits import family, maps_of, split_of

QUANT = 5  # a sample of light every 32 units: every metre
ROOF_M = np.array([-8.0, -6.0, 7.0]), np.array([8.0, 6.0, 7.0])
HW = (32, 64)


def roof() -> tuple[str, np.ndarray, np.ndarray]:
    """What covers the room; as the game is seen from above, it has no underside."""
    corners, _ = quad(2, 1, *ROOF_M)
    return "box/floor", corners, np.array([0.0, 0.0, 1.0])


def ufo_map(extra=(), flags=None, light: int = 128) -> bytes:
    """The bytes of the map.

    Args:
        extra: More polygons: texture, corners [4, 3] in metres, normal.
        flags: Surface flags by texture.
        light: Of the day, on every surface.
    """
    polygons = [(f"box/{n}", *quad(a, s, LOW_M, HIGH_M)) for n, (a, s, _) in SIDES.items() if n != "ceiling"]
    polygons += list(extra)
    lumps = {name: b"" for name in LUMP_NAMES}
    spots = ((32, 64, 24), (-160, -100, 24))
    spawn = "".join('{"classname" "info_civilian_start" "origin" "%d %d %d"}\n' % s for s in spots)  # noqa: UP031
    lumps["entities"] = ('{"classname" "worldspawn"}\n' + spawn).encode()
    lumps["light_day"] = bytes([QUANT])
    lumps["edges"] = struct.pack("<2H", 0, 0)  # the first edge is not used: its number has no sign
    for i, (name, corners, normal) in enumerate(polygons):
        units = corners * 32
        across, down = (a for a in range(3) if abs(normal[a]) < 0.5)
        axes = np.zeros((2, 4), "<f4")
        axes[0, across] = axes[1, down] = 1
        lumps["textures"] += axes.tobytes() + struct.pack("<2I32s", (flags or {}).get(name, 0), 0, name.encode())
        turned = normal.sum() < 0  # planes look along the axes, the face's side says which way it is seen
        lumps["planes"] += struct.pack("<4fi", *np.abs(normal), 0.0, 0)
        for k in range(4):
            lumps["vertices"] += struct.pack("<3f", *units[k])
            lumps["edges"] += struct.pack("<2H", 4 * i + (k + 1) % 4, 4 * i + k)
            lumps["faceedges"] += struct.pack("<i", -(4 * i + k + 1))  # backwards: it begins at its second end
        texels = units @ axes[:, :3].T
        size = np.ceil(texels.max(0) / 32) - np.floor(texels.min(0) / 32) + 1
        offset = len(lumps["light_day"])
        lumps["light_day"] += bytes([light, light, light, 0, 0, 0]) * int(size.prod())
        lumps["faces"] += struct.pack("<Hhihhii", i, int(turned), 4 * i, 4, i, -1, offset)
    table, start = b"", 8 + 8 * len(lumps)
    for lump in lumps.values():
        table += struct.pack("<2i", start, len(lump))
        start += len(lump)
    return b"IBSP" + struct.pack("<i", 78) + table + b"".join(lumps.values())


def load(folder, data: bytes, name: str = "small/house", files=None):
    return load_map(open_games(write_pack(folder, {name: data}, files))["tinygame"], name)


def box_distance() -> np.ndarray:
    directions = panorama_directions(HW).reshape(-1, 3) @ WORLD_FROM_QUAKE
    return distance_to_box(EYE_QUAKE_M, directions).reshape(HW)


def test_distances_equal_the_box_and_where_nothing_is_met_there_is_sky(tmp_path):
    seen = trace_panorama(load(tmp_path, ufo_map()), EYE_WORLD_M, HW)
    through_ceiling = np.zeros(HW, bool)
    directions = panorama_directions(HW).reshape(-1, 3) @ WORLD_FROM_QUAKE
    through_ceiling.reshape(-1)[:] = (EYE_QUAKE_M + box_distance().reshape(-1, 1) * directions)[:, 2] > HIGH_M[2] - 1e-6
    assert 0.05 < through_ceiling.mean() < 0.5
    assert np.array_equal(seen.sky, through_ceiling)
    np.testing.assert_allclose(seen.distance[~seen.sky], box_distance()[~seen.sky], rtol=1e-4)


def test_a_roof_is_seen_from_below(tmp_path):
    world = load(tmp_path, ufo_map([roof()]))
    seen = trace_panorama(world, EYE_WORLD_M, HW)
    assert not seen.sky[: HW[0] // 4].any()
    assert seen.distance[0].mean() == pytest.approx(7.0 - EYE_QUAKE_M[2], rel=0.02)


def test_light_and_texture_are_where_they_belong(tmp_path):
    """Half of the floor's image is dark: a stripe per texture width; twice the light, twice the brightness."""
    stripes = np.full((64, 64, 3), 200, np.uint8)
    stripes[:, 32:] = 20
    picture = {"textures/box/floor.tga": image_bytes(stripes)}
    world = load(tmp_path, ufo_map(), files=picture)
    below = trace_panorama(world, EYE_WORLD_M, (64, 128), gain=1.0).rgb[-6]
    assert below.max() > 2 * below.min()  # a stripe is a metre wide, the eye 1.5 m above
    page = world.light.page
    assert (page >= 0).all() and world.light.lightmaps[page[0]].max() == 128
    dim = load(tmp_path / "dim", ufo_map(light=64), files=picture)
    bright, dark = (trace_panorama(w, EYE_WORLD_M, HW, gain=0.5).rgb[20].mean() for w in (world, dim))
    assert dark == pytest.approx(bright / 2**0.8, rel=0.05)  # baked light is toned by a power of 0.8


@pytest.mark.parametrize(
    ("name", "flags", "kind"),
    [("box/floor", 0x80, None), ("tex_common/clip", 0, None), ("box/floor", 0x10, None), ("box/floor", 0x2000000, 1)],
)
def test_what_nobody_sees_is_hidden_and_grates_are_cut_out(tmp_path, name, flags, kind):
    screen = (name, quad(0, 1, np.array([3.0, -6, 0]), np.array([3.0, 6, 8]))[0], np.array([-1.0, 0, 0]))
    own = "box/screen" if name.startswith("box") else name
    files = {"textures/box/screen.tga": image_bytes(np.zeros((8, 8, 4), np.uint8), "TGA")}
    world = load(tmp_path, ufo_map([(own, *screen[1:])], {own: flags}), files=files)
    seen = trace_panorama(world, EYE_WORLD_M, HW)
    np.testing.assert_allclose(seen.distance[~seen.sky], box_distance()[~seen.sky], rtol=1e-4)  # through the screen
    assert (world.kind == 1).any() == (kind == 1)


def test_points_stand_inside_and_not_over_the_edge(tmp_path):
    world = load(tmp_path, ufo_map([roof()]))
    points = camera_points(world, 8, np.random.default_rng(0))
    assert len(points) >= 4
    quake = points @ WORLD_FROM_QUAKE
    assert ((quake > LOW_M) & (quake < HIGH_M)).all()
    assert not is_clear(world, np.array([[0.0, -30.0, 0.0]])).any()  # high above: nothing below the horizon but a roof


def test_a_set_of_such_maps_is_made(tmp_path):
    packs = write_pack(tmp_path / "packs", {"village2/house": ufo_map([roof()]), "village2/craft_x": ufo_map()})
    index = generate_dataset(packs, tmp_path / "out", MapsConfig(hw=(16, 32), points_per_map=2, workers=1))
    assert list(index["maps"]) == [key_of("tinygame", "village2/house")] == ["tinygame__village2.house"]
    assert index["maps"]["tinygame__village2.house"]["panoramas"] == 2
    assert family("ufoai__village2/house") == family("ufoai__village2.vil_b2x4") == "village"
    assert maps_of(["a/craft_crash", "office"], "validation") == ["office"] and split_of("ufoai__resort") == "train"


def test_faces_are_polygons_with_corners_of_their_own():
    bsp = read_ufo_bsp(ufo_map())
    assert (bsp.faces["kind"] == POLYGON).all() and len(bsp.vertices) == 20 and len(bsp.meshverts) == 30
    assert bsp.lightmaps.shape[0] == 1 and (bsp.faces["lightmap"] == 0).all()
    assert 0 < bsp.vertices["light_uv"].min() and bsp.vertices["light_uv"].max() < 1


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda d: b"IBSP" + struct.pack("<i", 79) + d[8:2000], "truncated"),
        (lambda d: d[:4] + struct.pack("<i", 46) + d[8:], "version 78 or 79"),
        (lambda d: d.replace(struct.pack("<i", -5), struct.pack("<i", -999)), "damaged"),
        (lambda d: d.replace(struct.pack("<ihh", 0, 4, 0), struct.pack("<ihh", 0, -4, 0)), "damaged"),
    ],
)
def test_damaged_files_are_named_in_one_sentence(damage, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_ufo_bsp(damage(ufo_map()), "house")
