"""A textured mesh as binary glTF: what Blender, Unity, Unreal and browsers open.

One primitive of triangles whose texture is the panorama, shown as it is (KHR_materials_unlit: the photo's own light is
in it). Triangles face the panorama's centre and are drawn from that side only, so a room seen from outside opens like a
doll's house. glTF's y axis points up: the scene is turned half around x; programs turn it into their own axes.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from onescene.geometry.surface import SurfaceMesh
from onescene.io.arrays import MAX_LENGTH, TURN_SIGNS
from onescene.io.gltf import DAMAGES, ELEMENT_ARRAY_BUFFER, TRIANGLES, Glb, GlbWriter, read_glb_file
from onescene.io.sources import existing_file, suffix_of

_UNLIT = "KHR_materials_unlit"
_JPEG_QUALITY = 92
_MAX_TEXTURE_PIXELS = 32 << 20
_LINEAR, _MIPMAPS, _REPEAT, _CLAMP = 9729, 9987, 10497, 33071


def save_mesh(mesh: SurfaceMesh, texture: Float[Tensor, "3 height width"], path: str | os.PathLike) -> Path:
    """Writes a mesh with its texture (a JPEG inside the file), whole or not at all.

    Args:
        mesh: The triangles.
        texture: The panorama [0, 1]; values outside are clipped.
        path: A ``.glb`` file.

    Returns:
        The path.

    Raises:
        ValueError: another suffix, no triangle, vertices that are not finite, faces that name no vertex, a NaN.
        OSError: as :func:`onescene.io.atomic.atomic_path`.
    """
    if suffix_of(path) != ".glb":
        raise ValueError(f"a mesh must be written to .glb, got {Path(path).name!r}")
    _check(mesh, "mesh")
    file = GlbWriter()
    vertices = mesh.vertices.detach().cpu().float().numpy() * TURN_SIGNS
    attributes = {
        "POSITION": file.add_array(vertices, bounds=True),
        "TEXCOORD_0": file.add_array(mesh.uv.detach().cpu().float().numpy()),
    }
    indices = file.add_array(mesh.faces.cpu().numpy().astype("<u4").reshape(-1), ELEMENT_ARRAY_BUFFER)
    image = file.add_bytes(_jpeg(texture))
    primitive = {"attributes": attributes, "indices": indices, "material": 0, "mode": TRIANGLES}
    surface = {"baseColorTexture": {"index": 0}, "metallicFactor": 0, "roughnessFactor": 1}
    content = {
        "extensionsUsed": [_UNLIT],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "scene"}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [{"pbrMetallicRoughness": surface, "extensions": {_UNLIT: {}}}],
        "textures": [{"sampler": 0, "source": 0}],
        "samplers": [{"magFilter": _LINEAR, "minFilter": _MIPMAPS, "wrapS": _REPEAT, "wrapT": _CLAMP}],
        "images": [{"bufferView": image, "mimeType": "image/jpeg"}],
    }
    return file.write(content, path)


def load_mesh(path: str | os.PathLike) -> tuple[SurfaceMesh, Float[Tensor, "3 height width"]]:
    """Reads what :func:`save_mesh` wrote: the one primitive of textured triangles of a GLB file.

    Returns:
        The mesh in the world's axes, and its texture in [0, 1].

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a GLB, truncated, not one primitive of textured triangles, a node that moves it, values that are
            not finite, faces that name no vertex, a texture that is no image or far too large.
    """
    found = existing_file(path, "mesh file")
    file = read_glb_file(found)
    try:
        return _mesh(file), _texture(file)
    except DAMAGES as error:
        raise ValueError(f"{found} is not a whole glTF file of a textured mesh: {error!r}") from error


def _mesh(file: Glb) -> SurfaceMesh:
    """The triangles."""
    primitives = [p for mesh in file.content.get("meshes", []) for p in mesh["primitives"]]
    if len(primitives) != 1 or primitives[0].get("mode", TRIANGLES) != TRIANGLES:
        raise ValueError(f"{file.source} must hold one primitive of triangles, got {len(primitives)} primitives")
    if any(key in node for node in file.content["nodes"] for key in ("matrix", "translation", "rotation", "scale")):
        raise ValueError(f"{file.source} moves its mesh by a node, which is not supported")
    named = primitives[0]["attributes"]
    with np.errstate(invalid="ignore"):  # a NaN is refused later
        vertices = file.array(named["POSITION"], "POSITION", 3, ("f4",)) * TURN_SIGNS
    uv = file.array(named["TEXCOORD_0"], "TEXCOORD_0", 2, ("f4",), len(vertices))
    indices = file.array(primitives[0]["indices"], "indices", 1, ("u4", "u2", "u1"))[:, 0].astype(np.int64)
    if len(indices) % 3:
        raise ValueError(f"{file.source}: {len(indices)} indices are no whole number of triangles")
    mesh = SurfaceMesh(
        vertices=torch.from_numpy(vertices), uv=torch.from_numpy(uv), faces=torch.from_numpy(indices.reshape(-1, 3))
    )
    _check(mesh, str(file.source))
    return mesh


def _texture(file: Glb) -> Tensor:
    """The image that the material shows."""
    material = file.content["materials"][file.content["meshes"][0]["primitives"][0]["material"]]
    texture = file.content["textures"][material["pbrMetallicRoughness"]["baseColorTexture"]["index"]]
    data = file.bytes_of(file.content["images"][texture["source"]]["bufferView"], "texture")
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG", "PNG"]) as image:
            if image.width * image.height > _MAX_TEXTURE_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels are too many")
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{file.source}: the texture can not be read: {reason}") from error
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def _jpeg(texture: Tensor) -> bytes:
    """A texture as JPEG with colour at full resolution."""
    if texture.isnan().any():
        raise ValueError("texture must not hold NaN")
    pixels = (texture.detach().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous()
    buffer = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _check(mesh: SurfaceMesh, subject: str) -> None:
    """Refuses what can not be drawn."""
    if len(mesh.faces) == 0 or len(mesh.vertices) == 0:
        raise ValueError(f"{subject} must hold at least one triangle, got none")
    for name in ("vertices", "uv"):
        bad = ~(getattr(mesh, name).abs() <= MAX_LENGTH)
        if bad.any():
            raise ValueError(f"{subject}: every value must be finite, got {name} in vertex {int(bad.nonzero()[0, 0])}")
    lowest, highest = int(mesh.faces.min()), int(mesh.faces.max())
    if lowest < 0 or highest >= len(mesh.vertices):
        raise ValueError(f"{subject}: faces name vertices {lowest} to {highest} of {len(mesh.vertices)}")
