"""What the notebooks look into: attention across faces, what the fusion carries, a training's log."""

import json
from dataclasses import replace

import pytest
import torch
from golden_weights import fill
from test_one2scene import TINY
from test_scaffold_stage import TINY as CUBE_TINY
from test_vggt import waves
from torch.testing import assert_close

from onescene.models.one2scene import One2Scene
from onescene.models.scaffold import CubeScaffold
from onescene.models.scaffold_insight import attention_of_patch, without_fusion
from onescene.models.vggt.aggregator import SPECIAL
from onescene.models.vggt.blocks import rope_tables, rotate
from onescene.pipeline.training_log import losses_of, read_log


@torch.no_grad()
def test_attention_of_the_cube_network_by_hand():
    network, faces, seen = CubeScaffold(CUBE_TINY).eval(), waves(6, (64, 64)), []
    network.blocks[-1].register_forward_pre_hook(lambda block, given: seen.append(given[0]))
    found = attention_of_patch(network, faces[0], (2, 1, 3))
    block, x = network.blocks[-1], seen[0]
    q, k, _ = block.qkv(block.norm1(x)).unflatten(-1, (3, block.heads, -1)).permute(2, 0, 3, 1, 4)
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)[0].mean(0)
    assert_close(found, weights[2 * 16 + 4 + 3].reshape(6, 4, 4))
    assert found.sum() == pytest.approx(1, abs=1e-5)


@torch.no_grad()
def test_attention_of_the_papers_network_by_hand():
    network, faces, seen = fill(One2Scene(TINY)), waves(6, (64, 64)), []
    attention = network.aggregator.global_blocks[0].attn
    attention.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    found = attention_of_patch(network, faces[0], (4, 0, 2), layer=0)
    q, k, _ = attention.qkv(seen[0]).unflatten(-1, (3, attention.heads, -1)).permute(2, 0, 3, 1, 4)
    rope = tuple(table.repeat(6, 1) for table in rope_tables((4, 4), q.shape[-1], SPECIAL, q))
    q, k = rotate(attention.q_norm(q), rope), rotate(attention.k_norm(k), rope)
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)[0].mean(0)[4 * (16 + SPECIAL) + SPECIAL + 2]
    assert_close(found, weights.reshape(6, -1)[:, SPECIAL:].reshape(6, 4, 4))


@pytest.mark.parametrize(
    ("network", "patch", "layer", "words"),
    [
        (CubeScaffold(replace(CUBE_TINY, joint=False)), (0, 0, 0), -1, "this one has no joint attention"),
        (CubeScaffold(CUBE_TINY), (0, 0, 4), -1, "a row and a column of 4"),
        (CubeScaffold(CUBE_TINY), (0, 0, 0), 7, "layer must be one of 1"),
    ],
)
def test_what_can_not_be_looked_at_is_named(network, patch, layer, words):
    with pytest.raises(ValueError, match=words):
        attention_of_patch(network.eval(), waves(6, (64, 64))[0], patch, layer)


@torch.no_grad()
def test_without_fusion_is_the_network_that_has_none():
    network, faces = fill(One2Scene(TINY)), waves(6, (32, 32))
    plain = One2Scene(replace(TINY, fusion=())).eval()
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("fusion.")})
    before = network(faces).distance
    assert_close(without_fusion(network)(faces).distance, plain(faces).distance)
    assert torch.equal(network(faces).distance, before)
    assert (before.log() - plain(faces).distance.log()).abs().mean() > 1e-3
    cube = fill(CubeScaffold(CUBE_TINY))
    silent = without_fusion(cube)
    assert (cube(faces).log_distance - silent(faces).log_distance).abs().mean() > 1e-4
    assert not silent.sphere_out.weight.any()


def test_a_log_is_read_while_it_is_written(tmp_path):
    lines = [{"step": n, "lr": 0.1 * n, "seconds": 1.0, "total": 5.0 - n} for n in (1, 2, 3)]
    again = {"step": 2, "lr": 0.2, "seconds": 7.0, "total": 9.0}
    text = [json.dumps(line) for line in (*lines, again)]
    (tmp_path / "log.jsonl").write_text("\n".join(text) + '\n{"step": 4, "lr"')
    log = read_log(tmp_path)
    assert [entry["step"] for entry in log] == [1, 2, 3]
    assert losses_of(log) == ([{"total": 4.0}, {"total": 9.0}, {"total": 2.0}], [0.1, 0.2, pytest.approx(0.3)])
    with pytest.raises(FileNotFoundError, match="no log of a training"):
        read_log(tmp_path / "none")
