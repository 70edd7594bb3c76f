"""The free variables of a fit, and the Gaussians they stand for."""

from __future__ import annotations

import torch
from torch import Tensor

from onescene.stages.refine.adam import Adam
from onescene.stages.refine.config import RefineConfig
from onescene.stages.refine.distance_field import DistanceField
from onescene.types import Gaussians

ALMOST = 1e-4  # opacities are kept this far from 0 and 1, where the logit is infinite


class FreeGaussians:
    """Gaussians under Adam: offsets [own sizes], quats, log scales, logit opacities, sh. Rows may come and go.

    Where a config asks for it, a :class:`DistanceField` multiplies their distances from the origin and their sizes.

    Args:
        start: Where the fit begins.
        config: Learning rates.
    """

    def __init__(self, start: Gaussians, config: RefineConfig) -> None:
        rates = {
            "offsets": config.lr_means,
            "quats": config.lr_quats,
            "scales": config.lr_scales,
            "opacities": config.lr_opacities,
            "sh_base": config.lr_sh,
            "sh_rest": config.lr_sh / 20,
        }
        self.field = DistanceField(start.means, config.lr_distance) if config.lr_distance > 0 else None
        free, self.base = self._raw_of(start)
        self.adam = {name: Adam(tensor.requires_grad_(True), rates[name]) for name, tensor in free.items()}

    def __len__(self) -> int:
        return len(self.base["means"])

    @torch.no_grad()
    def _raw_of(self, gaussians: Gaussians) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Free variables of Gaussians by name, and the rows that they are measured from."""
        places = {} if self.field is None else {"places": self.field.places(gaussians.means)}
        factors = self._factors(places)
        free = {
            "offsets": torch.zeros_like(gaussians.means),
            "quats": gaussians.quats,
            "scales": (gaussians.scales / factors).clamp_min(1e-12).log(),
            "opacities": torch.logit(gaussians.opacities.clamp(ALMOST, 1 - ALMOST)),
            "sh_base": gaussians.sh[:, :1],
            "sh_rest": gaussians.sh[:, 1:],
        }
        size = gaussians.scales.mean(-1, keepdim=True) / factors
        base = {"means": gaussians.means / factors, "size": size, **places}
        return {k: t.clone() for k, t in free.items()}, {k: t.clone() for k, t in base.items()}

    def _factors(self, base: dict[str, Tensor]) -> Tensor | float:
        return 1.0 if self.field is None else self.field.factors(base["places"])

    def gaussians(self) -> Gaussians:
        """The Gaussians as they are now, differentiable in the free variables."""
        raw = {name: adam.parameter for name, adam in self.adam.items()}
        factors = self._factors(self.base)
        return Gaussians(
            means=(self.base["means"] + raw["offsets"] * self.base["size"]) * factors,
            quats=raw["quats"],
            scales=raw["scales"].exp() * factors,
            opacities=torch.sigmoid(raw["opacities"]),
            sh=torch.cat((raw["sh_base"], raw["sh_rest"]), dim=1) if raw["sh_rest"].shape[1] else raw["sh_base"],
        )

    @torch.no_grad()
    def snapshot(self) -> Gaussians:
        """A copy that later steps leave alone."""
        now = self.gaussians()
        return Gaussians(**{name: getattr(now, name).clone() for name in now.__dataclass_fields__})

    def grad_means(self) -> Tensor:
        """Gradient of the loss by the means [N, 3], between the backward pass and the step."""
        return self.adam["offsets"].parameter.grad / self.reach()

    @torch.no_grad()
    def reach(self) -> Tensor:
        """How far an offset of 1 moves each Gaussian [N, 1], in world units."""
        return self.base["size"] * self._factors(self.base)

    def step(self, rate: float) -> None:
        """One step of Adam for every variable."""
        for adam in self.adam.values():
            if adam.parameter.numel():
                adam.step(rate)
        if self.field is not None:
            self.field.step(rate)

    def keep(self, rows: Tensor) -> None:
        """Drops all Gaussians but these (a mask or indices)."""
        self.base = {name: tensor[rows] for name, tensor in self.base.items()}
        for adam in self.adam.values():
            adam.keep(rows)

    def append(self, gaussians: Gaussians) -> None:
        """Adds Gaussians behind the others."""
        free, base = self._raw_of(gaussians)
        self.base = {name: torch.cat((tensor, base[name])) for name, tensor in self.base.items()}
        for name, adam in self.adam.items():
            adam.append(free[name])

    def overwrite(self, index: Tensor, gaussians: Gaussians) -> None:
        """Puts Gaussians in the place of those that ``index`` names, each once."""
        free, base = self._raw_of(gaussians)
        for name, tensor in self.base.items():
            tensor[index] = base[name]
        for name, adam in self.adam.items():
            adam.overwrite(index, free[name])

    def state_dict(self) -> dict:
        """A copy of everything that a resumed fit needs."""
        return {
            "base": {name: tensor.clone() for name, tensor in self.base.items()},
            "adam": {name: adam.state_dict() for name, adam in self.adam.items()},
            "field": None if self.field is None else self.field.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Goes on from a saved state."""
        self.base = {name: state["base"][name].to(tensor, copy=True) for name, tensor in self.base.items()}
        for name, adam in self.adam.items():
            adam.load_state_dict(state["adam"][name])
        if self.field is not None:
            self.field.load_state_dict(state["field"])
