"""Maps whose walls show other images of the game: what changes, what does not, and where the images come from."""

from __future__ import annotations

import numpy as np
import pytest
from map_bytes import EYE_WORLD_M, box_map, image_bytes, write_pack

from onescene.data.maps import load_map, open_games, trace_panorama
from onescene.data.maps.exchange import exchange_images, wall_images
from onescene.data.maps.generate import MapsConfig, generate_dataset, render_map
from onescene.data.maps.shaders import Surface
from onescene.data.panoramas import read_index

HW = (32, 64)
STRIPES = np.kron(np.array([[0, 255]], np.uint8), np.ones((8, 4), np.uint8))[..., None].repeat(3, -1)
FILES = {
    "textures/hall/brick.jpg": image_bytes(STRIPES, "JPEG"),
    "textures/hall/brick_norm.jpg": image_bytes((128, 128, 255), "JPEG"),  # its normals: no picture of a wall
    "textures/hall/brick_glow.jpg": image_bytes((0, 0, 0), "JPEG"),
    "textures/yard/plaster.tga": image_bytes((250, 250, 250)),
    "textures/skies/noon_up.tga": image_bytes((10, 10, 250)),
    "textures/common/caulk.tga": image_bytes((250, 10, 250)),
    "textures/strength/wall.tga": image_bytes((10, 250, 250)),  # of a held-out map
    "textures/oacmp1/wall.tga": image_bytes((10, 250, 250)),
    "textures/toxic/wall.tga": image_bytes((10, 250, 250)),  # of a validation map
    "textures/notes.txt": b"no image",
}


@pytest.fixture(scope="module")
def packs_dir(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("packs"), {"aroom": box_map()}, FILES)


@pytest.fixture(scope="module")
def packs(packs_dir):
    return open_games(packs_dir)["tinygame"]


def test_images_are_walls_of_training_folders(packs):
    by_folder = {names[0].split("/")[1]: names for names in wall_images(packs)}
    assert set(by_folder) == {"box", "hall", "yard"}
    assert by_folder["hall"] == ["textures/hall/brick.jpg"]
    assert len(by_folder["box"]) == 5


def test_surfaces_of_one_image_share_the_new_one_and_nothing_else_changes(packs):
    lamp = "textures/box/left.tga"
    surfaces = [
        Surface(kind="solid", image=lamp, glow="textures/hall/brick_glow.jpg"),
        Surface(kind="solid", image=lamp, two_sided=True),
        Surface(kind="cutout", image=lamp),
        Surface(kind="sky", image="textures/skies/noon_up.tga", sky_box="env/noon"),
        Surface(kind="hidden", image=None),
        Surface(kind="solid", image=None),
    ]
    seen = set()
    for seed in range(20):
        lit, twin, *rest = exchange_images(surfaces, packs, np.random.default_rng(seed))
        assert rest == surfaces[2:]
        assert lit.image == twin.image and lit.glow is None and twin.two_sided and not lit.two_sided
        seen.add(lit.image.split("/")[1])
    assert seen == {"box", "hall", "yard"}


def test_geometry_light_and_sky_stay(packs):
    plain = load_map(packs, "aroom")
    other = load_map(packs, "aroom", np.random.default_rng(3))
    again = load_map(packs, "aroom", np.random.default_rng(3))
    for key in ("corners_m", "normal", "kind", "uv"):
        np.testing.assert_array_equal(getattr(plain, key), getattr(other, key))
    before, after, repeated = (trace_panorama(world, EYE_WORLD_M, HW) for world in (plain, other, again))
    np.testing.assert_array_equal(before.distance, after.distance)
    np.testing.assert_array_equal(before.sky, after.sky)
    np.testing.assert_array_equal(after.rgb, repeated.rgb)
    assert np.abs(before.rgb[~before.sky].astype(int) - after.rgb[~before.sky]).mean() > 10


def test_a_game_without_images_of_walls_keeps_what_it_has(tmp_path):
    packs = open_games(write_pack(tmp_path, {"aroom": box_map()}))["tinygame"]
    kept = [Surface(kind="solid", image="textures/common/slab.tga")]
    packs._where = {name: where for name, where in packs._where.items() if not name.startswith("textures/box")}
    assert exchange_images(kept, packs, np.random.default_rng(0)) is kept


def test_the_same_places_in_other_clothes(packs):
    small = dict(hw=HW, points_per_map=3, workers=1)
    plain = render_map(packs, "aroom", MapsConfig(**small))
    other = render_map(packs, "aroom", MapsConfig(**small, other_images=True))
    for key in ("points_m", "yaw_rad", "log_distance"):
        np.testing.assert_array_equal(plain[key], other[key])
    assert (plain["rgb"] != other["rgb"]).any()


def test_a_set_says_whether_it_was_exchanged_and_older_sets_are_still_known(packs_dir, tmp_path):
    small = dict(hw=HW, points_per_map=1, workers=1)
    assert "other_images" not in MapsConfig(**small).parameters()
    generate_dataset(packs_dir, tmp_path / "set", MapsConfig(**small, other_images=True))
    assert read_index(tmp_path / "set")["parameters"]["other_images"] is True
