"""Gaussian files in other people's JavaScript: PlayCanvas's splat-transform and three.js; see tests/npm.py."""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest
import torch
from gaussian_samples import random_gaussians
from npm import MODULES, gltf_errors, needs_npm, run_node
from torch.testing import assert_close

from onescene.geometry.axes import transform_gaussians
from onescene.geometry.rotations import matrix_from_quaternion
from onescene.io import load_gaussians, save_gaussians
from onescene.io.arrays import arrays_from_gaussians, turned_about_x
from onescene.types import Gaussians

# Half a step of what a format keeps, beyond what our own reader makes of the same file.
TOLERANCES = {".ply": 1e-5, ".compressed.ply": 1e-4, ".splat": 1e-2, ".spz": 1e-4, ".sog": 2e-3}
OPACITIES = torch.rand(300, generator=torch.manual_seed(1)) * 0.9 + 0.05  # logits of 8 bits are coarse beyond


def covariances(scene: Gaussians) -> torch.Tensor:
    """Shapes in the world, [N, 6]: xx xy xz yy yz zz."""
    axes = matrix_from_quaternion(scene.quats) * scene.scales[:, None]
    return (axes @ axes.transpose(1, 2)).reshape(-1, 9)[:, [0, 1, 2, 4, 5, 8]]


@pytest.mark.parametrize("suffix", TOLERANCES)
def test_splat_transform_reads_what_we_read(tmp_path, suffix):
    """The same centres, sizes, turns, opacities and harmonics, in the world's axes, whatever axes the format has."""
    program = needs_npm("@playcanvas/splat-transform") / "bin" / "cli.mjs"
    degree = 0 if suffix == ".splat" else 2
    path = save_gaussians(random_gaussians(degree=degree, opacities=OPACITIES), tmp_path / f"a{suffix}")
    command = ["node", str(program), "-q", str(path), str(tmp_path / "a.csv")]
    subprocess.run(command, check=True, capture_output=True, timeout=300, env={**os.environ, "NO_COLOR": "1"})
    theirs = np.genfromtxt(tmp_path / "a.csv", delimiter=",", names=True)
    ours, allowed = load_gaussians(path), TOLERANCES[suffix]

    def columns(*names: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([theirs[name] for name in names], axis=1)).float()

    assert len(theirs) == len(ours) == 300
    assert_close(columns("x", "y", "z"), ours.means, atol=allowed, rtol=1e-4)
    assert_close(columns("scale_0", "scale_1", "scale_2"), ours.scales.log(), atol=allowed, rtol=1e-4)
    assert_close(columns("opacity")[:, 0].sigmoid(), ours.opacities, atol=allowed, rtol=0)
    assert_close(columns("f_dc_0", "f_dc_1", "f_dc_2"), ours.sh[:, 0], atol=allowed, rtol=1e-4)
    quats = torch.nn.functional.normalize(columns("rot_0", "rot_1", "rot_2", "rot_3"), dim=1)
    assert_close((quats * ours.quats).sum(1).abs(), torch.ones(300), atol=max(1e-3, allowed), rtol=0)
    if degree:
        rest = columns(*(f"f_rest_{i}" for i in range(24))).reshape(300, 3, 8).transpose(1, 2)
        assert_close(rest, ours.sh[:, 1:], atol=max(allowed, 0.02 if suffix == ".compressed.ply" else 0), rtol=0)


def test_splat_transform_writes_what_we_read(tmp_path):
    """Its glTF (KHR_gaussian_splatting), its SPZ of version 4 and its compressed PLY of one PLY of ours."""
    program = needs_npm("@playcanvas/splat-transform") / "bin" / "cli.mjs"
    wanted = random_gaussians(degree=2, opacities=OPACITIES)
    source = save_gaussians(wanted, tmp_path / "a.ply")
    for name, allowed, colour in (("b.glb", 1e-5, 1e-5), ("b.spz", 0.015, 0.07), ("b.compressed.ply", 0.02, 0.02)):
        command = ["node", str(program), "-q", str(source), str(tmp_path / name)]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        found = load_gaussians(tmp_path / name)
        if name == "b.glb":  # it takes a PLY to show its back to glTF's cameras: half a turn about the upright axis
            found = transform_gaussians(found, torch.diag(torch.tensor([-1.0, 1.0, -1.0])))
        found = found.select(torch.cdist(wanted.means, found.means).argmin(dim=1))
        assert_close(found.means, wanted.means, atol=allowed, rtol=0)
        # not the quaternions: an ellipsoid equals its half turns about its own axes, and the program makes use of it
        assert_close(covariances(found), covariances(wanted), atol=allowed, rtol=0)
        assert_close(found.sh, wanted.sh, atol=colour, rtol=0)


def test_three_reads_gaussians_in_gltf(tmp_path):
    needs_npm("three")
    if not (MODULES / "three/examples/jsm/loaders/GLTFGaussianSplatLoaderExtension.js").is_file():
        pytest.skip("this three has no loader for KHR_gaussian_splatting: npm install three@0.187 or newer")
    scene = random_gaussians(40, degree=2)
    path = save_gaussians(scene, tmp_path / "a.glb")
    script = """
        import fs from "fs";
        import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
        import { GLTFGaussianSplatLoaderExtension } from "three/addons/loaders/GLTFGaussianSplatLoaderExtension.js";
        const data = fs.readFileSync(process.argv[1]);
        const loader = new GLTFLoader().register((parser) => new GLTFGaussianSplatLoaderExtension(parser));
        const bytes = data.buffer.slice(data.byteOffset, data.byteOffset + data.length);
        const { scene } = await loader.parseAsync(bytes, "");
        let found = null;
        scene.traverse((o) => { if (o.isGaussianSplat) found = o.splatGeometry.attributes; });
        const list = (a) => Array.from(a.array);
        console.log(JSON.stringify(Object.fromEntries(Object.entries(found).map(([k, a]) => [k, list(a)]))));
    """
    found = run_node(script, path)
    there = turned_about_x(arrays_from_gaussians(scene))  # glTF's y points up
    assert_close(torch.tensor(found["position"]).reshape(40, 3), torch.tensor(there.means))
    turned = transform_gaussians(scene, torch.diag(torch.tensor([1.0, -1.0, -1.0])))
    assert_close(torch.tensor(found["covariance"]).reshape(40, 6), covariances(turned), atol=1e-6, rtol=1e-4)
    colour = torch.cat([scene.rgb.clamp(0, 1), scene.opacities[:, None]], dim=1) * 255
    assert_close(torch.tensor(found["color"]).reshape(40, 4).float(), colour, atol=0.51, rtol=0)
    words = np.array(found["sphericalHarmonics1"], np.uint32).reshape(40, -1)
    first = torch.from_numpy(words.view(np.uint8)[:, :9].astype(np.float32).reshape(40, 3, 3))
    assert_close((first - 128) / 128, torch.tensor(there.sh[:, 1:4]), atol=0.51 / 128, rtol=0)


def test_the_validator_of_khronos_finds_no_error_in_gaussians(tmp_path):
    """It does not know the extension, and says so; all else it checks."""
    found = gltf_errors(save_gaussians(random_gaussians(40, degree=2), tmp_path / "a.glb"))
    assert not [line for line in found if "KHR_gaussian_splatting" not in line]
