"""Surfaces of distance maps: closed where nothing is cut, cut where depth jumps, and files that other programs read."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest
import torch
from npm import gltf_errors, needs_npm, run_node
from torch.testing import assert_close

from onescene.data.rooms import render_panorama, sample_room, trace
from onescene.geometry.equirect import directions_from_panorama, sample_panorama
from onescene.geometry.surface import (
    MeshConfig,
    PointCloud,
    SurfaceMesh,
    joined_neighbours,
    mesh_from_distance,
    points_from_distance,
)
from onescene.io import load_gaussians, load_mesh, load_points, save_mesh, save_points

SPHERE = torch.full((16, 32), 2.0)


def smooth_picture(height: int) -> torch.Tensor:
    """A panorama whose colours are its directions."""
    return directions_from_panorama((height, 2 * height)).permute(2, 0, 1) * 0.5 + 0.5


def normals(mesh: SurfaceMesh) -> torch.Tensor:
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    return torch.linalg.cross(b - a, c - a)


# --- meshes ------------------------------------------------------------------------------------------------------


def test_a_sphere_is_closed_and_faces_its_centre():
    mesh = mesh_from_distance(SPHERE)
    assert len(mesh.faces) == 4 * 16 * 16
    # the first column stands twice (its texture begins and ends there), a pole once per column
    assert len(mesh.vertices) == 16 * 33 + 2 * 32
    places = mesh.vertices.mul(1e4).round().long().unique(dim=0, return_inverse=True)[1][mesh.faces]
    edges = torch.cat((places[:, [0, 1]], places[:, [1, 2]], places[:, [2, 0]]))
    forward = {tuple(e) for e in edges.tolist()}
    assert len(forward) == len(edges) and all((b, a) in forward for a, b in forward)  # each side has one neighbour
    assert len(places.unique()) - len(edges) // 2 + len(places) == 2  # Euler's number of a sphere
    assert (normals(mesh) * mesh.vertices[mesh.faces].mean(1)).sum(-1).max() < 0
    assert_close(mesh.vertices.norm(dim=-1), torch.full((len(mesh.vertices),), 2.0))


def test_texture_coordinates_show_what_lies_there():
    mesh = mesh_from_distance(SPHERE)
    picture = smooth_picture(256)
    xy = mesh.uv * torch.tensor([512.0, 256.0])
    inner = (mesh.uv[:, 1] - 0.5).abs() < 0.5  # at a pole every u is one point
    shown = sample_panorama(picture, xy).T * 2 - 1
    assert_close(shown[inner], mesh.vertices[inner] / 2, atol=5e-3, rtol=0)
    assert mesh.uv.min() >= 0 and mesh.uv[:, 0].max() <= 1 + 1 / 32


def test_no_triangle_reaches_from_a_box_to_the_wall():
    distance = torch.full((32, 64), 4.0)
    distance[10:20, 30:40] = 1.0
    mesh = mesh_from_distance(distance)
    lengths = mesh.vertices.norm(dim=-1)[mesh.faces]
    assert (lengths.max(1).values / lengths.min(1).values).max() < 1.01
    assert len(mesh.faces) == 4 * 32 * 32 - (
        2 * (11 * 11 - 9 * 9) - 4
    )  # the squares around the rim, less what the wall keeps at corners
    whole = mesh_from_distance(distance, MeshConfig(edge_ratio=5.0))
    assert len(whole.faces) == 4 * 32 * 32


def test_a_floor_stays_whole_to_the_horizon():
    """Rows near the horizon of a floor differ by factors, and no edge is there; a wall that ends them is one."""
    directions = directions_from_panorama((128, 256), dtype=torch.float64)
    floor = 1.6 / directions[..., 1].clamp_min(1e-9)
    distance = torch.where(directions[..., 1] > 0, floor, torch.full_like(floor, 1e4))
    right, down = joined_neighbours(distance, 1.1)
    assert right.all()
    below = down[65:]  # from the second row below the horizon
    assert below.all() and (distance[66] / distance[65]).max() < 0.7
    assert not down[63].any()


def slow_joined(disparity: list[float], i: int, ratio: float) -> bool:
    """The rule for the pair i, i + 1 of a line of pixels, in words of one pixel at a time."""
    a, b = disparity[i], disparity[i + 1]
    if max(a / b, b / a) <= ratio:
        return True
    step, before, after = b - a, a - disparity[i - 1], disparity[i + 2] - b
    return abs(before - step) <= abs(step) / 2 and abs(after - step) <= abs(step) / 2


def test_neighbours_against_the_slow_rule():
    distance = torch.rand(8, 16, generator=torch.manual_seed(0), dtype=torch.float64) + 0.5
    right, down = joined_neighbours(distance, 1.3)
    for row in range(8):
        line = (1 / distance[row]).tolist()
        for i in range(16):
            turned = line[i - 1 :] + line[: i - 1] if i else line[-1:] + line[:-1]
            assert bool(right[row, i]) == slow_joined(turned, 1, 1.3)
    for column in range(16):
        line = (1 / distance[:, column]).tolist()
        opposite = (1 / distance[:, (column + 8) % 16]).tolist()
        line = [opposite[0], *line, opposite[-1]]
        assert down[:, column].tolist() == [slow_joined(line, i, 1.3) for i in range(1, 8)]
    assert 0.2 < right.double().mean() < 0.9


@pytest.mark.parametrize("budget", [64, 1000, 5000, 10**7])
def test_the_budget_is_kept(budget):
    distance = 1 + torch.rand(40, 80, generator=torch.manual_seed(1)) * 1e-3
    mesh = mesh_from_distance(distance, MeshConfig(max_triangles=budget))
    height = min(40, math.isqrt(budget // 4))
    assert len(mesh.faces) == 4 * height**2 <= budget
    points = points_from_distance(torch.rand(3, 40, 80), distance, budget)
    assert 0.7 * min(budget, 4 / math.pi * 1600) < len(points.xyz) <= budget


@pytest.mark.parametrize(("seed", "rows", "exact_part"), [(0, 96, 0.97), (3, 96, 0.97), (0, 60, 0.92)])
def test_a_room_comes_out_as_it_is(seed, rows, exact_part):
    """Against exact rays through every triangle's middle: surfaces within 1 %, and nothing bridges an edge."""
    room = sample_room(seed)
    mesh = mesh_from_distance(render_panorama(room, (96, 192)).distance, MeshConfig(max_triangles=4 * rows**2))
    middles = mesh.vertices[mesh.faces].double().mean(1)[:: len(mesh.faces) // 3000]
    exact = trace(room, torch.zeros(1, 3, dtype=torch.float64), middles / middles.norm(dim=-1, keepdim=True)).distance
    error = (middles.norm(dim=-1) / exact - 1).abs()
    assert (error > 0.1).double().mean() < 2e-3
    assert (error < 0.01).double().mean() > exact_part
    assert len(mesh.faces) > 0.95 * 4 * rows**2


@pytest.mark.parametrize(
    ("distance", "config", "sentence"),
    [
        (torch.ones(8, 8), MeshConfig(), r"distance's size must be \(H, 2 H\)"),
        (torch.zeros(8, 16), MeshConfig(), "finite and positive everywhere, got 128 other values"),
        (torch.full((8, 16), math.nan), MeshConfig(), "finite and positive everywhere"),
        (torch.ones(8, 16), MeshConfig(max_triangles=63), "max_triangles must be >= 64, got 63"),
        (torch.ones(8, 16), MeshConfig(edge_ratio=1.0), "edge_ratio must be > 1, got 1.0"),
    ],
)
def test_maps_that_can_not_be(distance, config, sentence):
    with pytest.raises(ValueError, match=sentence):
        mesh_from_distance(distance, config)


# --- points ------------------------------------------------------------------------------------------------------


def test_points_are_even_over_the_sphere_and_coloured_by_what_lies_there():
    points = points_from_distance(smooth_picture(200), torch.full((200, 400), 3.0), 20_000)
    assert_close(points.xyz.norm(dim=-1), torch.full((len(points.xyz),), 3.0))
    assert_close(points.rgb * 2 - 1, points.xyz / 3, atol=0.03, rtol=0)
    assert points.xyz.mean(0).abs().max() < 0.02
    heights = points.xyz[:, 1].sort().values / 3  # a sphere's zones of equal height have equal area
    assert_close(heights, torch.linspace(-1, 1, len(heights)), atol=0.02, rtol=0)


def test_a_budget_of_points_that_is_too_small():
    with pytest.raises(ValueError, match="max_points must be >= 32, got 31"):
        points_from_distance(torch.rand(3, 8, 16), torch.ones(8, 16), 31)


# --- files -------------------------------------------------------------------------------------------------------


def test_a_mesh_survives_its_file(tmp_path):
    distance = torch.full((32, 64), 4.0)
    distance[10:20, 30:40] = 1.0
    mesh, picture = mesh_from_distance(distance), smooth_picture(64)
    path = save_mesh(mesh, picture, tmp_path / "größe 1.glb")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    found, texture = load_mesh(path)
    assert_close(found.vertices, mesh.vertices, atol=0, rtol=0)
    assert_close(found.uv, mesh.uv, atol=0, rtol=0)
    assert torch.equal(found.faces, mesh.faces)
    assert_close(texture, picture, atol=0.03, rtol=0)
    with pytest.raises(ValueError, match="must hold one primitive with KHR_gaussian_splatting, got 0"):
        load_gaussians(path)


def test_points_survive_their_file(tmp_path):
    points = points_from_distance(smooth_picture(32), SPHERE, 400)
    path = save_points(points, tmp_path / "a.ply")
    found = load_points(path)
    assert_close(found.xyz, points.xyz, atol=0, rtol=0)
    assert_close(found.rgb, points.rgb, atol=0.51 / 255, rtol=0)
    with pytest.raises(ValueError, match=r"not a PLY of Gaussians: the properties f_dc_0, .* are missing"):
        load_gaussians(path)


def test_points_of_another_program(tmp_path):
    lines = ["ply", "format binary_big_endian 1.0", "element vertex 2", "property uchar blue", "property double z"]
    lines += [f"property {kind}" for kind in ("uchar red", "float nx", "double x", "double y", "uchar green")]
    body = b"".join(struct.pack(">BdBfddB", 51, 3.0 * i, 255, 0.0, 1.0, 2.0, 0) for i in (1, 2))
    (tmp_path / "a.ply").write_bytes("\n".join([*lines, "end_header", ""]).encode() + body)
    found = load_points(tmp_path / "a.ply")
    assert found.xyz.tolist() == [[1, 2, 3], [1, 2, 6]]
    assert_close(found.rgb[0], torch.tensor([1.0, 0.0, 0.2]))


def test_another_program_reads_the_mesh(tmp_path):
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed: pip install trimesh")
    mesh, picture = mesh_from_distance(SPHERE), smooth_picture(32)
    found = trimesh.load(save_mesh(mesh, picture, tmp_path / "a.glb"), process=False).to_geometry()
    assert_close(torch.tensor(np.asarray(found.vertices)).float(), mesh.vertices * torch.tensor([1.0, -1, -1]))
    assert np.array_equal(found.faces, mesh.faces.numpy())
    # trimesh's v grows upwards
    assert_close(
        torch.tensor(np.asarray(found.visual.uv)).float(), mesh.uv * torch.tensor([1.0, -1]) + torch.tensor([0.0, 1])
    )
    assert found.visual.material.baseColorTexture.size == (64, 32)


def test_another_program_reads_the_points(tmp_path):
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed: pip install trimesh")
    points = points_from_distance(smooth_picture(32), SPHERE, 400)
    found = trimesh.load(save_points(points, tmp_path / "a.ply"))
    assert_close(torch.tensor(np.asarray(found.vertices)).float(), points.xyz)
    assert_close(torch.tensor(np.asarray(found.colors))[:, :3] / 255, points.rgb, atol=0.51 / 255, rtol=0)


def test_the_validator_of_khronos_finds_nothing_in_a_mesh(tmp_path):
    path = save_mesh(mesh_from_distance(SPHERE), smooth_picture(32), tmp_path / "a.glb")
    assert gltf_errors(path) == []


def test_gltf_transform_reads_the_mesh(tmp_path):
    needs_npm("@gltf-transform/core")
    path = save_mesh(mesh_from_distance(SPHERE), smooth_picture(32), tmp_path / "a.glb")
    script = """
        import { NodeIO } from "@gltf-transform/core";
        const root = (await new NodeIO().read(process.argv[1])).getRoot();
        const [primitive] = root.listMeshes()[0].listPrimitives();
        const texture = primitive.getMaterial().getBaseColorTexture();
        console.log(JSON.stringify({
            position: primitive.getAttribute("POSITION").getElement(100, []),
            count: primitive.getIndices().getCount(), size: texture.getSize(), type: texture.getMimeType(),
        }));
    """
    found = run_node(script, path)
    wanted = mesh_from_distance(SPHERE).vertices[100] * torch.tensor([1.0, -1, -1])
    assert_close(torch.tensor(found["position"]), wanted)
    assert (found["count"], found["size"], found["type"]) == (3 * 1024, [64, 32], "image/jpeg")


# --- files that lie ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda c: c["accessors"][0].update(count=10**12), "POSITION is truncated: 12000000000000 bytes promised"),
        (lambda c: c["accessors"][2].update(count=10**12), "indices is truncated"),
        (lambda c: c["accessors"][2].update(componentType=5126), "indices must be of type u4 or u2 or u1, got f4"),
        (lambda c: c["accessors"][1].update(count=3), "TEXCOORD_0 must be 592 x 2, got 3 of VEC2"),
        (lambda c: c["accessors"][2].update(count=4), "4 indices are no whole number of triangles"),
        (lambda c: c["nodes"][0].update(scale=[2, 2, 2]), "moves its mesh by a node"),
        (lambda c: c["images"][0].update(bufferView=0), "the texture can not be read"),
        (lambda c: c["images"][0].update(bufferView=-9), "not a whole glTF file"),
        (lambda c: c["bufferViews"][3].update(byteLength=10**10), "texture is truncated"),
        (lambda c: c.pop("materials"), "not a whole glTF file of a textured mesh: KeyError"),
        (lambda c: c.update(meshes=[]), "must hold one primitive of triangles, got 0"),
        (lambda c: c["buffers"][0].update(uri="http://elsewhere"), "must lie in the file itself"),
    ],
)
def test_meshes_that_lie(tmp_path, edit, sentence):
    path = save_mesh(mesh_from_distance(SPHERE), smooth_picture(32), tmp_path / "bad.glb")
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    content = json.loads(data[20 : 20 + length])
    edit(content)
    text = json.dumps(content).encode()
    rest = data[20 + length :]
    path.write_bytes(struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON") + text + rest)
    with pytest.raises(ValueError, match=sentence) as caught:
        load_mesh(path)
    assert "bad.glb" in str(caught.value) and "\n" not in str(caught.value)


def test_a_mesh_whose_faces_name_no_vertex_or_that_is_not_finite(tmp_path):
    mesh = mesh_from_distance(SPHERE)
    picture = smooth_picture(32)
    for change, sentence in [
        ({"faces": mesh.faces + 1}, "faces name vertices 1 to 592 of 592"),
        ({"faces": mesh.faces[:0]}, "at least one triangle, got none"),
        ({"vertices": mesh.vertices / 0}, "every value must be finite, got vertices in vertex 0"),
    ]:
        wrong = SurfaceMesh(**{**{n: getattr(mesh, n) for n in ("vertices", "uv", "faces")}, **change})
        with pytest.raises(ValueError, match=sentence):
            save_mesh(wrong, picture, tmp_path / "a.glb")
    with pytest.raises(ValueError, match="texture must not hold NaN"):
        save_mesh(mesh, picture * math.nan, tmp_path / "a.glb")
    with pytest.raises(ValueError, match=r"a mesh must be written to \.glb, got 'a\.obj'"):
        save_mesh(mesh, picture, tmp_path / "a.obj")
    assert not list(tmp_path.iterdir())
    path = save_mesh(mesh, picture, tmp_path / "a.glb")
    data = bytearray(path.read_bytes())
    start = 28 + struct.unpack_from("<I", data, 12)[0]
    data[start : start + 4] = struct.pack("<f", math.nan)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="every value must be finite, got vertices in vertex 0"):
        load_mesh(path)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (b"element vertex ", b"element vertex 99999999", "truncated or its header is wrong"),
        (b"property float y\n", b"", "not a PLY of coloured points: y missing"),
        (b"property uchar red", b"property float red", "the property red must be uchar, got float32"),
        (b"property float x", b"property int x", "the property x must be float or double, got int32"),
        (b"property uchar red", b"property list uchar uchar red", "holds lists"),
        (b"element vertex", b"element face", "holds no element `vertex`"),
    ],
)
def test_points_that_lie(tmp_path, old, new, sentence):
    path = save_points(points_from_distance(smooth_picture(32), SPHERE, 400), tmp_path / "bad.ply")
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(ValueError, match=sentence):
        load_points(path)
    nowhere = PointCloud(xyz=torch.full((1, 3), math.inf), rgb=torch.zeros(1, 3))
    with pytest.raises(ValueError, match="every value must be finite, got xyz in point 0"):
        save_points(nowhere, tmp_path / "a.ply")
