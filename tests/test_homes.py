"""Furnished homes: catalogues and models of furniture, walls, places of furniture, light, whole sets."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from numpy.testing import assert_allclose
from PIL import Image

from onescene.cli import main
from onescene.data.homes.arrange import arrange, role_of
from onescene.data.homes.generate import HomesConfig, generate_homes, home_points, render_home
from onescene.data.homes.home import draw_home
from onescene.data.homes.library import open_libraries, read_catalogue, split_of_piece
from onescene.data.homes.light import AreaLight, Sun, direct_light, open_side, passed_on
from onescene.data.homes.looks import Textures, drawn, paint, pick_look, read_textures
from onescene.data.homes.models import LONGEST_M, cut_long, load_model, parse_obj
from onescene.data.homes.plan import draw_rooms
from onescene.data.homes.shell import SIDES, Opening, Panels, Room, add_room
from onescene.data.panoramas import list_maps, read_map, spread_panoramas
from onescene.data.sets import MapSet
from onescene.data.splits import split_of

# a box of 2 x 1 x 4 units whose lid is red and whose underside is glass; indices from both ends
BOX = """mtllib box.mtl
v 0 0 0
v 2 0 0
v 2 0 4
v 0 0 4
v 0 1 0
v 2 1 0
v 2 1 4
v 0 1 4
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl lid
f 5/1 8/4 7/3 6/2
usemtl wood
f 1 5 6 2
f 2 6 7 3
f -5 -6 -2 -1
f 4 8 5 1
usemtl glass
f 1 2 3 4
"""
MATERIALS = """newmtl lid
Kd 1 0 0
newmtl wood
Kd 1 1 1
map_Kd wood.png
newmtl glass
Kd 0 0 1
d 0.2
"""
NAMES = ("Couch", "Bookcase", "Table", "Chair", "Bed", "Lamp", "Cup", "Woman", "Stove", "Plant", "Cabinet", "Box")
CATEGORIES = {"Woman": "Characters", "Stove": "Kitchen", "Cup": "Kitchen"}
SIZES = {"Couch": (200, 80, 90), "Bed": (150, 60, 210), "Cup": (10, 12, 10), "Bookcase": (90, 200, 35)}


@pytest.fixture(scope="module")
def furniture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two libraries, one of them held out, whose pieces all look like boxes."""
    folder = tmp_path_factory.mktemp("furniture")
    image = io.BytesIO()
    Image.new("RGB", (8, 8), (120, 80, 40)).save(image, "PNG")
    for name in ("Some", "Scopia"):
        lines = ["# a catalogue", "id=Some"]
        for i, piece in enumerate(NAMES * 3, 1):
            width, height, depth = SIZES.get(piece, (60, 80, 50))
            lines += [f"name#{i}={piece}", f"category#{i}={CATEGORIES.get(piece, 'Living room')}", f"width#{i}={width}"]
            lines += [f"height#{i}={height}", f"depth#{i}={depth}", f"model#{i}=/box/box.obj"]
            lines += [f"elevation#{i}=120"] if piece == "Lamp" else []
        with zipfile.ZipFile(folder / f"{name}.sh3f", "w") as archive:
            archive.writestr("PluginFurnitureCatalog.properties", "\n".join(lines))
            archive.writestr("box/box.obj", BOX)
            archive.writestr("box/box.mtl", MATERIALS)
            archive.writestr("box/wood.png", image.getvalue())
    return folder


@pytest.fixture(scope="module")
def textures() -> Textures:
    return read_textures(None)


def scene_of(corners: np.ndarray) -> rtcore_scene.EmbreeScene:
    scene = rtcore_scene.EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(corners, dtype=np.float32))
    return scene


def test_catalogue(furniture: Path) -> None:
    pieces = read_catalogue(furniture / "Some.sh3f")
    assert "Woman" not in {piece.name for piece in pieces} and len(pieces) == 33
    couch = pieces[0]
    assert (couch.name, couch.size_m, couch.top_m, couch.model) == ("Couch", (2.0, 0.8, 0.9), 0.8, "box/box.obj")
    roles = {piece.name: role_of(piece) for piece in pieces}
    assert roles["Couch"] == "sofa" and roles["Bookcase"] == "storage" and roles["Lamp"] == "hung"
    assert roles["Cup"] == "small" and roles["Box"] == "other" and roles["Table"] == "table"


def test_pieces_have_splits(furniture: Path) -> None:
    train, validation = (open_libraries(furniture, split) for split in ("train", "validation"))
    held_out = open_libraries(furniture, "heldout")
    assert {p.library.stem for p in held_out} == {"Scopia"} and len(held_out) == 33
    assert {p.key for p in train}.isdisjoint(p.key for p in validation) and len(train) + len(validation) == 33
    assert all(split_of_piece(p) == "train" for p in train)
    assert split_of("homes__heldout_0_00001_192") == "heldout" and split_of("homes__train_0_00001_192") == "train"


def test_obj() -> None:
    corners, uv, names, files = parse_obj(BOX)
    assert len(corners) == 12 and files == ["box.mtl"]
    assert names == ["lid"] * 2 + ["wood"] * 8 + ["glass"] * 2
    assert_allclose(uv[0], [[0, 0], [0, 1], [1, 1]])
    back = corners[6:8].reshape(-1, 3)  # counted from the end
    assert (back[:, 2] == 4).all() and parse_obj("v 0 0 0\n")[0].shape == (0, 3, 3)


def test_model_has_its_size_and_stands(furniture: Path) -> None:
    piece = read_catalogue(furniture / "Some.sh3f")[0]
    model = load_model(piece)
    low, high = model.corners_m.min((0, 1)), model.corners_m.max((0, 1))
    assert_allclose(low, [-1.0, -0.8, -0.45], atol=1e-6)
    assert_allclose(high, [1.0, 0.0, 0.45], atol=1e-6)
    assert len(model.corners_m) == 10  # the glass is gone
    lid = model.corners_m[model.material == 0]
    assert_allclose(lid[..., 1], -0.8)
    assert model.images[0].reshape(-1).tolist() == [255, 0, 0, 255]
    assert model.images[1][0, 0].tolist() == [120, 80, 40, 255]
    lying = load_model(replace(piece, rotation=np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])))
    assert_allclose(lying.corners_m[lying.material == 0][..., 2], lying.corners_m[lying.material == 0][0, 0, 2])
    assert load_model(replace(piece, model="box/none.obj")) is None


def test_long_triangles_are_cut() -> None:
    corners = np.array([[[0, 0, 0], [2.0, 0, 0], [0, 1.0, 0]]])
    cut, uv, material = cut_long(corners, corners[..., :2], np.array([3]))
    edges = np.linalg.norm(cut - np.roll(cut, -1, axis=1), axis=-1)
    assert edges.max() <= LONGEST_M and set(material) == {3}
    area = np.linalg.norm(np.cross(cut[:, 1] - cut[:, 0], cut[:, 2] - cut[:, 0]), axis=1) / 2
    assert_allclose(area.sum(), 1.0)
    assert_allclose(uv, cut[..., :2])


@pytest.mark.parametrize("door", [False, True])
def test_walls(door: bool) -> None:
    hole = Opening(along=(-0.5, 0.4), up=(0.0, 2.0), window=False)
    room = Room(low=(-2.0, -1.5), high=(2.0, 1.5), height=2.5, openings={"right": (hole,)} if door else {})
    panels = Panels()
    materials = {name: name for name in (*SIDES, "floor", "ceiling", "trim")}
    add_room(panels, room, materials, skirting_m=0.0, wall_m=0.1, frame_m=0.05)
    corners = np.concatenate(panels.corners)
    names = np.repeat(panels.material, [len(c) for c in panels.corners])
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = {name: np.linalg.norm(cross[names == name], axis=1).sum() / 2 for name in set(names)}
    assert_allclose([area["floor"], area["left"], area["front"]], [12.0, 7.5, 10.0])
    assert_allclose(area["right"], 7.5 - (1.8 if door else 0.0))
    shell = names != "trim"
    inwards = np.array([0, -1.25, 0]) - corners[shell].mean(1)
    assert ((cross[shell] * inwards).sum(1) > 0).all()
    rays = np.random.default_rng(0).normal(size=(4000, 3))
    rays = (rays / np.linalg.norm(rays, axis=1, keepdims=True)).astype(np.float32)
    start = np.tile(np.array([0, -1.25, 0], np.float32), (len(rays), 1))
    met = scene_of(corners).run(start, rays, query="INTERSECT") >= 0
    out = start[0] + rays * (2.0 / np.maximum(rays[:, :1], 1e-9))
    through = (rays[:, 0] > 0) & (out[:, 2] > -0.5) & (out[:, 2] < 0.4) & (out[:, 1] > -2.0) & (out[:, 1] < 0)
    if door:
        assert not met[through].all() and met[~through].all()
    else:
        assert met.all()


def test_plans_share_their_doors() -> None:
    for seed in range(400):
        main_room, *others = draw_rooms(np.random.default_rng(seed))
        doors = {o for openings in main_room.openings.values() for o in openings if not o.window}
        assert len(doors) == len(others)
        for room in others:
            shared = [o for openings in room.openings.values() for o in openings if not o.window]
            assert len(shared) == 1 and shared[0] in doors
        every = [main_room, *others]
        for i, room in enumerate(every):
            for other in every[i + 1 :]:
                assert any(room.low[k] >= other.high[k] or room.high[k] <= other.low[k] for k in (0, 1))
        for room in every:
            for side, openings in room.openings.items():
                axis = 1 - SIDES[side][0]
                for o in openings:
                    assert room.low[axis] <= o.along[0] < o.along[1] <= room.high[axis] and o.up[1] < room.height


def footprints(placed: list) -> list[tuple[np.ndarray, np.ndarray]]:
    out = []
    for item in placed:
        if item.at_m[1] != 0 or "chair" in item.piece.name.lower():  # on top of others, or pushed under a table
            continue
        c, s = abs(np.cos(item.angle)), abs(np.sin(item.angle))
        width, _, depth = item.piece.size_m
        half = np.array([c * width + s * depth, s * width + c * depth]) / 2
        out.append((item.at_m[[0, 2]] - half, item.at_m[[0, 2]] + half))
    return out


@pytest.mark.parametrize("theme", ["living", "kitchen", "office", "store"])
def test_furniture_keeps_apart(furniture: Path, theme: str) -> None:
    door = Opening(along=(-0.4, 0.4), up=(0.0, 2.0), window=False)
    room = Room(low=(-3.0, -2.0), high=(3.0, 2.0), height=2.6, openings={"left": (door,)})
    pieces = open_libraries(furniture, "train")
    stood = 0
    for seed in range(8):
        boxes = footprints(arrange(room, theme, pieces, np.random.default_rng(seed)))
        stood += len(boxes)
        for i, (low, high) in enumerate(boxes):
            assert (low >= np.array(room.low) - 1e-6).all() and (high <= np.array(room.high) + 1e-6).all()
            assert not (low[0] < -2.4 and high[1] > -0.4 and low[1] < 0.4)  # before the door
            for other_low, other_high in boxes[i + 1 :]:
                assert (low >= other_high - 1e-6).any() or (high <= other_low + 1e-6).any()
    assert stood > 16


def test_backs_are_at_walls(furniture: Path) -> None:
    room = Room(low=(-3.0, -2.0), high=(3.0, 2.0), height=2.6)
    pieces = [p for p in open_libraries(furniture, "train") if p.name == "Bed"]
    for seed in range(12):
        for bed in arrange(room, "bed", pieces, np.random.default_rng(seed)):
            back = bed.at_m + np.array([-np.sin(bed.angle), 0, -np.cos(bed.angle)]) * bed.piece.size_m[2] / 2
            gaps = np.abs(
                [back[0] - room.low[0], back[0] - room.high[0], back[2] - room.low[1], back[2] - room.high[1]]
            )
            assert gaps.min() < 0.07


def test_light_of_a_rectangle() -> None:
    """Over a small lamp the inverse-square law holds; across its whole face the closed form of a parallel disc does."""
    far = np.array([[0.0, 2.0, 0.0]])
    up = np.array([[0.0, -1.0, 0.0]])
    lamp = AreaLight(
        origin=np.array([-0.05, 0, -0.05]),
        right=np.array([0.1, 0, 0]),
        down=np.array([0, 0, 0.1]),
        normal=np.array([0.0, 1.0, 0.0]),
        colour=np.array([1.0, 2.0, 3.0]),
    )
    nothing = scene_of(np.array([[[50.0, 50, 50], [51, 50, 50], [50, 51, 50]]]))
    rng = np.random.default_rng(0)
    seen = direct_light(nothing, far, up, [lamp], None, rng)
    assert_allclose(seen[0], np.array([1, 2, 3]) * 0.01 / 4 / np.pi, rtol=0.01)
    assert (direct_light(nothing, far, -up, [lamp], None, rng) == 0).all()
    between = scene_of(np.array([[[-1.0, 1, -1], [1, 1, -1], [0, 1, 1]]]))
    assert (direct_light(between, far, up, [lamp], None, rng) == 0).all()
    sun = Sun(towards=np.array([0.0, -0.8, 0.6]), colour=np.array([1.0, 1.0, 1.0]))
    assert_allclose(direct_light(nothing, far, up, [], sun, rng), 0.8)
    wide = replace(lamp, origin=np.array([-50.0, 0, -50]), right=np.array([100.0, 0, 0]), down=np.array([0, 0, 100.0]))
    many = np.tile(np.array([[0.0, 30.0, 0.0]]), (400, 1))
    got = direct_light(nothing, many, np.tile(up, (400, 1)), [wide], None, rng).mean(0)
    side = 50 / np.hypot(50, 30)
    exact = 4 * side * np.arctan(50 / np.hypot(50, 30)) / np.pi  # the view factor of four quarters
    assert_allclose(got, np.array([1, 2, 3]) * exact, rtol=0.03)


def test_white_furnace() -> None:
    """In a closed box with equal light everywhere each reflection adds the same share."""
    panels = Panels()
    panels.box(np.zeros(3), np.ones(3), "wall", cell=0.5)
    corners = np.concatenate(panels.corners)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    inwards = -cross / np.linalg.norm(cross, axis=1, keepdims=True)
    inner = corners + 0.2 * (corners.mean(1, keepdims=True) - corners)
    points, normals = inner.reshape(-1, 3), np.repeat(inwards, 3, axis=0)
    scene, rng = scene_of(corners), np.random.default_rng(0)
    corner, albedo = np.arange(len(points)).reshape(-1, 3), np.full((len(corners), 3), 0.5)
    light = passed_on(scene, points, normals, corner, albedo, np.ones((len(points), 3)), rng)
    assert_allclose(light, sum(0.5**k for k in range(6)), rtol=1e-6)
    assert (open_side(scene, points, normals, rng) == -1).all()  # outside there is more room


def test_looks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = drawn(rng, np.array([0.5, 0.6, 0.7]), 0.05).astype(float)
    step = np.abs(np.diff(image[..., 0], axis=1)).max()
    assert np.abs(image[:, 0, 0] - image[:, -1, 0]).max() <= step + 3  # it repeats without a seam
    assert all(0 <= paint(rng).min() and paint(rng).max() <= 1 for _ in range(50))
    (tmp_path / "portraits").mkdir()
    Image.new("RGB", (4, 4), "red").save(tmp_path / "portraits" / "a.png")
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "wood_planks_1.png")
    (tmp_path / "brick_1.png").write_bytes(b"no picture")
    found = read_textures(tmp_path)
    assert len(found.pictures) == 1 and len(found.by_role["floor"]) == 1 and not found.by_role["front"]
    blue = [pick_look(found, "floor", rng).image[0, 0, :3] for _ in range(20)]
    assert sum(int(b[2]) > 150 and int(b[0]) < 20 for b in blue) >= 8
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_textures(tmp_path / "none")


def test_home_is_lit_and_exact(furniture: Path, textures: Textures) -> None:
    home = draw_home("homes__x", open_libraries(furniture, "train"), textures, np.random.default_rng(3))
    world = home.world
    assert np.isfinite(world.light.colour).all() and world.light.colour.min() >= 0
    points = home_points(home, 3, np.random.default_rng(0))
    assert len(points) == 3
    for point in points:
        room = next(
            r for r in home.rooms if all(a < v < b for a, v, b in zip(r.low, point[[0, 2]], r.high, strict=True))
        )
        way = np.array([[0.0, 1.0, 0.0]], np.float32)
        down = world.scene.run(point[None].astype(np.float32), way, query="DISTANCE")[0]
        assert down <= -point[1] + 1e-4 and -point[1] < room.height


def test_sets_repeat_and_resume(furniture: Path, tmp_path: Path) -> None:
    config = HomesConfig(
        furniture=str(furniture), count=2, points=2, hw=(32, 64), views_per_point=1, view_px=24, workers=1
    )
    arrays = render_home(0, config)
    assert arrays["rgb"].shape[1:] == (32, 64, 3) and arrays["view_rgb"].shape[1:] == (1, 24, 24, 3)
    again = render_home(0, config)
    assert all((arrays[key] == again[key]).all() for key in arrays)
    index = generate_homes(tmp_path / "homes", config)
    names = list_maps(tmp_path / "homes", "train")
    assert names == sorted(index["maps"]) and len(names) == 2
    first = tmp_path / "homes" / f"{names[0]}.npz"
    before = first.stat().st_mtime_ns
    seen: list[tuple[str, int, int]] = []
    generate_homes(tmp_path / "homes", replace(config, count=3), lambda *words: seen.append(words))
    assert first.stat().st_mtime_ns == before and seen == [("homes__train_0_00002_32", 3, 3)]
    seen.clear()
    generate_homes(tmp_path / "other", replace(config, count=1, points=1))
    generate_homes(
        tmp_path / "other", replace(config, count=1, points=1, view_px=32), lambda *words: seen.append(words)
    )
    assert len(seen) == 1  # other pictures are made anew
    assert read_map(tmp_path / "other", list_maps(tmp_path / "other")[0])[0].views.rgb.shape[1:] == (32, 32, 3)
    panorama = read_map(tmp_path / "homes", names[0])[0]
    assert np.isfinite(panorama.distance_m[~panorama.sky]).all() and 20 < panorama.rgb.mean() < 235
    assert len(MapSet(tmp_path / "homes", split="train")) >= 3
    assert not (arrays["rgb"][0] == render_home(1, config)["rgb"][0]).all()
    assert main(["data", "sheet", str(tmp_path / "homes"), "--out", str(tmp_path / "sheet.png"), "--count", "5"]) == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 1540 and np.asarray(sheet.convert("L")).std() > 20
    spread = [p.map_name for p in spread_panoramas(tmp_path / "homes", 3)]
    assert spread == sorted(set(spread)) and len(spread_panoramas(tmp_path / "homes", 4)) == 4
    assert main(["data", "sheet", str(tmp_path / "homes"), "--out", str(tmp_path / "sheet.gif")]) == 2
    assert main(["data", "sheet", str(tmp_path / "none"), "--out", str(tmp_path / "sheet2.png")]) == 2
    assert not (tmp_path / "sheet2.png").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--furniture", "none"], "no such folder: none"),
        (["--furniture", "."], "must hold furniture libraries"),
        (["--furniture", "{f}", "--split", "other"], "split must be one of"),
        (["--furniture", "{f}", "--count", "0"], "count must be at least 1"),
        (["--furniture", "{f}", "--textures", "none"], "no such folder: none"),
        (["--furniture", "damaged"], "must be a furniture library"),
    ],
)
def test_bad_input(
    words: list[str],
    sentence: str,
    furniture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if "damaged" in words:
        (tmp_path / "damaged").mkdir()
        (tmp_path / "damaged" / "a.sh3f").write_bytes(b"no archive")
    command = ["data", "homes", "--out", "out", *(w.format(f=furniture) for w in words)]
    assert main(command if "--count" in words else [*command, "--count", "1"]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
