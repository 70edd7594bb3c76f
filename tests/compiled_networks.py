"""``torch.compile`` takes the scaffold's networks as one graph, fusion and Gaussian heads included.

Run by ``test_compile.py`` in a process without the shape checker, which no compiler can look through.
"""

import pytest
import torch
from golden_weights import fill
from test_one2scene import TINY
from test_vggt import waves
from torch.testing import assert_close

from onescene.geometry.cubemap import faces_from_panorama, panorama_from_faces
from onescene.models.one2scene import One2Scene
from onescene.models.scaffold.fusion import BidirectionalFusion


def compiled(call, backend: str):
    """One graph or an error; these backends trace as the real one does and make no machine code."""
    torch.compiler.reset()
    return torch.compile(call, fullgraph=True, backend=backend)


@pytest.mark.filterwarnings("error:Dynamo detected")
@torch.no_grad()
def test_the_small_network_is_one_graph():
    network, faces = fill(One2Scene(TINY)), waves(6, (32, 32))
    plain, graph = network(faces), compiled(network, "eager")(faces)
    assert_close(graph.distance, plain.distance)
    assert_close(graph.face_gaussians.sh, plain.face_gaussians.sh)


def test_gradients_go_through_the_graph_of_a_fusion():
    """``aot_eager`` traces backwards as well."""
    fusion, features = BidirectionalFusion(4, 2), torch.rand(1, 6, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.nn.init.normal_(fusion.conv_out.weight, std=0.1)
    found = []
    for call in (fusion, compiled(fusion, "aot_eager")):
        out = call(features)
        found.append((out, *torch.autograd.grad(out.square().sum(), fusion.parameters())))
    for plain, graph in zip(*found, strict=True):
        assert_close(graph, plain)


def test_a_second_size_compiles_too():
    """Tables are constants of their size; a compiler that took them for variable failed here."""

    def there_and_back(x):
        return faces_from_panorama(panorama_from_faces(x, (16, 32), 95.0), x.shape[-1], 95.0)

    graph = compiled(there_and_back, "aot_eager")
    for size in (8, 12, 10):
        x = torch.rand(6, 2, size, size, generator=torch.Generator().manual_seed(size))
        assert_close(graph(x), there_and_back(x))
