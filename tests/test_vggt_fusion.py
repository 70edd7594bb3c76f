"""Bidirectional fusion in VGGT's depth head: silent when fresh, under its own keys, and doing what Eq. 1 says."""

from dataclasses import replace

import pytest
import torch
from test_vggt import TINY, filled, waves
from torch.testing import assert_close

from onescene.models.vggt import VGGT
from onescene.models.vggt.dpt import DPTHead
from onescene.models.vggt.weights import load_public

FACES = replace(TINY, patch_embed="conv", depth=2, intermediate_layer_idx=(0, 0, 1, 1))


def with_fusion(*maps: str) -> VGGT:
    """VGGT with the golden rule's weights and a fresh fusion of these maps."""
    network = VGGT(replace(FACES, fusion=maps)).eval()
    left = network.load_state_dict(filled(FACES).state_dict(), strict=False)
    assert not left.unexpected_keys
    assert left.missing_keys and all(k.startswith(VGGT.NEW_PREFIXES) for k in left.missing_keys)
    return network


@pytest.mark.parametrize("name", DPTHead.MAPS)
def test_a_fresh_fusion_leaves_the_output_unchanged(name):
    images = waves(6, (56, 56))
    with torch.no_grad():
        plain, fused = filled(FACES)(images), with_fusion(name)(images)
    assert torch.equal(fused.depth_z, plain.depth_z)
    assert torch.equal(fused.pose_encoding, plain.pose_encoding)


@pytest.mark.parametrize("name", DPTHead.MAPS)
def test_a_fusion_that_learned_acts_and_gets_gradients(name):
    network, images = with_fusion(name), waves(6, (56, 56))
    with torch.no_grad():
        before = network(images).depth_z
        torch.nn.init.normal_(network.fusion[name].conv_out.weight, std=0.1)
    after = network(images).depth_z
    assert (after.log() - before.log()).abs().mean() > 1e-4
    after.log().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.fusion.parameters())


def test_faces_reach_each_other_only_through_the_fusion():
    """In the depth head a change to one face's tokens stays in that face, unless the maps are fused."""
    network = with_fusion("refinenet1")
    torch.nn.init.normal_(network.fusion["refinenet1"].conv_out.weight, std=0.1)
    layers = [torch.randn(1, 6, 5 + 16, 128, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    other = [layer.clone() for layer in layers]
    for layer in other:
        layer[:, 0] = layer[:, 0].flip(-1)  # the front face
    with torch.no_grad():
        for fused in (False, True):
            a, b = (network._dense(network.depth_head, x, (56, 56), fused) for x in (layers, other))
            changed = (a - b).abs().amax((0, 2, 3, 4)) > 1e-5
            assert changed.tolist() == [True, fused, False, fused, fused, fused]


def test_scenes_stay_apart():
    network = with_fusion("refinenet1", "layer2_rn")
    for fusion in network.fusion.values():
        torch.nn.init.normal_(fusion.conv_out.weight, std=0.1)
    a, b = waves(6, (56, 56)), 1 - waves(6, (56, 56))
    with torch.no_grad():
        both, alone = network(torch.cat((a, b))), network(b)
    assert_close(both.depth_z[1:], alone.depth_z, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("shape", [(1, 5, 3, 56, 56), (1, 6, 3, 56, 42)])
def test_fusion_needs_six_square_faces(shape):
    with pytest.raises(ValueError, match="six square faces"):
        with_fusion("refinenet1")(torch.zeros(shape))


def test_an_unknown_map_is_refused():
    with pytest.raises(ValueError, match=r"fusion must name maps of layer4_rn, .*, got 'refinenet9'"):
        VGGT(replace(FACES, fusion=("refinenet1", "refinenet9")))


def test_public_weights_load_beside_a_fusion(tmp_path):
    state = filled(replace(FACES, point_head=True)).state_dict() | {"track_head.tracker.fmap_norm.bias": torch.ones(3)}
    torch.save(state, tmp_path / "model.pt")
    network = VGGT(replace(FACES, fusion=("refinenet1",))).eval()
    unread = load_public(network, tmp_path / "model.pt")
    assert {k.partition(".")[0] for k in unread} == {"point_head", "track_head"}
    with torch.no_grad():
        images = waves(6, (56, 56))
        assert torch.equal(network(images).depth_z, filled(FACES)(images).depth_z)


def test_weights_of_another_size_are_refused_and_nothing_is_loaded(tmp_path):
    state = filled(FACES).state_dict()
    del state["aggregator.camera_token"]
    torch.save(state | {"head.bias": torch.ones(1)}, tmp_path / "model.pt")
    network = VGGT(FACES)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    words = r"1 missing \(first: aggregator.camera_token\), 1 unexpected \(first: head.bias\)"
    with pytest.raises(ValueError, match=words):
        load_public(network, tmp_path / "model.pt")
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
