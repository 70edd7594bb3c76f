"""Adam for a tensor whose rows come and go."""

from __future__ import annotations

import torch
from torch import Tensor


class Adam:
    """Adam (Kingma and Ba 2015, Alg. 1) of one tensor; torch.optim's takes seconds to import its compiler.

    Args:
        parameter: A leaf that needs gradients.
        lr: Learning rate.
        betas: How slowly the two moments forget.
        eps: Added to the root of the second moment.
    """

    def __init__(self, parameter: Tensor, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-15):
        self.parameter, self.lr, self.betas, self.eps = parameter, lr, betas, eps
        self.mean, self.square, self.steps = torch.zeros_like(parameter), torch.zeros_like(parameter), 0

    @torch.no_grad()
    def step(self, rate: float = 1.0) -> None:
        """Moves the parameter by its gradient, ``rate`` times as fast as usual, and forgets the gradient."""
        grad, self.parameter.grad = self.parameter.grad, None
        self.steps += 1
        self.mean.lerp_(grad, 1 - self.betas[0])
        self.square.mul_(self.betas[1]).addcmul_(grad, grad, value=1 - self.betas[1])
        unbiased = [1 - beta**self.steps for beta in self.betas]
        spread = (self.square / unbiased[1]).sqrt_().add_(self.eps)
        self.parameter.addcdiv_(self.mean, spread, value=-self.lr * rate / unbiased[0])

    def keep(self, rows: Tensor) -> None:
        """Drops all rows but these (a mask or indices)."""
        self._replace(*(t.detach()[rows] for t in (self.parameter, self.mean, self.square)))

    def append(self, rows: Tensor) -> None:
        """Adds rows, without moments yet."""
        nothing = torch.zeros_like(rows)
        old = (self.parameter.detach(), self.mean, self.square)
        self._replace(*(torch.cat(pair) for pair in zip(old, (rows, nothing, nothing), strict=True)))

    @torch.no_grad()
    def overwrite(self, index: Tensor, rows: Tensor) -> None:
        """Gives rows new values and takes their moments."""
        self.parameter[index], self.mean[index], self.square[index] = rows, 0.0, 0.0

    def _replace(self, parameter: Tensor, mean: Tensor, square: Tensor) -> None:
        self.parameter, self.mean, self.square = parameter.requires_grad_(True), mean, square

    def state_dict(self) -> dict:
        """A copy of everything that a resumed fit needs."""
        tensors = {"parameter": self.parameter.detach(), "mean": self.mean, "square": self.square}
        return {name: t.clone() for name, t in tensors.items()} | {"steps": self.steps}

    def load_state_dict(self, state: dict) -> None:
        """Goes on from a saved state."""
        like = self.parameter
        self._replace(*(state[name].to(like, copy=True) for name in ("parameter", "mean", "square")))
        self.steps = int(state["steps"])
