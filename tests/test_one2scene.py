"""The paper's scaffold network: VGGT's output with our parts beside it, Gaussians by hand, wrong input refused."""

import json
import math
from dataclasses import asdict, replace

import pytest
import torch
from golden_weights import fill
from test_vggt import waves
from torch.testing import assert_close

from onescene.geometry.cubemap import face_cameras, face_directions, face_intrinsics, world_from_face
from onescene.geometry.rotations import matrix_from_quaternion
from onescene.models.loading import half_bytes, load_scaffold, shipped_scaffold_path
from onescene.models.one2scene import CONVENTIONS, PAPER, SMALL, One2Scene, One2SceneConfig
from onescene.models.one2scene.gaussians import activate, activate_scale, as_gaussians, means, raw_channels
from onescene.models.one2scene.weights import load_one2scene, one2scene_bytes, start_from_cube
from onescene.models.registry import check_file
from onescene.models.vggt import VGGT, VGGTConfig
from onescene.models.vggt.network import UNUSED_PREFIXES
from onescene.models.vggt.weights import load_public
from onescene.splatting import render
from onescene.splatting.sh import sh_basis
from onescene.stages.scaffold import ScaffoldConfig, predict_distance

SIZES = {
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "features": 16,
    "out_channels": (8, 8, 16, 16),
    "intermediate_layer_idx": (0, 0, 1, 1),
}
TINY = replace(SMALL, **SIZES, face_px=32, gaussian_hidden=8)  # with every part of ours
PUBLIC = VGGTConfig(**SIZES, patch_embed="conv", img_size=28, camera_trunk_depth=1)
ON_PUBLIC = One2SceneConfig(**SIZES, patch_embed="conv", img_size=28, face_px=28, rays=True)


@pytest.fixture(scope="module")
def tiny() -> One2Scene:
    return fill(One2Scene(TINY))


def z_of_rays(face_px: int, fov_deg: float) -> torch.Tensor:
    """How far along its face's axis a step of length 1 along each pixel's ray goes; [6, S, S]."""
    return torch.einsum("fhwi,fi->fhw", face_directions(face_px, fov_deg), world_from_face()[..., 2])


# --- shapes, keys, sizes ---------------------------------------------------------------------------------------------


@torch.no_grad()
def test_shapes(tiny):
    out = tiny(waves(6, (32, 32)).expand(2, -1, -1, -1, -1))
    for name in ("distance", "depth_z", "confidence", "face_sky_logit", "face_log_distance"):
        assert getattr(out, name).shape == (2, 6, 32, 32), name
    assert out.log_distance.shape == out.sky_logit.shape == (2, 32, 64)
    gaussians = out.gaussians(1)
    assert len(gaussians) == 6 * 32 * 32 and gaussians.sh_degree == 0
    assert (out.distance > 0).all() and (out.confidence > 1).all()
    assert_close(out.depth_z / out.distance, z_of_rays(32, 95).expand(2, -1, -1, -1))


def test_keys_are_the_public_ones_and_ours(golden_file):
    manifest = json.loads(golden_file("vggt_1b_manifest").read_text())
    with torch.device("meta"):
        own = {k: list(v.shape) for k, v in One2Scene(PAPER).state_dict().items()}
    unread = (*UNUSED_PREFIXES, "point_head.", "camera_head.")
    public = {k: shape for k, shape in manifest.items() if not k.startswith(unread)}
    assert {k: shape for k, shape in own.items() if not k.startswith(One2Scene.NEW_PREFIXES)} == public
    assert {k.partition(".")[0] for k in own if k not in public} == {"fusion", "gaussian_head"}


def test_the_small_network_fits_into_24_megabytes():
    with torch.device("meta"):
        state = One2Scene(SMALL).state_dict()
    assert sum(v.numel() for v in state.values()) == 10_865_201
    assert 2 * sum(v.numel() for v in state.values()) <= 24e6


@torch.no_grad()
def test_fresh_parts_leave_the_depth_of_vggt_unchanged(tmp_path):
    vggt, network = fill(VGGT(PUBLIC)), One2Scene(ON_PUBLIC).eval()
    torch.save(vggt.state_dict(), tmp_path / "model.pt")
    unread = load_public(network, tmp_path / "model.pt")
    assert {k.partition(".")[0] for k in unread} == {"camera_head"}
    found, true = network(waves(6, (28, 28))), vggt(waves(6, (28, 28)))
    assert_close(found.depth_z, true.depth_z, rtol=1e-6, atol=0)
    assert torch.equal(found.confidence, true.confidence)
    along = One2Scene(replace(ON_PUBLIC, depth_kind="distance")).eval()
    along.load_state_dict(network.state_dict())
    assert torch.equal(along(waves(6, (28, 28))).distance, true.depth_z)


def test_public_and_new_parameters_are_told_apart():
    network = One2Scene(ON_PUBLIC)
    public, new = network.split_parameters()
    names = {id(p): k for k, p in network.named_parameters()}
    assert {names[id(p)].partition(".")[0] for p in public} == {"aggregator", "depth_head"}
    assert {names[id(p)].partition(".")[0] for p in new} == {"fusion", "gaussian_head", "rays"}
    network = One2Scene(TINY)
    encoder = {id(p) for p in network.aggregator.patch_embed.encoder.parameters()}
    assert {id(p) for p in network.split_parameters()[0]} == encoder
    assert len(encoder) + len(network.split_parameters()[1]) == len(list(network.parameters()))


@torch.no_grad()
def test_it_starts_from_what_the_other_small_network_has_learned():
    network, cube = One2Scene(SMALL).eval(), load_scaffold()[0]
    before = {k: v.clone() for k, v in network.state_dict().items()}
    start_from_cube(network, shipped_scaffold_path())
    changed = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    assert {".".join(k.split(".")[:2]) for k in changed} == {"aggregator.patch_embed", "rays.weight", "rays.bias"}
    images = waves(6, (64, 64))[0]
    patches, taps = network.aggregator.patch_embed(images), cube.encoder(images)
    deep = torch.nn.functional.interpolate(cube.token_32(taps[4]), size=(4, 4), mode="bilinear")
    assert_close(patches.tokens, (cube.token_16(taps[3]) + deep).flatten(2).transpose(1, 2), rtol=0, atol=1e-4)


@pytest.mark.parametrize("config", [TINY, replace(SMALL, rays=False), ON_PUBLIC], ids=["width", "rays", "patches"])
def test_a_network_of_other_sizes_can_not_start_from_it(config):
    with pytest.raises(ValueError, match="starts networks with patch_embed lite0, rays and embed_dim 192 only"):
        start_from_cube(One2Scene(config), shipped_scaffold_path())


# --- what acts -------------------------------------------------------------------------------------------------------


def test_every_parameter_gets_a_gradient(tiny):
    out = tiny(waves(6, (32, 32)))
    g = out.gaussians()
    parts = (g.means, g.scales.log(), g.opacities.logit(), g.quats, g.sh, out.confidence.log(), out.sky_logit)
    sum((p * waves(1, tuple(p.shape[-2:]))[0, 0, 0]).sum() if p.ndim > 1 else p.sum() for p in parts).backward()
    silent = {k for k, p in tiny.named_parameters() if p.grad is None or not p.grad.any()}
    bad = {k for k, p in tiny.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()}
    tiny.zero_grad()
    assert silent == set() and bad == set()


@torch.no_grad()
def test_faces_apart_do_not_talk_and_fusion_alone_reaches_neighbours():
    faces = waves(6, (32, 32))
    other = faces.clone()
    other[:, 0] = 1 - other[:, 0]
    for fusion, reached in (((), [True] + [False] * 5), (("output_conv1",), [True, True, False, True, True, True])):
        network = fill(One2Scene(replace(TINY, joint=False, fusion=fusion)))
        changed = (network(faces).distance - network(other).distance)[0].abs().amax((1, 2)) > 1e-6
        assert changed.tolist() == reached


@torch.no_grad()
def test_the_image_reaches_colours_beside_the_tokens(tiny):
    """NoPoSplat's shortcut: with the same tokens another image gives other raw channels."""
    tokens = [torch.zeros(6, 4, 2 * TINY.embed_dim)] * 4
    a, b = (
        tiny.gaussian_head(tokens, images, lambda _, x: x)
        for images in (waves(6, (32, 32))[0], waves(7, (32, 32))[0, 1:])
    )
    assert (a - b).abs().mean() > 1e-3


def test_it_overfits_a_box():
    torch.manual_seed(0)
    network, faces = One2Scene(ON_PUBLIC), waves(6, (28, 28))
    true = 1 / (face_directions(28, 95).abs() / torch.tensor([2.0, 1.0, 3.0])).amax(-1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = (network(faces).face_log_distance[0] - true.log()).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0], losses


@torch.no_grad()
def test_a_fresh_network_shows_the_faces_from_the_centre():
    """Half a pixel wide, nearly opaque, in the pixel's own colour: the anchors come back."""
    torch.manual_seed(0)
    faces = 0.5 + 0.4 * torch.sin(3 * face_directions(32, 95)).movedim(-1, 1)
    gaussians = One2Scene(TINY).eval()(faces[None]).gaussians()
    rgb = render(gaussians, face_cameras(32, 95), backend="torch").rgb
    assert -10 * (rgb - faces).square().mean().log10() > 20


@torch.no_grad()
def test_the_stage_reads_it(tiny):
    panorama = torch.rand(3, 64, 128, generator=torch.Generator().manual_seed(0))
    config = ScaffoldConfig(network_px=32, turns=1, mirror=False)
    log_distance, sky = predict_distance(panorama, tiny, config)
    assert log_distance.shape == sky.shape == (32, 64)
    assert torch.isfinite(log_distance).all() and (sky > 0).all() and (sky < 1).all()


# --- Gaussians by hand -----------------------------------------------------------------------------------------------


def raw_zeros(face_px: int, sh_degree: int) -> torch.Tensor:
    raw = torch.zeros(1, 6, face_px, face_px, raw_channels(sh_degree, sky=False))
    raw[..., 7] = 2.0  # quaternion wxyz = (2, 0, 0, 0)
    return raw


def test_centres_are_pixels_unprojected_plus_the_offset():
    """The slow twin, pixel by pixel: mu = R (K^-1 u d_z + Delta)."""
    size, raw = 4, raw_zeros(4, 0)
    raw[..., :3] = torch.randn(6, size, size, 3, generator=torch.Generator().manual_seed(0))
    distance = 1 + torch.rand(1, 6, size, size, generator=torch.Generator().manual_seed(1))
    found = activate(raw, distance, 1.0, "pixelsplat", 0)
    centres = means(found, distance, 95.0)
    K, rotation = face_intrinsics(size, 95.0), world_from_face()
    for face, row, column in ((0, 0, 0), (3, 1, 2), (5, 3, 0)):
        ray = torch.linalg.inv(K) @ torch.tensor([column + 0.5, row + 0.5, 1.0])
        depth_z = distance[0, face, row, column] / ray.norm()
        expected = rotation[face] @ (ray * depth_z + raw[0, face, row, column, :3])
        assert_close(centres[0, face, row, column], expected)


def test_activations_by_hand():
    distance = torch.full((1, 6, 2, 2), 3.0)
    raw = raw_zeros(2, 1)
    raw[..., 3] = math.log(3)  # opacity
    raw[..., 11:] = 1.0
    found = activate(raw, distance, 10.0, "pixelsplat", 1)
    assert_close(found.opacities, torch.full((1, 6, 2, 2), 0.75))
    assert_close(found.scales, torch.full((1, 6, 2, 2, 3), 7.75 * 3 * 0.1 * 2 / 10))
    assert_close(found.quats[0, 0, 0, 0], torch.tensor([1.0, 0, 0, 0]))
    assert_close(found.sh[0, 0, 0, 0, :, 1], torch.tensor([1.0, 0.025, 0.025, 0.025]))


@pytest.mark.parametrize(
    ("convention", "low", "middle", "high"),
    [("pixelsplat", 0.5 * 0.02, 7.75 * 0.02, 15 * 0.02), ("noposplat", 0.0, 0.001 * math.log(2), 0.3)],
)
def test_ranges_of_scales(convention, low, middle, high):
    raw = torch.tensor([[-1e3, 0.0, 1e3]])
    assert_close(activate_scale(raw, torch.ones(1), 10.0, convention), torch.tensor([[low, middle, high]]))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_colours_are_of_the_frame_that_the_convention_names(convention):
    raw = raw_zeros(2, 3)
    raw[..., 11:] = torch.randn(raw[..., 11:].shape, generator=torch.Generator().manual_seed(0))
    distance = torch.ones(1, 6, 2, 2)
    found = activate(raw, distance, 1.0, convention, 3)
    gaussians = as_gaussians(found, distance, 95.0, convention)
    seen_along = torch.nn.functional.normalize(torch.tensor([[0.3, -0.5, 0.8]]), dim=-1)
    for face in (1, 4):
        local = seen_along @ world_from_face()[face] if convention == "pixelsplat" else seen_along
        first = face * 4
        expected = (sh_basis(local, 3)[..., None] * found.sh[0, face, 0, 0]).sum(-2)
        assert_close((sh_basis(seen_along, 3)[..., None] * gaussians.sh[first]).sum(-2), expected, atol=1e-5, rtol=1e-5)


def test_covariances_are_turned_into_the_world():
    raw = raw_zeros(2, 0)
    raw[..., 4:11] = torch.randn(7, generator=torch.Generator().manual_seed(0))
    distance = torch.ones(1, 6, 2, 2)
    found = activate(raw, distance, 1.0, "pixelsplat", 0)
    gaussians = as_gaussians(found, distance, 95.0, "pixelsplat")
    local = matrix_from_quaternion(found.quats[0, 4, 0, 0]) * found.scales[0, 4, 0, 0]
    axes = matrix_from_quaternion(gaussians.quats[16]) * gaussians.scales[16]
    turned = world_from_face()[4] @ local
    assert_close(axes @ axes.T, turned @ turned.T)


# --- wrong input -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("shape", [(6, 3, 32, 32), (1, 5, 3, 32, 32), (1, 6, 3, 32, 64), (1, 6, 3, 40, 40)])
def test_wrong_faces_are_refused(tiny, shape):
    with pytest.raises(ValueError, match=r"faces must be \[B, 6, 3, S, S\] with S a multiple of 32, got"):
        tiny(torch.zeros(shape))


def test_faces_that_are_not_finite_are_named(tiny):
    faces = waves(6, (32, 32)).clone()
    faces[0, 1, 0, 3, 3], faces[0, 4, 2, 0, 0] = torch.nan, torch.inf
    with pytest.raises(ValueError, match="faces must be finite, got NaN or infinity in R, U"):
        tiny(faces)


@torch.no_grad()
def test_another_field_of_view_is_warned_of(tiny):
    faces = waves(6, (32, 32))
    with pytest.warns(UserWarning, match="fov_deg is 100, the weights are for 95"):
        out = tiny(faces, 100.0)
    assert_close(out.depth_z / out.distance, z_of_rays(32, 100)[None])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"depth_kind": "disparity"}, "depth_kind must be one of depth_z, distance, got 'disparity'"),
        ({"convention": "3dgs"}, "convention must be one of pixelsplat, noposplat, got '3dgs'"),
        ({"sh_degree": 4}, "sh_degree must be 0 to 3, got 4"),
        ({"face_px": 40}, "face_px must be a multiple of 32, got 40"),
        ({"patch_embed": "conv"}, "detail needs patch_embed lite0, got 'conv'"),
    ],
)
def test_wrong_settings_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        replace(TINY, **change)


def test_lite0_has_patches_of_16_pixels():
    with pytest.raises(ValueError, match="patch_size must be 16 with patch_embed lite0, got 14"):
        VGGT(replace(PUBLIC, patch_embed="lite0"))


# --- files -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_file_brings_its_sizes(tmp_path, tiny):
    path = tmp_path / "scaffold.safetensors"
    path.write_bytes(one2scene_bytes(tiny, {"licence": "Apache-2.0", "name": "test"}))
    network, file = load_one2scene(path)
    assert network.config == TINY and not network.training
    assert (file.name, file.licence) == ("test", "Apache-2.0")
    half = {k: v.half().float() if v.is_floating_point() else v for k, v in tiny.state_dict().items()}
    assert all(torch.equal(v, half[k]) for k, v in network.state_dict().items())


def test_files_of_another_architecture_are_refused(tmp_path, tiny):
    with pytest.raises(ValueError, match="weights are of another architecture"):
        load_one2scene(shipped_scaffold_path())
    path = tmp_path / "a.safetensors"
    path.write_bytes(half_bytes(VGGT(PUBLIC), {"one2scene_config": json.dumps(asdict(TINY))}))
    with pytest.raises(ValueError, match=r"do not fit One2Scene: \d+ missing"):
        load_one2scene(path)
    path.write_bytes(half_bytes(tiny, {"one2scene_config": json.dumps(asdict(TINY) | {"wings": 2})}))
    with pytest.raises(ValueError, match="wings is no size of One2Scene"):
        load_one2scene(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_one2scene(path)
    with pytest.raises(FileNotFoundError, match="scaffold weights not found"):
        load_one2scene(tmp_path / "none.safetensors")


def test_a_file_of_the_small_size_is_known_by_its_keys(tmp_path):
    path = tmp_path / "scaffold.safetensors"
    path.write_bytes(one2scene_bytes(One2Scene(SMALL), {}))
    assert path.stat().st_size <= 24e6
    found = check_file(path)
    assert found.model == "one2scene-vggt-small" and found.report.fits


def test_a_file_of_other_sizes_is_known_by_what_it_says(tmp_path, tiny):
    path = tmp_path / "scaffold.safetensors"
    path.write_bytes(one2scene_bytes(tiny, {}))
    found = check_file(path)
    assert found.model == "one2scene-vggt of its own sizes" and found.report.fits
