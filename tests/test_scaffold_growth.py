"""Work grows with the number of panoramas, memory does not: counted, not timed."""

import weakref

import pytest
import torch
from golden_weights import fill
from test_one2scene import TINY
from test_vggt import waves
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from onescene.models.one2scene import One2Scene
from onescene.stages import scaffold
from onescene.stages.scaffold import ScaffoldConfig


class LiveBytes(TorchDispatchMode):
    """Bytes of the tensors made inside that are alive, and the most there were at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and (storage := tensor.untyped_storage()) not in self._known:
                size = storage.nbytes()
                self._known[storage] = size
                weakref.finalize(storage, self._gone, size)
                self.now += size
                self.peak = max(self.peak, self.now)
        return out

    def _gone(self, size: int) -> None:
        self.now -= size


def panoramas(count: int):
    for seed in range(count):
        yield torch.rand(3, 64, 128, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def network():
    return fill(One2Scene(TINY))


@torch.no_grad()
def test_memory_is_flat_in_panoramas(network):
    config = ScaffoldConfig(face_px=32, turns=1)
    scaffold.run(next(panoramas(1)), network, config)  # tables of the faces are made once and kept
    peaks = {}
    for count in (1, 3):
        for kept in (False, True):
            results = []
            with LiveBytes() as live:
                for rgb in panoramas(count):
                    out = scaffold.run(rgb, network, config)
                    if kept:
                        results.append(out)
                    del out
            peaks[count, kept] = live.peak
    assert peaks[3, False] <= 1.02 * peaks[1, False]
    assert peaks[3, True] > 1.1 * peaks[1, True]  # a result that is kept is seen


def test_work_is_proportional_to_panoramas(network):
    """Attention is over the six faces of one panorama, whatever their number."""
    operations = []
    for count in (1, 3):
        with FlopCounterMode(display=False) as counter:
            network(waves(6, (32, 32)).expand(count, -1, -1, -1, -1))
        operations.append(counter.get_total_flops())
    assert operations[0] > 1e7
    assert operations[1] == pytest.approx(3 * operations[0], rel=1e-3)  # what a direction is told is made once for all
