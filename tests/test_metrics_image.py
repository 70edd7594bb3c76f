"""Image metrics against cases done by hand and a slow twin that visits every window."""

from __future__ import annotations

import math

import pytest
import torch

from onescene.metrics import image_metrics, psnr, ssim_map


def random_pair(*shape: int, noise: float = 0.1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    true = torch.rand(*shape, generator=generator)
    return (true + noise * torch.randn(*shape, generator=generator)).clamp(0, 1), true


def slow_ssim(predicted: torch.Tensor, true: torch.Tensor, row: int, column: int) -> float:
    """SSIM of one pixel of one channel, by its definition, with zeros outside the image."""
    weights, pairs = [], []
    for dy in range(-5, 6):
        for dx in range(-5, 6):
            y, x = row + dy, column + dx
            inside = 0 <= y < true.shape[0] and 0 <= x < true.shape[1]
            pairs.append((predicted[y, x].item(), true[y, x].item()) if inside else (0.0, 0.0))
            weights.append(math.exp(-(dx * dx + dy * dy) / (2 * 1.5**2)))
    weights = [w / sum(weights) for w in weights]

    def mean(f):
        return sum(w * f(a, b) for w, (a, b) in zip(weights, pairs, strict=True))

    ma, mb = mean(lambda a, b: a), mean(lambda a, b: b)
    va, vb = mean(lambda a, b: (a - ma) ** 2), mean(lambda a, b: (b - mb) ** 2)
    cov = mean(lambda a, b: (a - ma) * (b - mb))
    top = (2 * ma * mb + 0.01**2) * (2 * cov + 0.03**2)
    return top / ((ma**2 + mb**2 + 0.01**2) * (va + vb + 0.03**2))


def test_psnr_by_hand() -> None:
    true = torch.full((3, 16, 16), 0.5)
    assert image_metrics(true + 0.1, true)["psnr_db"] == pytest.approx(20.0, abs=1e-4)
    assert image_metrics(true + 0.1, true)["mae"] == pytest.approx(0.1)
    torch.testing.assert_close(psnr(true + 0.01, true), torch.tensor([40.0], dtype=torch.float64), atol=1e-3, rtol=0)


def test_equal_images_get_the_cap_and_one() -> None:
    _, true = random_pair(2, 3, 16, 20)
    got = image_metrics(true, true)
    assert got["psnr_db"] == got["psnr_db_pooled"] == 100.0
    assert got["ssim_gauss11"] == pytest.approx(1.0)
    assert got["mae"] == 0.0
    assert all(type(value) is float for value in got.values())


def test_ssim_agrees_with_slow_twin() -> None:
    predicted, true = random_pair(1, 15, 17)
    predicted, true = predicted.double(), true.double()
    slow = [[slow_ssim(predicted[0], true[0], y, x) for x in range(17)] for y in range(15)]
    slow = torch.tensor(slow, dtype=torch.float64)
    torch.testing.assert_close(ssim_map(predicted, true)[0], slow, atol=1e-12, rtol=0)
    got = image_metrics(predicted, true)
    assert got["ssim_gauss11"] == pytest.approx(slow.mean().item(), abs=1e-6)
    assert got["ssim_gauss11_valid"] == pytest.approx(slow[5:-5, 5:-5].mean().item(), abs=1e-6)


def test_ssim_sees_structure_that_psnr_does_not() -> None:
    _, true = random_pair(3, 32, 32)
    shifted = true + 0.1  # the same structure, brighter
    noisy = true + 0.1 * torch.sign(torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(1)))
    a, b = image_metrics(shifted, true), image_metrics(noisy, true)
    assert a["psnr_db"] == pytest.approx(b["psnr_db"], abs=1e-3)
    assert a["ssim_gauss11"] > b["ssim_gauss11"] + 0.03


def test_batch_is_the_mean_over_images_and_pooling_is_not() -> None:
    predicted, true = random_pair(2, 3, 16, 16)
    predicted[1] = true[1] + 0.5 * (predicted[1] - true[1])
    each = [image_metrics(p, t) for p, t in zip(predicted, true, strict=True)]
    got = image_metrics(predicted[None], true[None])
    for key in ("psnr_db", "ssim_gauss11", "ssim_gauss11_valid", "mae"):
        assert got[key] == pytest.approx((each[0][key] + each[1][key]) / 2)
    mse = sum(10 ** (-m["psnr_db"] / 10) for m in each) / 2
    assert got["psnr_db_pooled"] == pytest.approx(-10 * math.log10(mse))
    assert got["psnr_db_pooled"] < got["psnr_db"] - 0.5


def test_mask_looks_only_inside() -> None:
    predicted, true = random_pair(2, 3, 24, 24)
    mask = torch.zeros(24, 24, dtype=torch.bool)
    mask[:, :12] = True
    broken = predicted.clone()
    broken[..., 18:] = 0.0  # more than half a window from the mask
    got, whole = image_metrics(predicted, true, mask=mask), image_metrics(predicted[..., :12], true[..., :12])
    assert got == image_metrics(broken, true, mask=mask)
    assert set(got) == {f"{key}_masked" for key in whole}
    assert got["psnr_db_masked"] == pytest.approx(whole["psnr_db"])
    each = image_metrics(predicted, true, mask=mask.expand(2, 24, 24))
    assert each == got


def test_ssim_map_has_gradients() -> None:
    predicted, true = (x.double() for x in random_pair(1, 12, 12))
    predicted.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: ssim_map(p, true).mean(), (predicted,))


def test_errors_name_the_argument() -> None:
    ones = torch.ones(3, 16, 16)
    with pytest.raises(ValueError, match="predicted must be finite"):
        image_metrics(ones * float("nan"), ones)
    with pytest.raises(ValueError, match="sides >= 11 px"):
        image_metrics(ones[:, :8, :8], ones[:, :8, :8])
    with pytest.raises(ValueError, match="mask must hold at least one pixel"):
        image_metrics(ones, ones, mask=torch.zeros(16, 16))


@pytest.mark.usefixtures("shapes_unchecked")
def test_shape_errors_name_both_shapes() -> None:
    ones = torch.ones(3, 16, 16)
    with pytest.raises(ValueError, match=r"one shape, got \(3, 16, 16\) and \(3, 16, 17\)"):
        image_metrics(ones, torch.ones(3, 16, 17))
    with pytest.raises(ValueError, match=r"mask must have shape \(16, 16\)"):
        image_metrics(ones, ones, mask=torch.ones(4, 4))
    with pytest.raises(ValueError, match=r"true must have shape \[\*, C, H, W\]"):
        psnr(ones[0], ones[0])
