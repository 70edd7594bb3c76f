"""The fit itself: one view per step, looks at all of them in between, resumable at any step."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from onescene.splatting import render
from onescene.stages.refine.config import SMALL, RefineConfig, check_config
from onescene.stages.refine.free import FreeGaussians
from onescene.stages.refine.loss import disparity_loss, photometric_loss
from onescene.stages.refine.strategies import make_strategy
from onescene.stages.refine.view_models import ViewModel, centre_exposures
from onescene.stages.refine.views import FitView, Supervision, list_views, scene_extent, shuffled, split_views
from onescene.types import Cameras, Gaussians


class AnotherFitError(ValueError):
    """A saved state does not belong to the fit that was to go on from it."""


@dataclass(frozen=True)
class RefineCheck:
    """A look at all views that judge: those held out, or all that are fitted to.

    Attributes:
        step: Steps done before it.
        loss: Weighted mean of the loss over the views, without the terms that only guide.
        psnr_db: Weighted mean of the PSNR over the views [dB].
    """

    step: int
    loss: float
    psnr_db: float


@dataclass(frozen=True)
class RefineOutput:
    """Fitted Gaussians.

    Attributes:
        gaussians: The best state seen.
        history: The looks at all views, the start first.
        losses: Loss of every step, each on its own view.
    """

    gaussians: Gaussians
    history: tuple[RefineCheck, ...]
    losses: Float[Tensor, " steps"]


@dataclass(frozen=True)
class Checkpoint:
    """How a fit is kept while it runs.

    Attributes:
        save: Called with a state (dicts, lists, numbers, tensors) that :meth:`Fit.load_state_dict` takes.
        resume: Such a state to go on from, or None.
        every_s: Seconds between two saves; a fit that takes less is never saved.
    """

    save: Callable[[dict], None]
    resume: dict | None = None
    every_s: float = 30.0


class Fit:
    """A fit that can be stepped through, watched, stopped and taken up again.

    Args:
        gaussians: The start.
        views: What they are fitted to, from :func:`list_views`.
        config: Everything else.

    Raises:
        ValueError: a setting is out of range, or no view is left to fit to.
    """

    def __init__(self, gaussians: Gaussians, views: Sequence[FitView], config: RefineConfig = SMALL) -> None:
        check_config(config)
        self.config, self.start = config, gaussians
        self.fitted, self.judges = split_views(views, config.hold_out)
        self.extent = scene_extent(views, gaussians.means)
        generator = torch.Generator().manual_seed(config.seed)
        self.models = [ViewModel(view, config, generator) for view in self.fitted]
        self.free = FreeGaussians(gaussians, config)
        self.strategy = make_strategy(config, self.extent)
        self.order = list(shuffled(len(self.fitted), config.steps, config.seed))
        self.losses: list[float] = []
        self.best: Gaussians | None = None  # None = the start
        self.history: list[RefineCheck] = []
        self.between_steps = True

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.losses)

    @property
    def done(self) -> bool:
        """Whether all steps are done, or the last looks saw no progress."""
        best = min(range(len(self.history)), key=lambda i: self.history[i].loss, default=0)
        waited = len(self.history) - 1 - best
        return self.step >= self.config.steps or 0 < self.config.patience <= waited

    def __iter__(self) -> Iterator[float]:
        """Does the steps that are left, one by one, and gives the loss of each."""
        self._begin()
        while not self.done:
            yield self.advance()

    def _begin(self) -> None:
        if not self.history:
            self.history.append(self.look(self.start))

    def advance(self) -> float:
        """One step on one view, with a look at all of them when it is time; returns the step's loss."""
        self._begin()
        index, step = self.order[self.step], self.step + 1
        view, model = self.fitted[index], self.models[index]
        now = self.free.gaussians()
        loss = self.loss(now, view, model)
        (loss + self.strategy.regulariser(now)).backward()
        rate = self.config.lr_final ** ((step - 1) / self.config.steps)
        self.between_steps = False  # an interruption from here to the end of the step leaves neither state
        self.strategy.before_step(self.free, view.camera)
        self.free.step(rate)
        model.step(rate)
        centre_exposures(self.models)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        self.strategy.after_step(self.free, step, rate, generator)
        self.losses.append(float(loss.detach()))
        if step % self.config.check_every == 0 or step == self.config.steps:
            state = self.free.snapshot()
            check = self.look(state)
            self.best = state if check.loss < min(c.loss for c in self.history) else self.best
            self.history.append(check)
        self.between_steps = True
        return self.losses[-1]

    def loss(self, now: Gaussians, view: FitView, model: ViewModel) -> Tensor:
        """What one view has against the Gaussians."""
        out = render(now, view.camera, self.config.backend)
        rgb, penalty = model(out.rgb)
        loss = photometric_loss(rgb, view.image, self.config.ssim_weight) + penalty
        if self.config.depth_weight > 0 and view.depth_z is not None:
            disparity = disparity_loss(out.depth_z, out.alpha, view.depth_z)
            loss = loss + self.config.depth_weight * self.extent * disparity
        return view.weight * loss

    @torch.no_grad()
    def look(self, gaussians: Gaussians) -> RefineCheck:
        """Mean loss and PSNR over the views that judge; views that are fitted to are seen through their models."""
        models = self.models if self.config.hold_out == 0 else [None] * len(self.judges)
        loss = psnr = 0.0
        for view, model in zip(self.judges, models, strict=True):
            rgb = render(gaussians, view.camera, self.config.backend).rgb
            rgb = rgb if model is None else model(rgb)[0]
            share = view.weight / max(sum(judge.weight for judge in self.judges), 1e-12)
            loss += share * float(photometric_loss(rgb, view.image, self.config.ssim_weight))
            mse = float(F.mse_loss(rgb.clamp(0, 1), view.image))
            psnr += share * -10 * math.log10(max(mse, 1e-10))
        return RefineCheck(self.step, loss, psnr)

    def output(self) -> RefineOutput:
        """The best state seen so far."""
        best = self.start if self.best is None else self.best
        if self.config.prune_opacity > 0:
            best = best.select(best.opacities >= self.config.prune_opacity)
        return RefineOutput(gaussians=best, history=tuple(self.history), losses=torch.tensor(self.losses))

    def fingerprint(self) -> str:
        """SHA-256 of what the fit depends on: settings, start and views."""
        digest = hashlib.sha256(repr(self.config).encode())
        tensors = [getattr(self.start, f.name) for f in fields(self.start)]
        for view in (*self.fitted, *self.judges):
            digest.update(repr((view.weight, view.camera.hw)).encode())
            tensors += [view.image, view.camera.world_from_cam, view.camera.K]
            tensors += [] if view.depth_z is None else [view.depth_z]
        for tensor in tensors:
            digest.update(tensor.detach().cpu().contiguous().numpy())
        return digest.hexdigest()

    def state_dict(self) -> dict:
        """Everything that a resumed fit needs: dicts, lists, numbers and tensors; later steps leave it alone."""
        best = self.best
        return {
            "fingerprint": self.fingerprint(),
            "free": self.free.state_dict(),
            "strategy": self.strategy.state_dict(),
            "models": [model.state_dict() for model in self.models],
            "best": None if best is None else {f.name: getattr(best, f.name) for f in fields(best)},
            "history": [(c.step, c.loss, c.psnr_db) for c in self.history],
            "losses": list(self.losses),
        }

    def load_state_dict(self, state: dict) -> None:
        """Goes on from a saved state, exactly as the fit that was saved would have gone on.

        Raises:
            AnotherFitError: the state is of another fit.
        """
        if state.get("fingerprint") != self.fingerprint():
            raise AnotherFitError("the saved state is of another fit: settings, start or views differ")
        self.free.load_state_dict(state["free"])
        self.strategy.load_state_dict(state["strategy"])
        for model, saved in zip(self.models, state["models"], strict=True):
            model.load_state_dict(saved)
        self.best = None if state["best"] is None else Gaussians(**state["best"])
        self.history = [RefineCheck(*check) for check in state["history"]]
        self.losses = list(state["losses"])


def run(
    gaussians: Gaussians,
    views_rgb: Float[Tensor, "v 3 h w"] | Sequence[Float[Tensor, "_v 3 _h _w"]],
    cameras: Cameras | Sequence[Cameras],
    config: RefineConfig = SMALL,
    progress: Callable[[float], None] | None = None,
    extras: Supervision | None = None,
    checkpoint: Checkpoint | None = None,
) -> RefineOutput:
    """Fits Gaussians to posed views and returns the state with the lowest mean loss over those that judge.

    Args:
        gaussians: The start, for instance the scaffold.
        views_rgb: RGB in [0, 1]; or one such tensor per size of image.
        cameras: Of the views, grouped as they are.
        config: Steps, learning rates, strategy, what is learnt of each view.
        progress: Called with the share that is done, in [0, 1].
        extras: Depth and weights of the views, or None.
        checkpoint: How the fit is kept, and where it goes on; a resumed fit equals an unbroken one bit for bit.

    Raises:
        ValueError: views and cameras do not match, hold NaN, or a setting is out of range.
        AnotherFitError: the state to resume from is of another fit.
        KeyboardInterrupt: as it came; the fit was saved before, if it is kept.
    """
    fit = Fit(gaussians, list_views(views_rgb, cameras, extras), config)
    if checkpoint is not None and checkpoint.resume is not None:
        fit.load_state_dict(checkpoint.resume)
    saved = time.monotonic()
    try:
        for _ in fit:
            if progress:
                progress(1.0 if fit.done else fit.step / config.steps)
            if checkpoint is not None and not fit.done and time.monotonic() - saved >= checkpoint.every_s:
                checkpoint.save(fit.state_dict())
                saved = time.monotonic()
    except KeyboardInterrupt:
        if checkpoint is not None and fit.between_steps and fit.step:
            checkpoint.save(fit.state_dict())
        raise
    return fit.output()
