"""The release's scaffold against the stored outputs and keys of the public one, and against what it must be."""

import json
import math

import pytest
import torch
from golden_adapters import one2scene_scaffold
from golden_weights import fill, read_golden, relative_l2
from test_vggt import run_untyped, waves
from torch.testing import assert_close

from onescene.geometry.cubemap import world_from_face
from onescene.geometry.rotations import matrix_from_quaternion
from onescene.models.one2scene_release import KEY_PREFIX, ReleaseConfig, ReleaseScaffold, as_gaussians
from onescene.models.one2scene_release.gaussians import place_gaussians
from onescene.models.one2scene_release.network import _regressed_distance

# the golden README's suggestions
TOLERANCE = {
    **dict.fromkeys(("tokens_encoder", "tokens_dec_first", "tokens_dec_last"), 5e-6),
    **dict.fromkeys(("depth", "regression_raw", "raw", "means", "opacities", "quaternions", "sh"), 2e-5),
    **dict.fromkeys(("raw_channel_mean", "raw_channel_std"), 2e-5),
    **dict.fromkeys(("scales", "covariances"), 5e-5),
}
TINY = ReleaseConfig(
    enc_embed_dim=64, enc_depth=2, enc_num_heads=4, dec_embed_dim=48, dec_depth=4, dec_num_heads=3, patch_size=16
)
TIED = {
    f"{head}.dpt.scratch.layer{i + 1}_rn.weight": f"{head}.dpt.scratch.layer_rn.{i}.weight"
    for head in ("downstream_head", "gaussian_param_head")
    for i in range(4)
}
UNUSED = {"backbone.mask_token", "backbone.intrinsic_encoder.weight", "backbone.intrinsic_encoder.bias"} | {
    f"{head}.dpt.scratch.refinenet4.resConfUnit1.conv{i}.{kind}"
    for head in ("downstream_head", "gaussian_param_head")
    for i in (1, 2)
    for kind in ("weight", "bias")
}


def cameras(face_px: int, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Intrinsics and poses of six square faces as the release sets them."""
    K = torch.eye(3)
    K[0, 0] = K[1, 1] = 0.5 / math.tan(math.radians(47.5))
    K[:2, 2] = (face_px - 1) / (2 * face_px)
    pose = torch.eye(4).repeat(6, 1, 1)
    pose[:, :3, :3] = world_from_face()
    return K.expand(batch, 6, 3, 3), pose.expand(batch, 6, 4, 4)


@pytest.fixture(scope="module")
def tiny() -> ReleaseScaffold:
    """A network with the golden rule's weights: every parameter matters."""
    return fill(ReleaseScaffold(TINY), TIED)


@pytest.fixture(scope="module")
def full_size() -> ReleaseScaffold:
    with torch.device("meta"):
        return ReleaseScaffold()


def test_the_stored_outputs(golden_file):
    config, weights, stored = read_golden(golden_file("one2scene_scaffold_tiny"))
    found = one2scene_scaffold(config, weights, *(stored[k] for k in ("images", "intrinsics", "extrinsics")))
    rows = stored["gaussian_index"].long()
    whole = {"depth", "tokens_encoder", "tokens_dec_first", "tokens_dec_last", "raw_channel_mean", "raw_channel_std"}
    errors = {k: relative_l2(found[k] if k in whole else found[k][rows], stored[k]) for k in TOLERANCE}
    assert all(errors[k] <= TOLERANCE[k] for k in TOLERANCE), errors


def test_keys_and_shapes_of_the_released_checkpoint(golden_file, full_size):
    manifest = json.loads(golden_file("one2scene_scaffold_manifest").read_text())
    assert len(manifest) == 579
    assert {KEY_PREFIX + k: list(v.shape) for k, v in full_size.state_dict().items()} == manifest


def test_values_of_the_released_checkpoint(full_size):
    """507,443,542 counted per key; 500,808,022 of them distinct."""
    state = full_size.state_dict()
    assert sum(v.numel() for v in state.values()) == 507_443_542
    assert sum(v.numel() for k, v in state.items() if k not in TIED) == 500_808_022
    modules = dict(full_size.named_parameters(remove_duplicate=False))
    assert all(modules[a] is modules[b] for a, b in TIED.items())


# Slices of this network's own output, taken when it reproduced the stored outputs of the released one.
REFERENCE = {
    "distance": [1.71294, 1.32717, 1.19707, 0.118652, -0.378961],
    "raw": [0.461818, 0.989902, 1.75072, 0.106233, 0.939746],
    "mean": [0.229056, -0.208309, -0.0104155],
    "scale": [-0.0268727, -0.0214221, -0.0167562],
    "quaternion": [0.201418, -0.0876664, 0.636191, -0.739598],
    "covariance": [
        0.000317715,
        6.25379e-05,
        5.62804e-05,
        6.25379e-05,
        0.000703659,
        -5.78309e-05,
        5.62804e-05,
        -5.78309e-05,
        0.000440448,
    ],
    "sh": [-0.327956, -0.00154582, 0.00387282, -0.000529333, 0.000605737],
}


def test_reference_slices(tiny):
    with torch.no_grad():
        found = tiny(waves(6, (48, 48)), *cameras(48))
    g = found.gaussians
    slices = {
        "distance": found.distance[0, 4, 17, ::11],
        "raw": found.gaussian_raw[0, 2, 30, 5, ::17],
        "mean": g.means[0, 9000],
        "scale": g.scales[0, 9000],
        "quaternion": g.quats_xyzw_cam[0, 9000],
        "covariance": g.covariances[0, 9000].flatten(),
        "sh": g.sh_cam[0, 9000, 1, ::6],
    }
    for name, slice_ in slices.items():
        assert_close(slice_, torch.tensor(REFERENCE[name]), rtol=1e-4, atol=1e-6)


def test_what_acts_gets_a_gradient(tiny):
    found = tiny(waves(6, (32, 32)), *cameras(32))
    (found.regression_raw.sum() + found.gaussian_raw.square().sum()).backward()
    silent = {k for k, p in tiny.named_parameters() if p.grad is None or not p.grad.any()}
    tiny.zero_grad()
    assert silent == UNUSED


def test_scenes_of_a_batch_do_not_see_each_other(tiny):
    a, b = waves(6, (32, 32)), 1 - waves(6, (32, 32))
    with torch.no_grad():
        both, alone = tiny(torch.cat((a, b)), *cameras(32, 2)), tiny(b, *cameras(32))
    assert_close(both.distance[1:], alone.distance, rtol=1e-4, atol=1e-5)
    assert_close(both.gaussians.means[1:], alone.gaussians.means, rtol=1e-4, atol=1e-5)


def test_a_gaussian_done_by_hand():
    """Raw zeros at distance 2 on faces of 90 degrees: f = 1/2, the pixel at the upper left of the front face."""
    n = 4
    K, pose = cameras(n)
    K = K.clone()
    K[..., 0, 0] = K[..., 1, 1] = K[..., 0, 2] = K[..., 1, 2] = 0.5
    raw = torch.zeros(1, 6, n, n, 83)
    raw[..., 7] = 1.0  # quaternion xyzw = (0, 0, 0, 1)
    raw[..., 8:] = 1.0
    g = place_gaussians(raw, torch.full((1, 6, n, n), 2.0), K, pose)
    assert_close(g.means[0, 0], 2 * torch.tensor([-0.75, -0.75, 1.0]) / math.sqrt(2 * 0.75**2 + 1))
    assert_close(g.opacities, torch.full_like(g.opacities, 0.5))
    assert_close(g.scales, torch.full_like(g.scales, (0.5 + 7.25) * 2 * 0.1 * (2 / n + 2 / n)))
    expected = [1.0] + [0.1 / 4] * 3 + [0.1 / 16] * 5 + [0.1 / 64] * 7 + [0.1 / 256] * 9
    assert_close(g.sh_cam[0, 0, 2], torch.tensor(expected))
    assert_close(g.covariances[0, 5], g.scales[0, 5, 0] ** 2 * torch.eye(3))


def test_regressed_distance():
    raw = torch.tensor([[0.0, 0.0, 1.0], [0.0, 3.0, -4.0], [0.0, 0.0, 0.0]], requires_grad=True)
    found = _regressed_distance(raw)
    assert_close(found, torch.tensor([math.e - 1, -0.8 * math.expm1(5), 0.0]))
    found.sum().backward()
    assert torch.isfinite(raw.grad).all()


def test_in_our_convention_the_covariances_stay(tiny):
    K, pose = cameras(32)
    with torch.no_grad():
        found = tiny(waves(6, (32, 32)), K, pose).gaussians
    ours = as_gaussians(found, pose[0])
    axes = matrix_from_quaternion(ours.quats) * ours.scales[:, None]
    assert relative_l2(axes @ axes.mT, found.covariances[0]) < 1e-5
    assert ours.sh.shape == (6 * 32 * 32, 16, 3)
    assert_close(ours.sh[7, 3], found.sh_cam[0, 7, :, 3])


COMPILES = """
import torch
from test_one2scene_release import TINY, ReleaseScaffold, cameras, waves
network, images = ReleaseScaffold(TINY).eval(), waves(6, (32, 32))
with torch.no_grad():
    compiled = torch.compile(network, backend="eager", fullgraph=True)(images, *cameras(32))
    torch.testing.assert_close(compiled.gaussians.means, network(images, *cameras(32)).gaussians.means)
"""


def test_it_compiles_into_one_graph():
    run_untyped(COMPILES)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("shape", [(6, 3, 32, 32), (1, 5, 3, 32, 32), (1, 6, 3, 40, 32)])
def test_wrong_faces_are_refused(tiny, shape):
    with pytest.raises(ValueError, match=r"faces must be \[B, 6, 3, H, W\]"):
        tiny(torch.zeros(shape), *cameras(32))


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="dec_embed_dim must be a multiple"):
        ReleaseScaffold(ReleaseConfig(dec_embed_dim=50))
