"""``onescene export``: every format of a small run, in other programs' axes, and a folder that others train from."""

from __future__ import annotations

import io
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from gaussian_samples import random_gaussians
from PIL import Image
from torch.testing import assert_close

from onescene.cli import main
from onescene.data.rooms import render_panorama, render_views, sample_room
from onescene.geometry.axes import AXES, axes_named, move_gaussians, move_points
from onescene.geometry.cubemap import FACES, face_cameras, faces_from_panorama
from onescene.geometry.trajectories import make_trajectory
from onescene.io import (
    load_gaussians,
    load_image,
    load_mesh,
    load_points,
    read_colmap_groups,
    read_colmap_points,
    save_cameras,
    save_distance,
    save_gaussians,
    save_image,
)
from onescene.pipeline.export import FORMATS, ExportConfig, default_target, export_scene
from onescene.pipeline.layout import (
    HOLES_FILE,
    anchor_files,
    cameras_file,
    distance_file,
    panorama_file,
    scaffold_file,
    scene_file,
)
from onescene.pipeline.step import run_step
from onescene.pipeline.steps.finish import page_step
from onescene.types import Cameras

FACE_PX, VIEWS, VIEW_HW, FOV_DEG = 24, 3, (20, 30), 95.0


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """A finished run's files, made of a room: what the export reads, and nothing else."""
    out = tmp_path_factory.mktemp("run") / "eine Küche"
    room = sample_room(1)
    seen = render_panorama(room, (64, 128))
    for path in (panorama_file(out), anchor_files(out)["F"], distance_file(out), cameras_file(out), scene_file(out)):
        path.parent.mkdir(parents=True)
    save_image(seen.rgb, panorama_file(out))
    save_distance(seen.distance, distance_file(out))
    for name, face in zip(FACES, faces_from_panorama(seen.rgb, FACE_PX, FOV_DEG), strict=True):
        save_image(face, anchor_files(out)[name])
    cameras = make_trajectory("orbit", VIEWS, hw=VIEW_HW, fov_deg=60.0)
    small = cameras.world_from_cam.clone()
    small[:, :3, 3] *= 0.1
    cameras = Cameras(world_from_cam=small, K=cameras.K, hw=cameras.hw)
    names = [f"{v:03d}.png" for v in range(VIEWS)]
    for name, picture in zip(names, render_views(room, cameras).rgb, strict=True):
        save_image(picture, cameras_file(out).with_name(name))
    save_cameras(cameras, cameras_file(out), names)
    alpha = np.full((VIEWS, *VIEW_HW), 255, np.uint8)
    alpha[1, :5] = 100
    np.savez(cameras_file(out).with_name(HOLES_FILE), alpha=alpha, depth_z=np.ones((VIEWS, *VIEW_HW), np.float16))
    save_gaussians(random_gaussians(400, degree=1), scene_file(out))
    return out


def test_the_help_names_every_format_and_axes(capsys):
    assert main(["export", "--help"]) == 0
    words = re.findall(r"[a-z.]+", capsys.readouterr().out)
    assert set(words) >= {*FORMATS, *AXES}


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_its_place(run_folder, format, capsys):
    target = default_target(run_folder, format)
    assert main(["export", str(run_folder), "--format", format]) == 0
    assert capsys.readouterr().out.strip() == str(target) and target.exists()
    if target.suffix == ".glb" or format in ("points", "colmap", "html"):
        return  # read below
    assert len(load_gaussians(target)) == 400
    assert not list(run_folder.glob(".*"))


def test_view_opens_a_page_of_what_is_there_now(run_folder, tmp_path, monkeypatch, capsys):
    out, opened = tmp_path / "out", []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)

    def viewed() -> str:
        capsys.readouterr()
        assert main(["view", str(out)]) == 0
        path = Path(capsys.readouterr().out.strip())
        assert opened[-1] == path.resolve().as_uri()
        return path.name

    shutil.copytree(run_folder, out, ignore=shutil.ignore_patterns("colmap", "*.glb", "*.html"))
    scaffold_file(out).parent.mkdir(exist_ok=True)
    save_gaussians(random_gaussians(30, degree=0), scaffold_file(out))
    assert viewed() == "view.html"  # the run is not through yet
    run_step(page_step(out), out)
    assert viewed() == "scene.html"
    save_gaussians(random_gaussians(77, degree=0), scene_file(out))  # the scene is fitted again
    assert viewed() == "view.html"
    assert '"count":77,' in (out / "view.html").read_text("utf-8")
    assert '"count":400,' in (out / "scene.html").read_text("utf-8")
    for folder in out.glob("[0-9][0-9]_*"):
        shutil.rmtree(folder)
    assert viewed() == "scene.html"  # all that is left of the run


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("format", ["ply", "compressed.ply", "splat", "sog"])
def test_gaussians_in_the_axes_of_other_programs(run_folder, tmp_path, axes, format):
    path = tmp_path / f"scene.{format}"
    assert main(["export", str(run_folder), "--format", format, "--axes", axes, "--out", str(path)]) == 0
    wanted, found = move_gaussians(load_gaussians(scene_file(run_folder)), axes_named(axes)), load_gaussians(path)
    if format != "ply":  # lossy and in another order
        found = found.select(torch.cdist(wanted.means.double(), found.means.double()).argmin(dim=1))
    unit = AXES[axes].unit
    assert_close(found.means / unit, wanted.means / unit, atol=1e-5 if format in ("ply", "splat") else 0.02, rtol=1e-4)
    assert_close(found.scales.log(), wanted.scales.log(), atol=0.05, rtol=0)
    assert_close((found.quats * wanted.quats).sum(-1).abs(), torch.ones(400), atol=1e-3, rtol=0)
    if format != "splat":
        assert_close(found.sh, wanted.sh, atol=1e-5 if format == "ply" else 0.04, rtol=0)


def test_points_in_the_axes_of_other_programs(run_folder, tmp_path):
    found = {}
    for axes in AXES:
        path = tmp_path / f"{axes}.ply"
        words = ["export", str(run_folder), "--format", "points", "--axes", axes, "--out", str(path)]
        assert main([*words, "--max-points", "2000"]) == 0
        found[axes] = load_points(path)
    for axes, points in found.items():
        assert 1400 < len(points.xyz) <= 2000
        assert_close(points.xyz, move_points(found["opencv"].xyz, AXES[axes]), atol=1e-4, rtol=1e-6)
        assert_close(points.rgb, found["opencv"].rgb)


def test_the_mesh_shows_the_panorama(run_folder, tmp_path):
    path = tmp_path / "small.glb"
    words = ["export", str(run_folder), "--format", "mesh", "--max-triangles", "3000", "--out", str(path)]
    assert main(words) == 0
    mesh, texture = load_mesh(path)
    assert 1500 < len(mesh.faces) <= 3000
    assert_close(texture, load_image(panorama_file(run_folder)), atol=0.2, rtol=0)
    assert (texture - load_image(panorama_file(run_folder))).abs().mean() < 0.02


# --- COLMAP ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def colmap_folder(run_folder, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("training") / "colmap"
    return export_scene(run_folder, "colmap", target, ExportConfig(max_points=5000))


IMAGES = [*(f"anchor_{face}.png" for face in FACES), *(f"view_{v:03d}.png" for v in range(VIEWS))]


def test_a_colmap_folder_is_read_back(run_folder, colmap_folder):
    assert {p.relative_to(colmap_folder).as_posix() for p in colmap_folder.rglob("*") if p.is_file()} == {
        *(f"images/{name}" for name in IMAGES),
        *(f"masks/{name}" for name in IMAGES),
        *(f"sparse/0/{stem}.bin" for stem in ("cameras", "images", "points3D")),
    }
    anchors, views = read_colmap_groups(colmap_folder)
    assert (*anchors.names, *views.names) == tuple(IMAGES)
    wanted = face_cameras(FACE_PX, FOV_DEG)
    assert anchors.cameras.hw == wanted.hw and views.cameras.hw == VIEW_HW
    assert_close(anchors.cameras.world_from_cam, wanted.world_from_cam, atol=1e-6, rtol=0)
    assert_close(anchors.cameras.K, wanted.K)
    for name, source in zip(IMAGES, [*anchor_files(run_folder).values()], strict=False):
        assert torch.equal(load_image(colmap_folder / "images" / name), load_image(source))


def test_a_mask_is_black_where_the_inpainter_filled(colmap_folder):
    for name in IMAGES:
        mask = np.asarray(Image.open(colmap_folder / "masks" / name))
        assert mask.shape == np.asarray(Image.open(colmap_folder / "images" / name)).shape[:2]
        black = np.zeros_like(mask, bool)
        black[:5] = name == "view_001.png"
        assert np.array_equal(mask, np.where(black, 0, 255))


def slow_model(folder: Path) -> tuple[dict, dict, np.ndarray]:
    """Lenses, images and points of a binary model, read number by number as COLMAP's format page lays them out."""
    file = io.BytesIO((folder / "cameras.bin").read_bytes())

    def take(form: str) -> tuple:
        return struct.unpack(form, file.read(struct.calcsize(form)))

    lenses, images, points = {}, {}, []
    for _ in range(take("<Q")[0]):
        i, model, width, height = take("<iiQQ")
        assert model == 1  # PINHOLE: fx fy cx cy
        lenses[i] = (width, height, np.array(take("<4d")))
    assert not file.read()
    file = io.BytesIO((folder / "images.bin").read_bytes())
    for _ in range(take("<Q")[0]):
        i, w, x, y, z, *shift, camera = take("<i7di")
        name = b""
        while (letter := file.read(1)) != b"\0":
            name += letter
        assert take("<Q") == (0,)
        turn = np.array(
            [
                [1 - 2 * y * y - 2 * z * z, 2 * x * y - 2 * w * z, 2 * x * z + 2 * w * y],
                [2 * x * y + 2 * w * z, 1 - 2 * x * x - 2 * z * z, 2 * y * z - 2 * w * x],
                [2 * x * z - 2 * w * y, 2 * y * z + 2 * w * x, 1 - 2 * x * x - 2 * y * y],
            ]
        )
        images[name.decode()] = (turn, np.array(shift), lenses[camera])
    assert not file.read()
    file = io.BytesIO((folder / "points3D.bin").read_bytes())
    for _ in range(take("<Q")[0]):
        _, px, py, pz, r, g, b, _, track = take("<Q3d3BdQ")
        file.read(8 * track)
        points.append((px, py, pz, r, g, b))
    assert not file.read()
    return lenses, images, np.array(points)


def test_points_land_on_their_colour_in_every_image(colmap_folder):
    """Read by the format's own page: what a point shows is what the image shows where it falls, for anchors."""
    lenses, images, points = slow_model(colmap_folder / "sparse" / "0")
    assert len(lenses) == 2 and list(images) == IMAGES and 3500 < len(points) <= 5000
    for name in IMAGES[: len(FACES)]:
        turn, shift, (width, height, (fx, fy, cx, cy)) = images[name]
        seen = points[:, :3] @ turn.T + shift
        ahead = seen[:, 2] > 0.01
        seen, rgb = seen[ahead], points[ahead, 3:]
        x, y = fx * seen[:, 0] / seen[:, 2] + cx, fy * seen[:, 1] / seen[:, 2] + cy
        inside = (x > 0) & (x < width) & (y > 0) & (y < height)
        picture = np.asarray(Image.open(colmap_folder / "images" / name))
        shown = picture[y[inside].astype(int), x[inside].astype(int)].astype(float)
        assert inside.sum() > 200
        assert np.median(np.abs(shown - rgb[inside])) < 8
        assert np.median(np.abs(shown - rgb[inside][::-1])) > 8  # not just any point of the room


def test_colmap_itself_reads_the_folder(colmap_folder):
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is not installed: pip install pycolmap")
    model = pycolmap.Reconstruction(str(colmap_folder / "sparse" / "0"))
    by_name = {image.name: image for image in model.images.values()}
    assert sorted(by_name) == sorted(IMAGES) and len(model.cameras) == 2
    for group in read_colmap_groups(colmap_folder):
        for name, cam_from_world, K in zip(group.names, group.cameras.cam_from_world, group.cameras.K, strict=True):
            image = by_name[name]
            assert_close(torch.tensor(image.cam_from_world().matrix()).float(), cam_from_world[:3], atol=1e-6, rtol=0)
            assert_close(torch.tensor(image.camera.calibration_matrix()).float(), K)
            assert (image.camera.height, image.camera.width) == group.cameras.hw
    points = read_colmap_points(colmap_folder)
    theirs = np.stack([model.points3D[i].xyz for i in sorted(model.points3D)])
    assert_close(torch.tensor(theirs).float(), points.xyz)
    colours = np.stack([model.points3D[i].color for i in sorted(model.points3D)])
    assert_close(torch.tensor(colours) / 255, points.rgb)


def test_an_earlier_export_is_replaced_and_nothing_else(run_folder, tmp_path, capsys):
    target = tmp_path / "colmap"
    words = ["export", str(run_folder), "--format", "colmap", "--out", str(target), "--max-points", "100"]
    assert main(words) == 0
    (target / "images" / "old.png").write_bytes(b"old")
    assert main(words) == 0
    assert not (target / "images" / "old.png").exists() and len(read_colmap_points(target).xyz) <= 100
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    capsys.readouterr()
    assert main([*words[:5], str(tmp_path / "mine")]) == 2
    assert "mine holds something else" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["colmap", "mine"]


def test_a_run_without_views_gives_its_anchors(run_folder, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(run_folder, out, ignore=shutil.ignore_patterns("04_views", "colmap", "*.glb", "*.html"))
    target = export_scene(out, "colmap", out / "colmap")
    assert sorted(p.name for p in (target / "images").iterdir()) == sorted(IMAGES[:6])
    assert not (target / "masks").exists()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("file", "damage", "sentence"),
    [
        (f"04_views/{HOLES_FILE}", truncate, f"{HOLES_FILE} is damaged: make the novel views again"),
        (f"04_views/{HOLES_FILE}", lambda path: path.write_text("no"), f"{HOLES_FILE} is damaged"),
        (f"04_views/{HOLES_FILE}", lambda path: np.savez(path, alpha=np.zeros(3)), f"{HOLES_FILE} is damaged"),
        (
            f"04_views/{HOLES_FILE}",
            lambda path: np.savez(path, **dict.fromkeys(("alpha", "depth_z"), np.zeros((2, *VIEW_HW)))),
            r"must hold 3 views, got \(2, 20, 30\) and \(2, 20, 30\): make the novel views again",
        ),
        ("04_views/001.png", truncate, r"damaged or truncated .*: .*001\.png"),
        (
            "04_views/001.png",
            lambda path: save_image(torch.zeros(3, 8, 9), path),
            r"001\.png must have the size of its camera, 30 x 20, got 9 x 8",
        ),
        ("04_views/transforms.json", lambda path: path.write_text("[]"), "must hold a JSON object"),
        ("02_anchors/B.png", lambda path: path.unlink(), "no 02_anchors/B.png in .*: run `onescene run PHOTO"),
        ("03_scaffold/distance.npy", truncate, "distance map must be an .npy file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_run_is_not_exported(run_folder, tmp_path, capsys, file, damage, sentence):
    out = tmp_path / "out"
    shutil.copytree(run_folder, out, ignore=shutil.ignore_patterns("colmap", "*.glb", "*.html"))
    damage(out / file)
    capsys.readouterr()
    assert main(["export", str(out), "--format", "colmap", "--out", str(tmp_path / "colmap")]) == 2
    error = capsys.readouterr().err
    assert re.search(sentence, error) and error.count("\n") == 1, error
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


# --- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--format", "obj"], "--format must be one of ply, compressed.ply, .*, got 'obj'"),
        (
            ["--format", "ply", "--axes", "maya"],
            "^onescene: axes must be one of opencv, blender, unity, unreal, got 'maya'",
        ),
        (["--format", "spz", "--axes", "unity"], "--axes must be opencv for --format spz, got unity"),
        (["--format", "mesh", "--axes", "blender"], "--axes must be opencv for --format mesh, got blender"),
        (["--format", "html", "--axes", "blender"], "--axes must be opencv for --format html, got blender"),
        (["--format", "ply", "--max-triangles", "100"], "--max-triangles is for --format mesh, got --format ply"),
        (["--format", "mesh", "--max-points", "100"], "--max-points is for --format points or colmap"),
        (["--format", "mesh", "--max-triangles", "10"], "max_triangles must be >= 64, got 10"),
        (["--format", "points", "--max-points", "0"], "max_points must be >= 32, got 0"),
        (["--format", "colmap", "--max-points", "0"], "max_points must be >= 32, got 0"),
        (["--format", "mesh", "--out", "x.ply"], "--out must end in .glb for --format mesh, got x.ply"),
        (["--format", "compressed.ply", "--out", "x.ply"], "--out must end in .compressed.ply"),
        (["--format", "html", "--out", "x.png"], "--out must end in .html for --format html, got x.png"),
        (["--format", "html", "--max-points", "9"], "--max-points is for --format points or colmap, got --format html"),
        (["--format", "mesh", "--out", "none/x.glb"], "the folder of none/x.glb does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_export_is_refused(run_folder, tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["export", str(run_folder), *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(sentence, error), error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", FORMATS)
def test_a_folder_that_is_no_run(tmp_path, capsys, format):
    assert main(["export", str(tmp_path / "none"), "--format", format]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["export", str(tmp_path), "--format", format]) == 2
    assert "`onescene run PHOTO" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
