"""Windows: equal to max pooling, on any batch shape, with gradients where it has them."""

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import TypeCheckError

from onescene.geometry.windows import greatest_around, least_around


@pytest.mark.parametrize("reach", [0, 1, 3])
@pytest.mark.parametrize("batch", [(), (2,), (3, 2)])
def test_windows_are_those_of_max_pooling(batch, reach):
    x = torch.randn(*batch, 9, 12, generator=torch.Generator().manual_seed(reach))
    flat = x.reshape(-1, 1, 9, 12)
    expected = F.max_pool2d(flat, 2 * reach + 1, stride=1), -F.max_pool2d(-flat, 2 * reach + 1, stride=1)
    for found, pooled in zip((greatest_around(x, reach), least_around(x, reach)), expected, strict=True):
        assert torch.equal(found, pooled.reshape(*batch, 9 - 2 * reach, 12 - 2 * reach))


def test_the_gradient_goes_to_the_greatest():
    x = torch.zeros(3, 3)
    x[2, 0] = 1.0
    x.requires_grad_(True)
    greatest_around(x, 1).sum().backward()
    assert torch.equal(x.grad.nonzero(), torch.tensor([[2, 0]]))


def test_true_and_whole_numbers_too():
    x = torch.arange(12).reshape(3, 4)
    assert torch.equal(greatest_around(x, 1), torch.tensor([[10, 11]]))
    assert torch.equal(least_around(x > 5, 1), torch.tensor([[False, False]]))


def test_a_single_row_without_a_column_is_refused():
    with pytest.raises((ValueError, TypeCheckError)):
        greatest_around(torch.zeros(5), 1)


@pytest.mark.parametrize(("shape", "reach"), [((3, 4), 2), ((4, 4), -1)])
def test_maps_smaller_than_a_window_are_refused(shape, reach):
    with pytest.raises(ValueError, match="maps must be at least one window of"):
        greatest_around(torch.zeros(shape), reach)
