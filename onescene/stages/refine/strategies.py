"""Which Gaussians come and go during a fit: none, as 3D Gaussian Splatting, or as 3DGS-MCMC. Names are gsplat's."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.geometry.rotations import matrix_from_quaternion
from onescene.stages.refine.config import DefaultConfig, McmcConfig, RefineConfig
from onescene.stages.refine.free import FreeGaussians
from onescene.types import Cameras, Gaussians

SPLIT_SHRINK = 1.6  # 3DGS, Sec. 5.2: the two halves are so many times smaller
RESET_OPACITY = 2.0  # times prune_opacity: where opacities are reset to, as gsplat


class NoStrategy:
    """Gaussians stay as many as they are. Also: what every strategy can do."""

    def regulariser(self, gaussians: Gaussians) -> Tensor | float:
        """What the strategy adds to the loss."""
        return 0.0

    def before_step(self, free: FreeGaussians, camera: Cameras) -> None:
        """Called between the backward pass and the step, with the camera of the view."""

    def after_step(self, free: FreeGaussians, step: int, rate: float, generator: torch.Generator) -> None:
        """Called after the step that makes ``step`` steps; ``rate`` is the share that learning rates have fallen to."""

    def state_dict(self) -> dict:
        """A copy of everything that a resumed fit needs."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Goes on from a saved state."""


def make_strategy(config: RefineConfig, extent: float) -> NoStrategy:
    """The strategy that a config names; thresholds in ``extent`` [world units]."""
    if config.strategy == "default":
        return DefaultStrategy(config.default, config.steps, extent)
    return McmcStrategy(config.mcmc, config.steps, extent) if config.strategy == "mcmc" else NoStrategy()


def screen_gradients(
    grad_means: Float[Tensor, "n 3"], means: Float[Tensor, "n 3"], camera: Cameras
) -> Float[Tensor, "n 2"]:
    """Gradient of the loss by the Gaussians' places on the screen [loss per half image width and height].

    A place moves by f / z pixels per unit along the camera's x or y axis, so the gradient along these axes times z / f
    is that by the place.

    Args:
        grad_means: Gradient by the means in the world.
        means: Where they are.
        camera: Exactly one.

    Notes: moving a mean also turns the linearised projection and, above degree 0, the colour; that part, of the order
    of size over depth, is counted too. gsplat leaves it out.
    """
    rotation, K = camera.world_from_cam[0, :3, :3], camera.K[0]
    depth_z = (means - camera.world_from_cam[0, :3, 3]) @ rotation[:, 2]
    half_size = torch.tensor([camera.hw[1] / 2, camera.hw[0] / 2]).to(means)
    return (grad_means @ rotation)[:, :2] * depth_z[:, None] / K.diagonal()[:2] * half_size


def _is_time(step: int, steps: int, config: DefaultConfig | McmcConfig) -> bool:
    inside = config.refine_start * steps < step < config.refine_stop * steps
    return inside and step % config.refine_every == 0


class DefaultStrategy(NoStrategy):
    """Clone and split where the picture pulls, prune what is faint or huge, reset opacities (3DGS, Sec. 5.2).

    Notes: a Gaussian counts as seen where its gradient is not zero; gsplat also counts views that have it in the
    picture, but behind others.
    """

    def __init__(self, config: DefaultConfig, steps: int, extent: float) -> None:
        self.config, self.steps, self.extent = config, steps, extent
        self.pull = self.seen = torch.zeros(0)

    def before_step(self, free: FreeGaussians, camera: Cameras) -> None:
        """Adds up how hard the view pulls at every Gaussian."""
        means = free.gaussians().means.detach()
        if len(self.pull) != len(means):
            self.pull, self.seen = torch.zeros_like(means[:, 0]), torch.zeros_like(means[:, 0])
        pull = screen_gradients(free.grad_means(), means, camera).norm(dim=-1)
        self.pull += pull
        self.seen += pull > 0

    def after_step(self, free: FreeGaussians, step: int, rate: float, generator: torch.Generator) -> None:
        """Grows and prunes when it is time."""
        if _is_time(step, self.steps, self.config):
            self._grow(free, generator)
            self._prune(free, step)
            self.pull = self.seen = torch.zeros(0)
        if step % self.config.reset_every == 0 and step < self.config.refine_stop * self.steps:
            limit = torch.logit(torch.tensor(RESET_OPACITY * self.config.prune_opacity))
            opacities = free.adam["opacities"]
            opacities.overwrite(torch.arange(len(free)), opacities.parameter.detach().clamp_max(float(limit)))

    def _grow(self, free: FreeGaussians, generator: torch.Generator) -> None:
        """Clones small Gaussians that are pulled hard, splits large ones; the new ones stand at the end."""
        now, before = free.snapshot(), len(free)
        pulled = self.pull / self.seen.clamp_min(1) > self.config.grow_grad2d
        small = now.scales.amax(-1) <= self.config.grow_scale3d * self.extent
        clones, whole = now.select(pulled & small), now.select(pulled & ~small)
        free.append(Gaussians.cat([clones, *(self._half(whole, generator) for _ in range(2))]))
        stay = torch.ones(len(free), dtype=torch.bool, device=small.device)
        stay[:before] = ~(pulled & ~small)
        free.keep(stay)

    @staticmethod
    def _half(whole: Gaussians, generator: torch.Generator) -> Gaussians:
        """One half of split Gaussians: smaller, at a place drawn from the whole."""
        noise = torch.randn(whole.means.shape, generator=generator).to(whole.means)
        shift = (matrix_from_quaternion(whole.quats) @ (whole.scales * noise)[..., None])[..., 0]
        return replace(whole, means=whole.means + shift, scales=whole.scales / SPLIT_SHRINK)

    def _prune(self, free: FreeGaussians, step: int) -> None:
        now = free.snapshot()
        good = now.opacities >= self.config.prune_opacity
        if step > self.config.reset_every:
            good &= now.scales.amax(-1) <= self.config.prune_scale3d * self.extent
        if good.any():
            free.keep(good)

    def state_dict(self) -> dict:
        """A copy of everything that a resumed fit needs."""
        return {"pull": self.pull.clone(), "seen": self.seen.clone()}

    def load_state_dict(self, state: dict) -> None:
        """Goes on from a saved state."""
        self.pull, self.seen = state["pull"].clone(), state["seen"].clone()


def relocated(
    opacities: Float[Tensor, " n"], scales: Float[Tensor, "n 3"], copies: Float[Tensor, " n"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]:
    """Opacities and scales with which ``copies`` Gaussians in one place look as the one did (Eq. 9 of 3DGS-MCMC).

    Args:
        opacities: Of the one, in (0, 1).
        scales: Of the one [world units].
        copies: How many there are in its place from now on, >= 1.
    """
    new = 1 - (1 - opacities.double()) ** (1 / copies.double())
    area = torch.zeros_like(new)
    for i in range(1, int(copies.max()) + 1 if len(copies) else 1):  # sum over i of sum over k, both of the paper
        k = torch.arange(i, dtype=new.dtype, device=new.device)
        ways = torch.exp(torch.lgamma(torch.tensor(float(i))) - torch.lgamma(k + 1) - torch.lgamma(i - k))
        terms = ways * (-1) ** k * new[:, None] ** (k + 1) / (k + 1).sqrt()
        area += torch.where(copies >= i, terms.sum(-1), torch.zeros_like(area))
    return new.to(opacities), (opacities.double() / area)[:, None].to(scales) * scales


class McmcStrategy(NoStrategy):
    """Dead Gaussians move to live ones, as many as the cap allows are added, means are stirred (3DGS-MCMC)."""

    MOST_COPIES = 51  # gsplat's: as many binomials are tabulated there
    STILL = 0.1  # Gaussians of a higher opacity are not stirred: their gate is below 1e-4

    def __init__(self, config: McmcConfig, steps: int, extent: float) -> None:
        self.config, self.steps, self.extent = config, steps, extent

    def regulariser(self, gaussians: Gaussians) -> Tensor | float:
        """Mean opacity and mean scale, weighted."""
        config = self.config
        scale = gaussians.scales.mean() / self.extent
        return config.opacity_reg * gaussians.opacities.mean() + config.scale_reg * scale

    def after_step(self, free: FreeGaussians, step: int, rate: float, generator: torch.Generator) -> None:
        """Relocates and adds when it is time, and stirs."""
        if _is_time(step, self.steps, self.config):
            self._relocate(free, generator)
            self._add(free, generator)
        self._stir(free, rate, generator)

    def _relocate(self, free: FreeGaussians, generator: torch.Generator) -> None:
        now = free.snapshot()
        dead = torch.nonzero(now.opacities <= self.config.min_opacity)[:, 0]
        alive = now.opacities * (now.opacities > self.config.min_opacity)
        if len(dead) and bool(alive.any()):
            free.overwrite(dead, self._share(free, now, alive, len(dead), generator))

    def _add(self, free: FreeGaussians, generator: torch.Generator) -> None:
        count = min(self.config.cap_max, int(self.config.growth * len(free))) - len(free)
        if count > 0:
            now = free.snapshot()
            free.append(self._share(free, now, now.opacities, count, generator))

    def _share(
        self, free: FreeGaussians, now: Gaussians, chances: Tensor, count: int, generator: torch.Generator
    ) -> Gaussians:
        """Draws Gaussians to be doubled, makes them paler and of the size that keeps the picture, returns copies."""
        drawn = draw(chances, count, generator)
        times = torch.bincount(drawn, minlength=len(now)) + 1
        chosen = torch.nonzero(times > 1)[:, 0]
        copies = times[chosen].clamp_max(self.MOST_COPIES).to(now.opacities)
        new, scales = relocated(now.opacities[chosen].clamp_max(1 - 1e-6), now.scales[chosen], copies)
        opacities = new.clamp(self.config.min_opacity, 1 - 1e-6)
        changed = replace(now.select(chosen), opacities=opacities, scales=scales)
        free.overwrite(chosen, changed)
        place = torch.empty(len(now), dtype=torch.long, device=chosen.device)
        place[chosen] = torch.arange(len(chosen), device=chosen.device)
        return changed.select(place[drawn])

    @torch.no_grad()
    def _stir(self, free: FreeGaussians, rate: float, generator: torch.Generator) -> None:
        """Moves faint Gaussians at random, each within its own shape (Eq. 8)."""
        opacities = torch.sigmoid(free.adam["opacities"].parameter)
        faint = torch.nonzero(opacities < self.STILL)[:, 0]
        if not len(faint):
            return
        now = free.snapshot().select(faint)
        axes = matrix_from_quaternion(now.quats) * now.scales[:, None, :]
        gate = torch.sigmoid(-100 * (now.opacities - self.config.min_opacity))
        noise = torch.randn(now.means.shape, generator=generator).to(now.means) * gate[:, None]
        shift = (axes @ (axes.transpose(1, 2) @ noise[..., None]))[..., 0] * self.config.noise * rate / self.extent
        free.adam["offsets"].parameter[faint] += shift / free.reach()[faint]


def draw(chances: Float[Tensor, " n"], count: int, generator: torch.Generator) -> Tensor:
    """Indices drawn with replacement, each as likely as its chance (torch.multinomial ends at 2^24 of them)."""
    sums = chances.double().cumsum(0)
    at = torch.rand(count, generator=generator, dtype=torch.float64).to(sums) * sums[-1]
    return torch.searchsorted(sums, at, right=True).clamp_max(len(sums) - 1)
