"""The small scaffold network: fusion, encoder, lifting, upsampling; learns one sample; survives a round trip."""

import math

import pytest
import torch

from onescene.geometry.cubemap import face_directions, faces_from_panorama
from onescene.geometry.equirect import directions_from_panorama
from onescene.geometry.perspective import intrinsics_from_fov
from onescene.geometry.rotations import matrix_from_yaw_pitch_roll
from onescene.models.encoder import TAP_CHANNELS, EfficientNetLite0
from onescene.models.loading import compare_keys, half_bytes, load_into, read_state_dict
from onescene.models.scaffold import BidirectionalFusion, CubeScaffold, CubeScaffoldConfig
from onescene.models.scaffold.lift import LiftConfig, lift_faces, owned_pixels, surface_normals
from onescene.models.scaffold.upsample import joint_bilateral_upsample, resize_panorama, sharpen_edges
from onescene.splatting import render
from onescene.types import Cameras

TINY = CubeScaffoldConfig(face_px=32, dim=24, heads=2, depth=1, decoder=(16, 16, 8, 8))


def test_fresh_fusion_changes_nothing():
    features = torch.randn(2, 6, 8, 12, 12)
    torch.testing.assert_close(BidirectionalFusion(8, 4)(features), features)


def test_trained_fusion_carries_a_face_to_its_neighbours_only():
    torch.manual_seed(0)
    fusion = BidirectionalFusion(4, 4)
    torch.nn.init.normal_(fusion.conv_out.weight, std=0.3)
    features = torch.zeros(1, 6, 4, 16, 16)
    changed = features.clone()
    changed[:, 0] += 1
    difference = (fusion(changed) - fusion(features) - (changed - features))[0].abs().amax((1, 2, 3))
    assert (difference[[0, 1, 3, 4, 5]] > 1e-3).all()  # F itself and R L U D
    assert difference[2] < 1e-6  # B is two seams away


def test_encoder_has_the_published_pyramid():
    encoder = EfficientNetLite0().eval()
    taps = encoder(torch.rand(1, 3, 64, 96))
    assert [t.shape[1] for t in taps] == list(TAP_CHANNELS)
    assert [tuple(t.shape[2:]) for t in taps] == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    classifier = 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    assert sum(p.numel() for p in encoder.parameters()) + classifier == 4_652_008  # EfficientNet-Lite0's own count


def test_network_output_shapes_and_a_bad_input():
    network = CubeScaffold(TINY).eval()
    out = network(torch.rand(2, 6, 3, 32, 32))
    assert out.log_distance.shape == out.sky_logit.shape == (2, 32, 64)
    assert out.face_log_distance.shape == (2, 6, 16, 16)
    with pytest.raises(ValueError, match="multiple of 32"):
        network(torch.rand(1, 6, 3, 40, 40))


def test_without_joint_attention_and_fusion_the_faces_do_not_talk():
    torch.manual_seed(0)
    network = CubeScaffold(CubeScaffoldConfig(**{**TINY.__dict__, "joint": False, "fusion": False})).eval()
    faces = torch.rand(1, 6, 3, 32, 32)
    other = faces.clone()
    other[:, 0] = 1 - other[:, 0]
    change = (network(faces).face_log_distance - network(other).face_log_distance).abs().amax((2, 3))[0]
    assert change[0] > 1e-6
    assert change[1:].max() == 0


def test_network_overfits_one_room():
    torch.manual_seed(0)
    network = CubeScaffold(TINY)
    directions = directions_from_panorama((32, 64))
    distance = 1 / (directions.abs() / torch.tensor([2.0, 1.0, 3.0])).amax(-1)  # a box
    rgb = 0.5 + 0.5 * directions.permute(2, 0, 1)
    faces = faces_from_panorama(rgb, 32, 95)[None]
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = (network(faces).log_distance[0] - distance.log()).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < losses[0]


def test_weights_survive_a_round_trip_and_a_misfit_is_named(tmp_path):
    network = CubeScaffold(TINY)
    path = tmp_path / "weights with space é.safetensors"
    path.write_bytes(half_bytes(network, {"licence": "Apache-2.0"}))
    other = CubeScaffold(TINY)
    load_into(other, path)
    for key, value in network.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value.half().to(value.dtype))
    assert compare_keys(other, read_state_dict(path)).fits
    with pytest.raises(ValueError, match=r"do not fit CubeScaffold: .*missing"):
        load_into(CubeScaffold(CubeScaffoldConfig(**{**TINY.__dict__, "depth": 2})), path)


@pytest.mark.parametrize("content", [b"", b"not a file of weights", b"\x80\x04K\x01."])
def test_a_broken_weight_file_is_refused(tmp_path, content):
    for suffix in (".safetensors", ".pt"):
        path = tmp_path / f"broken{suffix}"
        path.write_bytes(content)
        with pytest.raises(ValueError, match="weights"):
            read_state_dict(path)
    with pytest.raises(FileNotFoundError, match="weights file not found"):
        read_state_dict(tmp_path / "absent.pt")


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="weights"):
        read_state_dict(tmp_path / "evil.pt")


@pytest.mark.parametrize("face_px", [8, 31, 64])
def test_every_direction_is_owned_once(face_px):
    keep = owned_pixels(face_px, 95)
    inside = torch.tan(torch.tensor(math.radians(47.5))).item()
    line = ((torch.arange(face_px) + 0.5) / face_px * 2 - 1) * inside
    per_side = int((line.abs() < 1).sum())
    assert keep.sum().item() == 6 * per_side**2


def box_faces(face_px):
    directions = face_directions(face_px, 95, dtype=torch.float64)
    return 1 / (directions.abs() / torch.tensor([2.0, 1.0, 3.0], dtype=torch.float64)).amax(-1)


def test_normals_of_a_box_face_the_centre():
    normal = surface_normals(box_faces(65), 95)
    torch.testing.assert_close(normal[0, 32, 32], torch.tensor([0, 0, -1.0], dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(normal[4, 32, 32], torch.tensor([0, 1.0, 0], dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(normal.norm(dim=-1), torch.ones(6, 65, 65, dtype=torch.float64))


def test_lifted_gaussians_lie_on_the_surface_thin_along_its_normal():
    distance = box_faces(32)
    faces = torch.rand(6, 3, 32, 32, dtype=torch.float64)
    gaussians = lift_faces(faces, distance, torch.zeros_like(distance, dtype=torch.bool), 95)
    on_box = (gaussians.means.abs() / torch.tensor([2.0, 1.0, 3.0], dtype=torch.float64)).amax(-1)
    torch.testing.assert_close(on_box, torch.ones_like(on_box))
    assert len(gaussians) == int(owned_pixels(32, 95).sum())
    torch.testing.assert_close(gaussians.rgb, faces.permute(0, 2, 3, 1)[owned_pixels(32, 95)])
    ratio = gaussians.scales / gaussians.scales[:, 1:2]
    torch.testing.assert_close(ratio[:, 2], torch.full_like(ratio[:, 2], LiftConfig().thickness))
    assert (ratio[:, 0] >= 1 - 1e-9).all() and (ratio[:, 0] <= LiftConfig().max_stretch + 1e-9).all()
    with pytest.raises(ValueError, match="finite and > 0"):
        lift_faces(faces, distance * float("nan"), torch.zeros_like(distance, dtype=torch.bool), 95)


def test_no_crack_opens_where_faces_meet():
    face_px = 64  # the last pixels before the border end 0.3 pixels short of it on either side
    one = torch.ones(6, face_px, face_px)
    gaussians = lift_faces(torch.ones(6, 3, face_px, face_px), one, one < 0, 95)
    pose = torch.eye(4)[None]
    pose[0, :3, :3] = matrix_from_yaw_pitch_roll(torch.tensor([math.pi / 4, 0.0, 0.0]))  # towards the border of F and R
    close = Cameras(world_from_cam=pose, K=intrinsics_from_fov(10.0, (174, 174))[None], hw=(174, 174))
    alpha = render(gaussians, close).alpha[0]
    assert alpha[:, 77:97].mean() > alpha[:, :40].mean() - 0.02


def test_edges_become_crisp_and_planes_stay():
    x = torch.zeros(32, 64)
    x[:, 30:] = 1.0
    ramp = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(x[None], (2, 2, 2, 2), mode="replicate"), 5, 1)[0]
    sharp = sharpen_edges(ramp)
    middle = sharp[8:24, 8:56]
    assert ((middle - middle.round()).abs() < 1e-3).all()
    slope = torch.linspace(0, 3.0, 32)[:, None].expand(32, 64).contiguous()  # steeper than the threshold, no edge
    torch.testing.assert_close(sharpen_edges(slope)[8:-8], slope[8:-8])


def test_upsampling_follows_the_colour_edge():
    guide = torch.zeros(3, 32, 64)
    guide[:, :, 30:50] = 1.0
    coarse = torch.nn.functional.interpolate(guide[:1][None], size=(8, 16), mode="area")[0]
    up = joint_bilateral_upsample(coarse, guide)
    plain = resize_panorama(coarse, (32, 64))
    assert (up - guide[:1]).abs().mean() < 0.5 * (plain - guide[:1]).abs().mean()
    constant = joint_bilateral_upsample(torch.full((1, 8, 16), 3.0), guide)
    torch.testing.assert_close(constant, torch.full((1, 32, 64), 3.0))
