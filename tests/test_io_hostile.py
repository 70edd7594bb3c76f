"""Files that lie, for every reader: refused in one sentence, in memory that the file's own size justifies."""

from __future__ import annotations

import io
import json
import random
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import gaussforge
import numpy as np
import pytest
import torch
from gaussian_samples import random_gaussians
from PIL import Image

from onescene.geometry.surface import PointCloud, mesh_from_distance
from onescene.io import (
    GAUSSIAN_SUFFIXES,
    load_cameras,
    load_gaussians,
    load_mesh,
    load_points,
    read_colmap_points,
    save_cameras,
    save_gaussians,
    save_mesh,
    save_points,
    write_colmap_groups,
)
from onescene.types import Cameras

PINHOLE = torch.tensor([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
CAMERAS = Cameras(world_from_cam=torch.eye(4).repeat(3, 1, 1), K=PINHOLE.repeat(3, 1, 1), hw=(48, 64))
POINTS = PointCloud(xyz=torch.rand(50, 3, generator=torch.manual_seed(0)), rgb=torch.rand(50, 3))


def write_spz_4(folder: Path) -> Path:
    ply = save_gaussians(random_gaussians(200, degree=1), folder / "a.ply").read_bytes()
    (folder / "a.ply").unlink()
    path = folder / "a.spz"
    path.write_bytes(gaussforge.GaussForge().convert(ply, "ply", "spz", spz_version=4)["data"])
    return path


def write_model(folder: Path, *, binary: bool) -> Path:
    return write_colmap_groups([CAMERAS], folder, points=POINTS, binary=binary) / f"images.{'bin' if binary else 'txt'}"


def write_mesh(folder: Path) -> Path:
    return save_mesh(mesh_from_distance(torch.full((8, 16), 2.0)), torch.rand(3, 16, 32), folder / "a.glb")


# name -> (writes a good file into a folder, reads it)
FILES: dict[str, tuple[Callable[[Path], Path], Callable]] = {
    **{
        s: (lambda d, s=s: save_gaussians(random_gaussians(200, degree=1), d / f"a{s}"), load_gaussians)
        for s in GAUSSIAN_SUFFIXES
    },
    "spz version 4": (write_spz_4, load_gaussians),
    "mesh": (write_mesh, load_mesh),
    "points": (lambda d: save_points(POINTS, d / "a.ply"), load_points),
    "transforms": (lambda d: save_cameras(CAMERAS, d / "a.json"), load_cameras),
    "TUM": (lambda d: save_cameras(CAMERAS, d / "a.txt"), load_cameras),
    "COLMAP images.bin": (lambda d: write_model(d, binary=True), lambda p: load_cameras(p.parent)),
    "COLMAP images.txt": (lambda d: write_model(d, binary=False), lambda p: load_cameras(p.parent)),
    "COLMAP points3D.bin": (
        lambda d: write_model(d, binary=True).with_name("points3D.bin"),
        lambda p: read_colmap_points(p.parent),
    ),
}


def tensors_of(found) -> list[torch.Tensor]:
    """Every tensor of what a reader gives."""
    if isinstance(found, torch.Tensor):
        return [found]
    parts = found if isinstance(found, tuple) else vars(found).values()
    parts = [part for part in parts if isinstance(part, torch.Tensor) or hasattr(part, "__dict__")]
    return [tensor for part in parts for tensor in tensors_of(part)]


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_read_as_finite_values_or_refused_in_a_sentence(tmp_path, name):
    """Bytes changed at the front, in the header and anywhere, and files cut short: never another error, never a NaN."""
    write, read = FILES[name]
    path = write(tmp_path)
    whole, dice = path.read_bytes(), random.Random(1)
    assert tensors_of(read(path))
    refused = 0
    for i in range(80):
        data = bytearray(whole)
        reach = min(len(data), (40, 300, 2000, len(data))[i % 4])
        for _ in range(dice.choice((1, 2, 8))):
            data[dice.randrange(reach)] = dice.choice((0, 255, dice.randrange(256)))
        path.write_bytes(data[: dice.randrange(len(data))] if i % 5 == 0 else data)
        try:
            found = read(path)
        except ValueError as error:
            assert "\n" not in str(error) and str(path.parent) in str(error), repr(str(error))
            refused += 1
        else:
            assert all(t.isfinite().all() for t in tensors_of(found))
    assert refused >= 10


# --- values that can not be --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(tmp_path, value):
    number = struct.pack("<f", value)
    for suffix, offset in [(".splat", 4), (".splat", 12 + 32)]:
        path = save_gaussians(random_gaussians(200, degree=0), tmp_path / f"a{suffix}")
        replace_bytes(path, offset, number)
        refused(path, "every value must be finite|scales must be at most")
    path = save_gaussians(random_gaussians(200, degree=1), tmp_path / "a.compressed.ply")
    start = path.read_bytes().index(b"end_header\n") + 11
    for column in range(18):  # each bound of the first chunk
        whole = path.read_bytes()
        replace_bytes(path, start + 4 * column, number)
        refused(path, "every value must be finite")
        path.write_bytes(whole)
    path = save_gaussians(random_gaussians(200, degree=1), tmp_path / "a.glb")
    body = 28 + struct.unpack_from("<I", path.read_bytes(), 12)[0]
    for i in range(0, 200 * 12, 200 * 4):
        whole = path.read_bytes()
        replace_bytes(path, body + i, number)
        refused(path, "every value must be finite")
        path.write_bytes(whole)
    for part, key in [("means", "mins"), ("scales", "codebook"), ("sh0", "codebook"), ("shN", "codebook")]:
        path = save_gaussians(random_gaussians(200, degree=1), tmp_path / "a.sog")
        edit_sog(path, lambda meta, part=part, key=key: meta[part].update({key: [value] * len(meta[part][key])}))
        refused(path, "every value must be finite")


def replace_bytes(path: Path, at: int, data: bytes) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + data + whole[at + len(data) :])


def refused(path: Path, sentence: str, read: Callable = load_gaussians) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        read(path)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)


def edit_sog(path: Path, edit: Callable[[dict], None], files: dict[str, bytes] | None = None) -> None:
    """Writes the bundle anew with other metadata or other images, as small as zip makes it."""
    with zipfile.ZipFile(path) as bundle:
        held = {name: bundle.read(name) for name in bundle.namelist()}
    meta = json.loads(held["meta.json"])
    edit(meta)
    held |= {"meta.json": json.dumps(meta).encode()} | (files or {})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in held.items():
            bundle.writestr(name, data)


# --- bombs -------------------------------------------------------------------------------------------------------


def refused_in_little_memory(path: Path, sentence: str, read: Callable = load_gaussians) -> None:
    """The refusal takes no more than a few megabytes and some times the file."""
    tracemalloc.start()
    try:
        refused(path, sentence, read)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (8 << 20) + 4 * path.stat().st_size, f"{peak} bytes for a file of {path.stat().st_size}"


def uniform_webp(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", (side, side), (9, 9, 9, 253)).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def test_a_sog_of_uniform_images_that_claims_millions(tmp_path):
    """2048 x 2048 equal pixels take a kilobyte: images large enough for the count, and still a bomb."""
    path = save_gaussians(random_gaussians(200, degree=1), tmp_path / "bomb.sog")
    names = ("means_l.webp", "means_u.webp", "quats.webp", "scales.webp", "sh0.webp", "shN_labels.webp")
    edit_sog(path, lambda meta: meta.update(count=2048 * 2048), dict.fromkeys(names, uniform_webp(2048)))
    assert path.stat().st_size < 100_000
    refused_in_little_memory(path, "it claims 4194304 Gaussians in")


def test_a_sog_whose_image_is_far_larger_than_its_count(tmp_path):
    path = save_gaussians(random_gaussians(200, degree=1), tmp_path / "bomb.sog")
    edit_sog(path, lambda meta: None, {"quats.webp": uniform_webp(4096)})
    refused_in_little_memory(path, "quats.webp holds 4096 x 4096 pixels, 200 are needed")


def test_zip_bombs_in_a_sog(tmp_path):
    path = save_gaussians(random_gaussians(200, degree=1), tmp_path / "bomb.sog")
    edit_sog(path, lambda meta: None, {"means_l.webp": b"\0" * (64 << 20)})
    assert path.stat().st_size < 200_000
    refused_in_little_memory(path, "means_l.webp takes 67108864 bytes for 200 pixels")
    edit_sog(path, lambda meta: None, {"meta.json": b" " * (64 << 20)})
    refused_in_little_memory(path, "meta.json takes 67108864 bytes")


def test_an_spz_that_unpacks_to_gigabytes(tmp_path):
    """Zeros shrink a thousandfold: 3 GB of Gaussians in 3 MB are refused before they are unpacked."""

    count = 150_000_000
    packer = zlib.compressobj(9, wbits=31)
    data = packer.compress(struct.pack("<IIIBBBB", 0x5053474E, 3, count, 0, 12, 0, 0))
    data += b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    (tmp_path / "bomb.spz").write_bytes(data)
    refused_in_little_memory(tmp_path / "bomb.spz", "claims 3000000000 bytes of Gaussians in a file of")


@pytest.mark.parametrize("count", [10**9, 10**15, 2**63, 10**40])
def test_huge_counts_in_a_ply(tmp_path, count):
    for name, write, read in [
        ("a.ply", lambda p: save_gaussians(random_gaussians(200, degree=1), p), load_gaussians),
        ("a.compressed.ply", lambda p: save_gaussians(random_gaussians(200, degree=1), p), load_gaussians),
        ("points.ply", lambda p: save_points(POINTS, p), load_points),
    ]:
        path = write(tmp_path / name)
        n = b"50" if name == "points.ply" else b"200"
        path.write_bytes(path.read_bytes().replace(b"element vertex " + n, b"element vertex %d" % count, 1))
        refused_in_little_memory(path, "truncated or its header is wrong", read)


def test_a_ply_of_forty_thousand_properties(tmp_path):
    """A header of a megabyte is looked through once, not once per property."""
    path = tmp_path / "wide.ply"
    lines = ["ply", "format binary_little_endian 1.0", "element vertex 1"]
    path.write_text("\n".join([*lines, *(f"property char {i}" for i in range(45_000)), "end_header", ""]))
    refused(path, "the properties x, y, z, .* are missing")


def test_a_glb_whose_json_is_far_too_long(tmp_path):
    path = tmp_path / "long.glb"
    text = b"[" + b"0," * (9 << 20) + b"0]"
    path.write_bytes(struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text), len(text), b"JSON") + text)
    refused_in_little_memory(path, "bytes of JSON, which must be at most 16 MiB")


@pytest.mark.parametrize("suffix", [".ply", ".compressed.ply", ".spz", ".sog", ".glb"])
def test_a_huge_file_of_another_kind_is_not_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with open(path, "wb") as file:
        file.truncate(2 << 30)  # of zeros: takes no room on the disk
    tracemalloc.start()
    try:
        refused(path, "is not a|is not an")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["a.json", "a.txt"])
def test_camera_files_that_are_far_too_large(tmp_path, name):
    with open(tmp_path / name, "wb") as file:
        file.truncate((64 << 20) + 1)
    tracemalloc.start()
    with pytest.raises(ValueError, match="is no camera file: it is larger than 64 MiB"):
        load_cameras(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_accessors_that_all_name_the_same_bytes(tmp_path):
    """Sixteen harmonics over one small view are read, since no more is held than the counts that the file proves."""
    path = save_gaussians(random_gaussians(200, degree=0), tmp_path / "a.glb")
    whole = path.read_bytes()
    length = struct.unpack_from("<I", whole, 12)[0]
    content = json.loads(whole[20 : 20 + length])
    attributes = content["meshes"][0]["primitives"][0]["attributes"]
    dc = attributes["KHR_gaussian_splatting:SH_DEGREE_0_COEF_0"]
    attributes |= {f"KHR_gaussian_splatting:SH_DEGREE_{d}_COEF_{i}": dc for d in (1, 2, 3) for i in range(2 * d + 1)}
    text = json.dumps(content).encode()
    rest = whole[20 + length :]
    path.write_bytes(struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON") + text + rest)
    found = load_gaussians(path)
    assert found.sh_degree == 3 and np.isfinite(found.sh.numpy()).all()
