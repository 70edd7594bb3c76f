"""SEVA's schedule, ray maps, normalised cameras and trajectories against the stored outputs of the official code."""

import math

import numpy as np
import pytest
import torch
from golden_adapters import seva_plucker, seva_sigmas
from torch.testing import assert_close

from onescene.geometry.plucker import camera_distance, default_intrinsics, normalise_cameras, plucker_maps
from onescene.geometry.trajectories import TRAJECTORIES, make_trajectory

STORED_TO = {"atol": 1e-5, "rtol": 0}  # the official poses are float32: an orbit 20 units wide is off by 4e-6 itself
CLOSE = {"atol": 3e-6, "rtol": 0}  # float32 ray maps, moments up to 3
SEVA = "orbit spiral lemniscate zoom-in zoom-out roll".split()
SEVA += ["dolly zoom-in", "dolly zoom-out"]
SEVA += [f"move-{way}" for way in "forward backward up down left right".split()]
RELEASE = [n for n in (*SEVA, "move-forwardup") if "zoom" not in n and n != "roll"]


@pytest.fixture(scope="module")
def stored(golden_file):
    with np.load(golden_file("seva_geometry"), allow_pickle=False) as file:
        return {k: torch.from_numpy(file[k]) for k in file.files if file[k].dtype.kind in "fib"}


@pytest.mark.parametrize("steps", [25, 50])
def test_schedule_is_exact(stored, steps):
    found = seva_sigmas(steps)
    for name in (f"sigmas_{steps}", f"timesteps_{steps}", "sigma_table"):
        assert_close(found[name], stored[name], atol=0, rtol=0)


@pytest.mark.parametrize(("suffix", "hw"), [("", (9, 9)), ("_6x10", (6, 10))])
@pytest.mark.parametrize("mode", ["true", "false"])
def test_ray_maps(stored, suffix, hw, mode):
    name = f"plucker_rel_{mode}{suffix}"
    assert_close(seva_plucker(stored["plucker_c2w"], stored["plucker_K"], hw)[name], stored[name], **CLOSE)


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_normalised_cameras(stored, case):
    part = {k.removeprefix(f"norm_{case}_"): v for k, v in stored.items() if k.startswith(f"norm_{case}_")}
    found = normalise_cameras(part["c2w_in"], part["all_c2w"], camera_scale=float(part["scale"]))
    assert_close(found, part["c2w_out"], atol=1e-6, rtol=0)
    assert_close(plucker_maps(found, part["K"], (9, 9)), part["plucker"], **CLOSE)


@pytest.mark.parametrize(("name", "aspect"), [("default_K", 1.0), ("default_K_wide", 1.5), ("default_K_tall", 0.6)])
def test_default_intrinsics(stored, name, aspect):
    assert_close(default_intrinsics(aspect=aspect), stored[name][0], atol=2e-7, rtol=0)


def test_camera_distances(stored):
    rotation_deg, distance = camera_distance(stored["plucker_c2w"], stored["sampler_c2w"])
    assert_close(rotation_deg, stored["camera_distance_rotation"], atol=1e-4, rtol=0)
    assert_close(distance, stored["camera_distance_translation"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", SEVA)
def test_presets(stored, name):
    key = "preset_" + name.replace("-", "_").replace(" ", "_")
    cameras = make_trajectory(name, 8, hw=(40, 60), start=torch.eye(4, dtype=torch.float64))
    assert_close(cameras.world_from_cam, stored[f"{key}_c2w"].double(), **STORED_TO)
    fov_rad = 2 * torch.atan(30 / cameras.K[:, 0, 0])
    assert_close(fov_rad, stored[f"{key}_fov"], atol=1e-9, rtol=0)


def test_all_stored_presets_are_known(stored):
    keys = {k[7:-4] for k in stored if k.startswith("preset_") and k.endswith("_fov")}
    assert keys == {n.replace("-", "_").replace(" ", "_") for n in SEVA}
    assert {*SEVA, *RELEASE} <= set(TRAJECTORIES)


@pytest.mark.parametrize("name", RELEASE)
def test_presets_of_the_release(stored, name):
    cameras = make_trajectory(name, 8, convention="release", start=torch.eye(4, dtype=torch.float64))
    assert_close(cameras.world_from_cam, stored[f"one2scene_{name.replace('-', '_')}_c2w"].double(), **STORED_TO)
    assert_close(cameras.K[0, 0, 0], torch.tensor(256 / math.tan(math.radians(27)), dtype=torch.float64))


@pytest.mark.parametrize("convention", ["paper", "release"])
def test_the_demo_of_the_release(stored, convention):
    cameras = make_trajectory("demo", 160, convention=convention)
    assert_close(cameras.world_from_cam, stored["one2scene_trajectory_c2w"], **STORED_TO)
