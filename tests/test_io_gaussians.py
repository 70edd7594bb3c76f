"""Gaussian files: the bytes done by hand, round trips, agreement with another reader, and files that lie."""

from __future__ import annotations

import dataclasses
import gzip
import json
import struct
import zipfile
from pathlib import Path

import gaussforge
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from gaussian_samples import random_gaussians
from hypothesis import given, settings
from torch.testing import assert_close

from onescene.geometry.axes import transform_gaussians
from onescene.geometry.perspective import intrinsics_from_fov
from onescene.io import GAUSSIAN_SUFFIXES, load_gaussians, save_gaussians
from onescene.io.arrays import arrays_from_gaussians, turned_about_x
from onescene.io.gltf import GlbWriter
from onescene.io.ply import read_converted_ply
from onescene.splatting import render
from onescene.types import SH_C0, Cameras, Gaussians

FIELDS = [f.name for f in dataclasses.fields(Gaussians)]


def matched(found, wanted):
    """What was found, in the order of what was wanted (some formats reorder), by nearest mean; quaternion signs too."""
    index = torch.cdist(wanted.means.double(), found.means.double()).argmin(dim=1)
    assert len(set(index.tolist())) == len(wanted) == len(found)
    found = found.select(index)
    sign = (found.quats * wanted.quats).sum(dim=1, keepdim=True).sign()
    return dataclasses.replace(found, quats=found.quats * sign)


# --- PLY: the convention -----------------------------------------------------------------------------------------

GOLDEN_HEADER = b"""ply
format binary_little_endian 1.0
element vertex 1
property float x
property float y
property float z
property float nx
property float ny
property float nz
property float f_dc_0
property float f_dc_1
property float f_dc_2
property float f_rest_0
property float f_rest_1
property float f_rest_2
property float f_rest_3
property float f_rest_4
property float f_rest_5
property float f_rest_6
property float f_rest_7
property float f_rest_8
property float opacity
property float scale_0
property float scale_1
property float scale_2
property float rot_0
property float rot_1
property float rot_2
property float rot_3
end_header
"""
# sh[k, channel] = 10 k + channel: the file holds red's three coefficients, then green's, then blue's
GOLDEN_BODY = struct.pack(
    "<26f",
    *(1, -2, 3, 0, 0, 0, 0, 1, 2, 10, 20, 30, 11, 21, 31, 12, 22, 32),
    *(0, 0, -np.log(2), np.log(4), 0, 0, 1, 0),  # logit(1/2), log of 1, 1/2 and 4, half a turn about y
)


def golden_gaussian():
    sh = 10 * torch.arange(4.0)[:, None] + torch.arange(3.0)
    return Gaussians(
        means=torch.tensor([[1.0, -2.0, 3.0]]),
        quats=torch.tensor([[0.0, 0.0, 2.0, 0.0]]),  # not of unit length
        scales=torch.tensor([[1.0, 0.5, 4.0]]),
        opacities=torch.tensor([0.5]),
        sh=sh[None],
    )


def test_a_ply_written_by_hand(tmp_path):
    path = save_gaussians(golden_gaussian(), tmp_path / "one.ply")
    assert path.read_bytes() == GOLDEN_HEADER + GOLDEN_BODY
    assert [p.name for p in tmp_path.iterdir()] == ["one.ply"]
    found = load_gaussians(path)
    wanted = dataclasses.replace(golden_gaussian(), quats=torch.tensor([[0.0, 0.0, 1.0, 0.0]]))
    for name in FIELDS:
        assert_close(getattr(found, name), getattr(wanted, name))


def test_another_program_reads_the_same_gaussians(tmp_path):
    wanted = random_gaussians()
    data = save_gaussians(wanted, tmp_path / "scene.ply").read_bytes()
    theirs = gaussforge.GaussForge().read(data, "ply")["data"]
    n = theirs["numPoints"]
    assert n == len(wanted) and theirs["meta"]["shDegree"] == 3

    def array(name):
        return torch.from_numpy(np.frombuffer(theirs[name], np.float32).reshape(n, -1).copy())

    assert_close(array("positions"), wanted.means)
    assert_close(array("scales"), wanted.scales.log())
    assert_close(array("rotations"), wanted.quats)
    assert_close(array("alphas")[:, 0], wanted.opacities.logit(), atol=1e-5, rtol=1e-5)
    assert_close(array("colors"), wanted.sh[:, 0])
    assert_close(array("sh").reshape(n, 15, 3), wanted.sh[:, 1:])


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_any_order_of_properties_and_no_normals(tmp_path, byte_order):
    """Written by others: shuffled, in double precision, big endian, with more properties and elements around."""
    wanted = random_gaussians(7, degree=1)
    columns = {f"f_rest_{i}": wanted.sh[:, 1 + i % 3, i // 3] for i in range(9)}
    columns |= {f"f_dc_{i}": wanted.sh[:, 0, i] for i in range(3)}
    columns |= {f"rot_{i}": wanted.quats[:, i] for i in range(4)}
    columns |= {f"scale_{i}": wanted.scales[:, i].log() for i in range(3)}
    columns |= {"opacity": wanted.opacities.logit(), "segment": torch.zeros(7)}
    columns |= {axis: wanted.means[:, i] for i, axis in enumerate("zyx"[::-1])}
    names = sorted(columns)
    body = np.stack([columns[n].double().numpy() for n in names], axis=1).astype(byte_order + "f8").tobytes()
    lines = ["ply", f"format binary_{'little' if byte_order == '<' else 'big'}_endian 1.0", "comment by hand"]
    lines += ["element camera 2", "property uchar id", "element vertex 7", *(f"property double {n}" for n in names)]
    lines += ["element face 1", "property list uchar int vertex_indices", "end_header", ""]
    path = tmp_path / "others.ply"
    path.write_bytes("\r\n".join(lines).encode() + b"\1\2" + body + b"\0")
    found = load_gaussians(path)
    for name in FIELDS:
        assert_close(getattr(found, name), getattr(wanted, name), atol=1e-6, rtol=1e-5)


def test_degree_four_is_cut_with_a_note(tmp_path, caplog):
    save_gaussians(random_gaussians(5, degree=0), tmp_path / "zero.ply")
    head, body = (tmp_path / "zero.ply").read_bytes().split(b"end_header\n", 1)
    records = np.frombuffer(body, "<f4").reshape(5, 17)
    rest = np.arange(72, dtype="<f4")  # channel by channel, 24 each
    extra = b"".join(b"property float f_rest_%d\n" % i for i in range(72))
    body = np.concatenate([records, np.tile(rest, (5, 1))], axis=1).astype("<f4").tobytes()
    (tmp_path / "four.ply").write_bytes(head + extra + b"end_header\n" + body)
    found = load_gaussians(tmp_path / "four.ply")
    assert "four.ply: spherical harmonics of degree 4 cut to 3" in caplog.text
    assert found.sh_degree == 3
    assert_close(found.sh[2, 1:, 1], torch.arange(24.0, 39.0))


finite = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), degree=st.integers(0, 3), suffix=st.sampled_from([".ply", ".glb"]))
def test_exact_formats_return_what_they_were_given(tmp_path_factory, data, degree, suffix):
    n = data.draw(st.integers(1, 4))
    draw = lambda *shape, of=finite: torch.tensor(  # noqa: E731
        data.draw(st.lists(of, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    ).reshape(shape)
    quats = draw(n, 4)
    quats[:, 0] += (quats.norm(dim=1) < 1e-3).float()
    wanted = Gaussians(
        means=draw(n, 3),
        quats=quats,
        scales=draw(n, 3, of=st.floats(2.0**-40, 2.0**40, width=32)),
        opacities=draw(n, of=st.floats(0, 1, width=32)),
        sh=draw(n, (degree + 1) ** 2, 3),
    )
    found = load_gaussians(save_gaussians(wanted, tmp_path_factory.mktemp("exact") / f"a{suffix}"))
    assert_close(found.means, wanted.means, atol=0, rtol=0)
    assert_close(found.sh, wanted.sh, atol=0, rtol=0)
    assert_close(found.scales, wanted.scales, atol=0, rtol=1e-5)
    assert_close(found.opacities, wanted.opacities, atol=2e-7, rtol=0)
    assert_close(found.quats, torch.nn.functional.normalize(wanted.quats.double(), dim=1).float())


def test_opacities_zero_and_one_have_finite_logits(tmp_path):
    wanted = random_gaussians(3, degree=0, opacities=torch.tensor([0.0, 1.0, 0.25]), scales=torch.zeros(3, 3))
    path = save_gaussians(wanted, tmp_path / "ends.ply")
    assert np.isfinite(np.frombuffer(path.read_bytes().split(b"end_header\n")[1], "<f4")).all()
    found = load_gaussians(path)
    assert_close(found.opacities, wanted.opacities, atol=3e-9, rtol=1e-6)
    assert (found.scales > 0).all() and (found.scales**2 > 0).all()


def test_saving_detaches_and_takes_any_type(tmp_path):
    wanted = random_gaussians(4, degree=0).to(torch.float64)
    wanted.means.requires_grad_()
    assert_close(load_gaussians(save_gaussians(wanted, tmp_path / "a.ply")).means, wanted.means.detach().float())


# --- the other formats -------------------------------------------------------------------------------------------

# Half a step of each format's numbers, for means within 8, log scales, opacities, f_dc and coefficients within 1.
TOLERANCES = {
    ".splat": {"means": 0, "logs": 1e-6, "opacities": 0.51 / 255, "dc": 0.51 / 255 / SH_C0, "quats": 0.01},
    ".spz": {"means": 0.51 / 4096, "logs": 0.51 / 16, "opacities": 0.51 / 255, "dc": 0.51 / 255 / 0.15, "quats": 3e-3},
    ".sog": {"means": 1e-3, "logs": 0.02, "opacities": 1.01 / 255, "dc": 0.02, "quats": 0.01},
    ".compressed.ply": {"means": 0.5 * 16 / 1023, "logs": 4e-3, "opacities": 0.51 / 255, "dc": 0.02, "quats": 3e-3},
}
REST_TOLERANCES = {".spz": 0.07, ".sog": 0.02, ".compressed.ply": 0.51 * 8 / 256}


@pytest.mark.parametrize("suffix", TOLERANCES)
@pytest.mark.parametrize("degree", [0, 1, 3])
def test_lossy_formats_keep_what_their_bits_can(tmp_path, suffix, degree):
    wanted = random_gaussians(600, degree=degree, means=torch.rand(600, 3, generator=torch.manual_seed(1)) * 16 - 8)
    found = matched(load_gaussians(save_gaussians(wanted, tmp_path / f"größe 1{suffix}")), wanted)
    allowed = TOLERANCES[suffix]
    assert_close(found.means, wanted.means, atol=allowed["means"], rtol=1e-6)
    assert_close(found.scales.log(), wanted.scales.log(), atol=allowed["logs"], rtol=0)
    assert_close(found.opacities, wanted.opacities, atol=allowed["opacities"], rtol=0)
    assert_close(found.sh[:, 0], wanted.sh[:, 0], atol=allowed["dc"], rtol=0)
    assert_close(found.quats, wanted.quats, atol=allowed["quats"], rtol=0)
    if suffix in REST_TOLERANCES:
        assert found.sh_degree == degree
        assert_close(found.sh[:, 1:], wanted.sh[:, 1:], atol=REST_TOLERANCES[suffix], rtol=0)


def test_an_spz_of_degree_four_is_cut_with_a_note(tmp_path, caplog):
    body = b"\0" * 9 + b"\x80" + b"\x80" * 3 + b"\x80" * 3 + b"\0\0\0\xc0" + bytes(range(128, 200))
    (tmp_path / "four.spz").write_bytes(spz_bytes(1, body, degree=4))
    found = load_gaussians(tmp_path / "four.spz")
    assert "four.spz: spherical harmonics of degree 4 cut to 3" in caplog.text
    assert found.sh_degree == 3
    assert_close(found.sh[0, 15], torch.tensor([42.0, 43, 44]) / 128)  # x(xx - 3yy): even in y and z


def test_a_compressed_ply_stores_neighbours_together(tmp_path):
    """Its chunks share one box: Gaussians that follow each other in the file are close, however they were given."""
    given = random_gaussians(4000, degree=0, means=torch.rand(4000, 3, generator=torch.manual_seed(2)))
    found = load_gaussians(save_gaussians(given, tmp_path / "a.compressed.ply"))
    steps = [g.means.diff(dim=0).norm(dim=1).mean() for g in (given, found)]
    assert steps[1] < 0.2 * steps[0]
    boxes = [torch.stack([part.amax(0) - part.amin(0) for part in g.means.split(256)]) for g in (given, found)]
    assert boxes[0].prod(1).median() > 0.9 and boxes[1].prod(1).median() < 0.25


def test_a_sog_that_takes_long_says_so(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("onescene.io.sog._SLOW_COUNT", 20)
    for n, degree in ((20, 1), (21, 0)):
        save_gaussians(random_gaussians(n, degree=degree), tmp_path / "a.sog")
    assert not caplog.text
    save_gaussians(random_gaussians(21, degree=1), tmp_path / "a.sog")
    assert "clustering the colours of 21 Gaussians takes some minutes" in caplog.text


def test_splat_notes_what_it_drops(tmp_path, caplog):
    save_gaussians(random_gaussians(3, degree=0), tmp_path / "plain.splat")
    assert not caplog.text
    save_gaussians(random_gaussians(3), tmp_path / "a.splat")
    assert "a.splat: a .splat file holds no view-dependent colour, it is dropped" in caplog.text
    assert (tmp_path / "a.splat").stat().st_size == 3 * 32


@pytest.mark.parametrize("suffix", [".compressed.ply", ".spz", ".sog", ".splat"])
@pytest.mark.parametrize("degree", [0, 2])
def test_another_program_reads_our_lossy_files_alike(tmp_path, suffix, degree):
    path = save_gaussians(random_gaussians(520, degree=degree), tmp_path / f"a{suffix}")
    ours = arrays_from_gaussians(load_gaussians(path))
    converted = gaussforge.GaussForge().convert(path.read_bytes(), suffix[1:], "ply")["data"]
    theirs = read_converted_ply(converted, "theirs")
    if suffix == ".spz":
        theirs = turned_about_x(theirs)  # they keep the format's own axes, y up
    for name in ("means", "scales", "opacities", "sh"):
        assert_close(torch.tensor(getattr(ours, name)), torch.tensor(getattr(theirs, name)), atol=2e-5, rtol=1e-4)
    cosine = (ours.quats * theirs.quats).sum(axis=1) / np.linalg.norm(theirs.quats, axis=1)
    assert_close(torch.tensor(np.abs(cosine)), torch.ones(520), atol=3e-4, rtol=0)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_every_spz_version_another_program_writes(tmp_path, version):
    wanted = random_gaussians(100)
    ply = save_gaussians(wanted, tmp_path / "a.ply").read_bytes()
    path = tmp_path / "a.spz"
    path.write_bytes(gaussforge.GaussForge().convert(ply, "ply", "spz", spz_version=version)["data"])
    theirs = turned_about_x(arrays_from_gaussians(wanted))  # they copied y down into a format with y up
    found = load_gaussians(path)
    assert_close(found.means, torch.tensor(theirs.means), atol=1 / 4096, rtol=0)
    turned = (found.quats * torch.tensor(theirs.quats)).sum(dim=1).abs()
    # version 2 keeps three bytes: 1/255 each, more where the fourth component is small
    assert_close(turned, torch.ones(100), atol=2e-2 if version == 2 else 1e-5, rtol=0)


def test_an_spz_is_stored_with_y_up(tmp_path):
    """A Gaussian one below and two before the origin: right, up and back in the file are 0, -1 and -2."""
    below = random_gaussians(1, degree=0, means=torch.tensor([[0.0, 1.0, 2.0]]))
    body = gzip.decompress(save_gaussians(below, tmp_path / "a.spz").read_bytes())[16:]
    fixed = [int.from_bytes(body[3 * i : 3 * i + 3], "little", signed=True) / 4096 for i in range(3)]
    assert fixed == [0.0, -1.0, -2.0]


def test_spz_refuses_what_lies_too_far(tmp_path):
    far = random_gaussians(2, degree=0, means=torch.tensor([[0.0, 0, 0], [0, -2048.0, 0]]))
    with pytest.raises(ValueError, match="an SPZ file holds positions below 2048 along each axis, got 2048"):
        save_gaussians(far, tmp_path / "a.spz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_the_turn_about_x_turns_colours_too(degree):
    """Rendered by a camera turned alike, the turned Gaussians look the same from every side."""
    original = random_gaussians(40, degree=degree, means=torch.randn(40, 3, generator=torch.manual_seed(3)) * 0.3)
    arrays = turned_about_x(arrays_from_gaussians(original))
    turned = Gaussians(**{name: torch.tensor(getattr(arrays, name)) for name in FIELDS})
    world_from_cam = torch.eye(4).repeat(2, 1, 1)
    world_from_cam[0, :3, 3] = torch.tensor([0.2, -0.1, -3.0])
    world_from_cam[1, :3, :3] = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    world_from_cam[1, :3, 3] = torch.tensor([-3.0, 0.1, 0.2])
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    K = intrinsics_from_fov(50.0, (32, 32)).repeat(2, 1, 1)
    images = [
        render(g, Cameras(world_from_cam=w, K=K, hw=(32, 32)), backend="torch").rgb
        for g, w in ((original, world_from_cam), (turned, half_turn @ world_from_cam))
    ]
    assert images[0].std() > 0.05
    assert_close(images[1], images[0], atol=1e-5, rtol=0)


def test_a_glb_says_what_it_holds(tmp_path):
    wanted = random_gaussians(11, degree=1)
    data = save_gaussians(wanted, tmp_path / "a.glb").read_bytes()
    magic, version, total, length, kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, total, kind) == (b"glTF", 2, len(data), b"JSON") and length % 4 == 0
    content = json.loads(data[20 : 20 + length])
    primitive = content["meshes"][0]["primitives"][0]
    prefix = "KHR_gaussian_splatting"
    assert content["extensionsUsed"] == [prefix] and primitive["mode"] == 0
    assert primitive["extensions"][prefix]["kernel"] == "ellipse"
    assert primitive["extensions"][prefix]["colorSpace"] == "srgb_rec709_display"
    names = ["ROTATION", "SCALE", "OPACITY", "SH_DEGREE_0_COEF_0", *(f"SH_DEGREE_1_COEF_{i}" for i in range(3))]
    assert set(primitive["attributes"]) == {"POSITION", "COLOR_0", *(f"{prefix}:{n}" for n in names)}
    body = data[28 + length :]
    assert len(body) == content["buffers"][0]["byteLength"]

    def floats(name, width):
        accessor = content["accessors"][primitive["attributes"][name]]
        assert accessor["componentType"] == 5126 and accessor["count"] == 11
        offset = content["bufferViews"][accessor["bufferView"]]["byteOffset"]
        return torch.tensor(np.frombuffer(body, "<f4", 11 * width, offset).reshape(11, width))

    assert_close(floats("POSITION", 3), wanted.means * torch.tensor([1.0, -1, -1]))
    x, y, z, w = floats(f"{prefix}:ROTATION", 4).unbind(1)
    assert_close(torch.stack([w, x, -y, -z], dim=1), wanted.quats)
    assert_close(floats(f"{prefix}:SCALE", 3), wanted.scales)
    assert_close(floats(f"{prefix}:OPACITY", 1)[:, 0], wanted.opacities)
    assert_close(floats(f"{prefix}:SH_DEGREE_0_COEF_0", 3), wanted.sh[:, 0])
    assert_close(floats(f"{prefix}:SH_DEGREE_1_COEF_0", 3), -wanted.sh[:, 1])  # the harmonic y


KHR = "KHR_gaussian_splatting"


def edited_glb(path: Path, edit) -> Path:
    """The file with its JSON changed."""
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    content = json.loads(data[20 : 20 + length])
    edit(content)
    text = json.dumps(content).encode()
    rest = data[20 + length :]
    path.write_bytes(struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON") + text + rest)
    return path


def test_a_node_moves_what_it_shows(tmp_path):
    """Turned a quarter about y, twice as large, shifted, below a parent that shifts once more."""
    wanted = random_gaussians(50)
    path = save_gaussians(wanted, tmp_path / "a.glb")

    def edit(content):
        half = 0.5**0.5
        content["nodes"] = [
            {"mesh": 0, "rotation": [0, half, 0, half], "scale": [2, 2, 2], "translation": [1, 0, 0]},
            {"children": [0], "translation": [0, 10, 0]},
        ]

    found = load_gaussians(edited_glb(path, edit))
    # in glTF's axes a quarter turn about y takes (x, y, z) to (z, y, -x); ours are (x, -y, -z)
    x, y, z = wanted.means.unbind(1)
    assert_close(found.means, torch.stack([-2 * z + 1, 2 * y - 10, 2 * x], dim=1))
    assert_close(found.scales, 2 * wanted.scales)
    turn = torch.tensor([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])
    moved = transform_gaussians(wanted, turn)
    assert_close((found.quats * moved.quats).sum(1).abs(), torch.ones(50))
    assert_close(found.sh, moved.sh, atol=1e-5, rtol=0)


def test_a_glb_of_small_numbers(tmp_path):
    """Rotations, scales and opacities in bytes and shorts, rows apart by a stride, as the extension allows them."""
    n = 20
    wanted = random_gaussians(n, degree=0)
    quats = wanted.quats[:, [1, 2, 3, 0]].numpy()
    file = GlbWriter()
    rows = np.zeros((n, 16), np.uint8)  # four bytes of scale in sixteen
    rows[:, :3] = np.arange(3 * n).reshape(n, 3)
    strided = file.add_bytes(rows.tobytes())
    file.views[strided]["byteStride"] = 16
    integers = {"ROTATION": (np.round(quats * 32767).astype("<i2"), 5122), "OPACITY": (wanted.opacities, 5121)}
    integers["OPACITY"] = (
        np.pad(np.round(wanted.opacities.numpy() * 255)[:, None], ((0, 0), (0, 3))).astype("u1"),
        5121,
    )
    attributes = {"POSITION": file.add_array(wanted.means.numpy(), bounds=True)}
    attributes[f"{KHR}:SH_DEGREE_0_COEF_0"] = file.add_array(wanted.sh[:, 0].numpy())
    for name, (values, code) in integers.items():
        view = file.add_bytes(values.tobytes())
        file.views[view]["byteStride"] = values.strides[0]
        kind = "VEC4" if name == "ROTATION" else "SCALAR"
        file.accessors.append({"bufferView": view, "componentType": code, "count": n, "type": kind, "normalized": True})
        attributes[f"{KHR}:{name}"] = len(file.accessors) - 1
    file.accessors.append({"bufferView": strided, "componentType": 5121, "count": n, "type": "VEC3"})
    attributes[f"{KHR}:SCALE"] = len(file.accessors) - 1
    meaning = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
    primitive = {"mode": 0, "attributes": attributes, "extensions": {KHR: meaning}}
    found = load_gaussians(file.write({"meshes": [{"primitives": [primitive]}]}, tmp_path / "small.glb"))
    assert_close(found.scales[1:], torch.arange(3.0 * n).reshape(n, 3)[1:])
    assert_close(found.opacities, wanted.opacities, atol=0.5 / 255, rtol=0)
    sign = torch.tensor([1.0, 1, -1, -1])
    assert_close(found.quats, wanted.quats * sign, atol=1e-4, rtol=0)


def test_a_glb_of_a_higher_degree_is_cut_with_a_note(tmp_path, caplog):
    wanted = random_gaussians(5)
    path = save_gaussians(wanted, tmp_path / "four.glb")

    def edit(content):
        attributes = content["meshes"][0]["primitives"][0]["attributes"]
        attributes |= {f"{KHR}:SH_DEGREE_4_COEF_{i}": 5 for i in range(9)}

    found = load_gaussians(edited_glb(path, edit))
    assert "four.glb: spherical harmonics of degree 4 cut to 3" in caplog.text
    assert_close(found.sh, wanted.sh)


# --- values that can not be --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", GAUSSIAN_SUFFIXES)
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"means": torch.full((2, 3), float("nan"))}, "every value must be finite, got means .*nan.* in Gaussian 0"),
        ({"sh": torch.full((2, 1, 3), float("inf"))}, "every value must be finite, got sh .*inf"),
        ({"scales": torch.tensor([[1.0, 1, 1], [1, -1, 1]])}, "scales must be positive, got .* in Gaussian 1"),
        ({"opacities": torch.tensor([0.5, 1.5])}, r"opacities must be in \[0, 1\], got .*1.5.* in Gaussian 1"),
        ({"quats": torch.zeros(2, 4)}, "a quaternion must not be zero"),
    ],
)
def test_nothing_is_written_of_values_that_can_not_be(tmp_path, suffix, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        save_gaussians(random_gaussians(2, degree=0, **change), tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())


def test_no_gaussians_at_all(tmp_path):
    with pytest.raises(ValueError, match="must hold at least one Gaussian"):
        save_gaussians(random_gaussians(1).select(torch.tensor([], dtype=torch.long)), tmp_path / "a.ply")


@pytest.mark.parametrize("name", ["scene.obj", "scene", "scene.ply.txt", "scene.html"])
def test_an_unknown_suffix_names_the_known(tmp_path, name):
    with pytest.raises(ValueError, match=r"must end in \.ply, \.compressed\.ply, .*, got '" + name):
        save_gaussians(random_gaussians(1), tmp_path / name)
    with pytest.raises(ValueError, match="must end in"):
        load_gaussians(tmp_path / name)


@pytest.mark.parametrize("suffix", GAUSSIAN_SUFFIXES)
def test_no_file_a_folder_and_an_empty_file(tmp_path, suffix):
    with pytest.raises(FileNotFoundError, match="Gaussian file not found"):
        load_gaussians(tmp_path / f"no{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(IsADirectoryError, match="must be a file, got a folder"):
        load_gaussians(tmp_path / f"folder{suffix}")
    (tmp_path / f"empty{suffix}").touch()
    with pytest.raises(ValueError, match="is empty"):
        load_gaussians(tmp_path / f"empty{suffix}")


@pytest.mark.parametrize("suffix", GAUSSIAN_SUFFIXES)
def test_truncated_files_and_other_files(tmp_path, suffix):
    path = save_gaussians(random_gaussians(300), tmp_path / f"a{suffix}")
    whole = path.read_bytes()
    for length in (1, 15, 40, len(whole) // 2 + 7, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"a{suffix}"):
            load_gaussians(path)
    path.write_bytes(b"<html>404: Not Found</html>" * 11)
    with pytest.raises(ValueError, match=f"a{suffix}"):
        load_gaussians(path)


# --- a PLY that lies ---------------------------------------------------------------------------------------------


def edited_ply(tmp_path, old, new, n=3) -> Path:
    path = save_gaussians(random_gaussians(n, degree=0), tmp_path / "bad.ply")
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (b"ply\n", b"plx\n", "is not a PLY file"),
        (b"binary_little_endian", b"ascii", "must be a binary PLY, got format ascii"),
        (b"property float opacity\n", b"", "is not a PLY of Gaussians: the properties opacity are missing"),
        (b"property float scale_1\nproperty float scale_2\n", b"", "scale_1, scale_2 are missing"),
        (b"property float opacity", b"property uchar opacity", "opacity must be float or double, got uint8"),
        (b"property float x", b"property list uchar int x", "holds lists"),
        (b"property float nx", b"property float z", "names properties of vertex twice: z"),
        (b"property float nx", b"property float f_rest_0", "f_rest_.* must be 0, 9, 24, 45 or 72 .*got 1"),
        (b"property float nx", b"property half nx", "can not be read: `property half nx`"),
        (b"element vertex 3", b"element vertex 4", "truncated or its header is wrong: 4 x 68 bytes of vertex promised"),
        (b"element vertex 3", b"element vertex 99999999999999999", "99999999999999999 x 68 bytes of vertex promised"),
        (b"element vertex 3", b"element vertex -3", "can not be read: `element vertex -3`"),
        (b"element vertex 3", b"element vertex 0", "must hold at least one Gaussian, got none"),
        (b"element vertex 3", b"element points 3", "holds no element `vertex`|properties .* are missing"),
        (b"end_header\n", b"", "its header has no `end_header`"),
    ],
)
def test_a_header_that_lies(tmp_path, old, new, sentence):
    path = edited_ply(tmp_path, old, new)
    with pytest.raises(ValueError, match=sentence) as caught:
        load_gaussians(path)
    assert "bad.ply" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("column", range(17))
def test_nan_and_inf_in_any_property(tmp_path, value, column):
    path = save_gaussians(random_gaussians(3, degree=0), tmp_path / "bad.ply")
    head, body = path.read_bytes().split(b"end_header\n", 1)
    records = np.frombuffer(body, "<f4").reshape(3, 17).copy()
    records[1, column] = value
    path.write_bytes(head + b"end_header\n" + records.tobytes())
    if 3 <= column < 6:
        load_gaussians(path)  # normals are not read
        return
    with pytest.raises(ValueError, match=r"bad\.ply: every value must be finite, got .* in Gaussian 1"):
        load_gaussians(path)


def test_a_scale_too_large_for_a_float(tmp_path):
    path = save_gaussians(random_gaussians(1, degree=0, scales=torch.full((1, 3), 1e17)), tmp_path / "big.ply")
    load_gaussians(path)
    data = bytearray(path.read_bytes())
    data[-28:-24] = struct.pack("<f", 700.0)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"every value must be finite, got scales .*inf"):
        load_gaussians(path)


# --- bombs -------------------------------------------------------------------------------------------------------


def spz_bytes(count, body, version=3, degree=0):
    return gzip.compress(struct.pack("<IIIBBBB", 0x5053474E, version, count, degree, 12, 0, 0) + body)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (spz_bytes(4_000_000_000, b"\0" * 1000), "claims 80000000000 bytes of Gaussians in a file of"),
        (spz_bytes(1000, b"\0" * 1000), "1000 Gaussians need 20000 bytes, got 1000"),
        (spz_bytes(1, b"\0" * (3 << 20)), r"1 Gaussians need 20 bytes, got 1048596\+"),
        (spz_bytes(0, b""), "at least one Gaussian"),
        (spz_bytes(1, b"\0" * 20, version=9), "versions 1 to 4 of degree 0 to 4 can be read, got version 9"),
        (spz_bytes(1, b"\0" * 20, degree=7), "got version 3, degree 7"),
        (struct.pack("<IIIBBBBI", 0x5053474E, 4, 10**9, 0, 12, 0, 6, 32) + b"\0" * 200, "Gaussians need 20000000000"),
        (gzip.compress(b"x" * 100), "does not begin as one"),
    ],
)
def test_spz_files_that_lie_about_their_size(tmp_path, data, sentence):
    path = tmp_path / "bomb.spz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=sentence):
        load_gaussians(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"count": 10**9}, "it claims 1000000000 Gaussians in"),
        ({"count": 10**6}, "means_l.webp holds 20 x 20 pixels, 1000000 are needed"),
        ({"count": -1}, "got 2 with -1"),
        ({"count": "many"}, "got 2 with 'many'"),
        ({"version": 1}, "version 2 with Gaussians can be read, got 1"),
        ({"means": None}, "not a whole .sog file"),
        ({"sh0": {"codebook": [0.0], "files": ["sh0.webp"]}}, "a codebook must hold 256 values"),
        ({"quats": {"files": ["../secret.webp"]}}, "There is no item named"),
        ({"quats": {"files": ["meta.json"]}}, "not a whole .sog file"),
    ],
)
def test_sog_files_that_lie(tmp_path, change, sentence):
    path = save_gaussians(random_gaussians(400, degree=0), tmp_path / "a.sog")
    with zipfile.ZipFile(path) as bundle:
        files = {name: bundle.read(name) for name in bundle.namelist()}
    files["meta.json"] = json.dumps(json.loads(files["meta.json"]) | change).encode()
    with zipfile.ZipFile(path, "w") as bundle:
        for name, data in files.items():
            bundle.writestr(name, data)
    with pytest.raises(ValueError, match=sentence):
        load_gaussians(path)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda c: c["accessors"][0].update(count=10**12), "must be 1000000000000 x 3|is truncated"),
        (lambda c: c["bufferViews"][0].update(byteOffset=-4), "is truncated"),
        (lambda c: c["nodes"][0].update(matrix=[1] * 16), "stretches or mirrors its Gaussians"),
        (lambda c: c["nodes"][0].update(scale=[1, 2, 1]), "stretches or mirrors its Gaussians"),
        (lambda c: c["nodes"][0].update(scale=[1, 1, -1]), "stretches or mirrors its Gaussians"),
        (lambda c: c["nodes"][0].update(scale=[0, 0, 0]), "stretches or mirrors its Gaussians"),
        (lambda c: c["nodes"][0].update(translation=[0, 0, float("nan")]), "node 0 must have 3 finite numbers"),
        (lambda c: c["nodes"][0].update(translation=[0, 0]), "node 0 must have 3 finite numbers"),
        (lambda c: c["nodes"][0].update(children=[0]), "hang from each other in a circle"),
        (lambda c: c["nodes"].append({"mesh": 0}), "must show its Gaussians by one node, got 2"),
        (lambda c: c["accessors"][2].update(componentType=5120), "ROTATION must be of type f4 or i1n or i2n, got i1"),
        (lambda c: c["accessors"][2].update(componentType=77), "ROTATION must be of type .*, got V1"),
        (lambda c: c["accessors"][2].update(sparse={}), "ROTATION must be of type"),
        (lambda c: c["bufferViews"][2].update(byteStride=8), "ROTATION is truncated"),
        (lambda c: c["meshes"][0]["primitives"][0].update(mode=4), "as points .mode 0., got mode 4"),
        (lambda c: c["meshes"][0]["primitives"][0]["attributes"].update({f"{KHR}:SH_DEGREE_1_COEF_0": 0}), "got 2"),
        (lambda c: c["meshes"].append(c["meshes"][0]), "must hold one primitive .* got 2"),
        (lambda c: c.update(meshes=[]), "must hold one primitive .* got 0"),
        (lambda c: c.update(meshes=7), "not a whole glTF file"),
        (lambda c: c["meshes"][0]["primitives"][0]["attributes"].pop("POSITION"), "KeyError.'POSITION'"),
        (lambda c: c["buffers"][0].update(uri="http://elsewhere"), "must lie in the file itself"),
    ],
)
def test_glb_files_that_lie(tmp_path, edit, sentence):
    path = edited_glb(save_gaussians(random_gaussians(5, degree=0), tmp_path / "a.glb"), edit)
    with pytest.raises(ValueError, match=sentence):
        load_gaussians(path)


def test_a_compressed_ply_is_known_by_its_header(tmp_path):
    wanted = random_gaussians(300)
    path = save_gaussians(wanted, tmp_path / "a.compressed.ply").rename(tmp_path / "a.ply")
    assert_close(matched(load_gaussians(path), wanted).means, wanted.means, atol=0.01, rtol=0)
    data = path.read_bytes()
    for old, new, sentence in [
        (b"element chunk 2", b"element chunk 1", "300 Gaussians need 2 chunks, got 1"),
        (b"property uint packed_scale", b"property int packed_scale", "packed_scale of vertex must be of type u4"),
        (b"min_x", b"mix_x", "chunk lacks min_x"),
        (b"element sh 300", b"element sh 200", "element sh must hold"),
    ]:
        path.write_bytes(data.replace(old, new, 1))
        with pytest.raises(ValueError, match=sentence):
            load_gaussians(path)
