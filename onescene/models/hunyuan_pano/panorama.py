"""Hunyuan-Pano-DiT at work: FLUX.1-Fill with the panorama LoRA draws what is around a photo, or all of it from words.

photo on the sphere, its rim shrunk -> auto-encoder -> latents and mask, first columns repeated at the right end
noise, repeated likewise -> 50 steps (two passes each: prompt, negative prompt), ends blended after the first 4
    -> ends blended, cut -> decoder around the circle -> panorama
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onescene.models.arithmetic import best_device
from onescene.models.hunyuan_pano.circular import (
    blend_columns,
    circular_convolutions,
    crop_columns,
    extend_columns,
    padded_decode,
)
from onescene.models.hunyuan_pano.config import NEGATIVE_PROMPT, PROMPT_SUFFIX, HunyuanConfig
from onescene.models.hunyuan_pano.files import load_transformer, names_of, required_files

RELEASE_PADDING = 2  # latent columns that the release's decoder sees of the other end
SAMPLED = 0.95  # share of the work that is done when the last step is


@dataclass(frozen=True)
class Words:
    """A prompt as the two text encoders see it."""

    tokens: Tensor  # [1, length, dim] of T5
    pooled: Tensor  # [1, dim] of CLIP
    ids: Tensor  # [length, 3], zeros


def load_pipeline(config: HunyuanConfig) -> Any:
    """diffusers' ``FluxFillPipeline`` of a local folder, in main memory, the LoRA merged.

    Text alone uses it too: only the transformer's first layer differs (64 channels in, not 384).

    Raises:
        FileNotFoundError, ValueError: weights are missing or do not fit; transformers is not installed.
    """
    required_files(config)
    try:
        from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxFillPipeline
        from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast
    except ImportError as error:
        raise ValueError(f"method hunyuan needs transformers: pip install 'onescene[paper]' ({error})") from error
    base, lora = (Path(config.weights).expanduser() / name for name in names_of(config))
    dtype = torch.bfloat16 if device_of(config).type == "cuda" else torch.float32
    local = {"local_files_only": True}
    return FluxFillPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(base / "scheduler", **local),
        vae=AutoencoderKL.from_pretrained(base / "vae", torch_dtype=dtype, low_cpu_mem_usage=False, **local).eval(),
        text_encoder=CLIPTextModel.from_pretrained(base / "text_encoder", **local).to(dtype),
        tokenizer=CLIPTokenizer.from_pretrained(base / "tokenizer", **local),
        text_encoder_2=T5EncoderModel.from_pretrained(base / "text_encoder_2", **local).to(dtype),
        tokenizer_2=T5TokenizerFast.from_pretrained(base / "tokenizer_2", **local),
        transformer=load_transformer(base / "transformer", lora / "lora.safetensors", dtype),
    )


def device_of(config: HunyuanConfig) -> torch.device:
    """Where the networks run."""
    return best_device() if config.device == "auto" else torch.device(config.device)


class HunyuanPanorama:
    """The model, ready to draw.

    Args:
        pipeline: As :func:`load_pipeline` returns it.
        config: How it draws.
    """

    def __init__(self, pipeline: Any, config: HunyuanConfig) -> None:
        self.pipeline, self.config, self.device = pipeline, config, device_of(config)
        self.dtype = pipeline.vae.dtype
        self.factor = pipeline.vae_scale_factor

    @torch.no_grad()
    def draw(
        self,
        placed: Tensor | None,
        known: Tensor | None,
        prompt: str,
        negative_prompt: str,
        generator: torch.Generator,
        progress=lambda share: None,
    ) -> Tensor:
        """Draws a panorama [3, height_px, 2 height_px] in [0, 1], float32, on the CPU.

        Args:
            placed: The photo on the sphere, of that size, in [0, 1]; None: from words alone.
            known: 1 where the network may see it, 0 elsewhere [height, width].
            prompt: What is to be seen; the release's words for quality are added.
            negative_prompt: What is not; added to the release's own list.
            generator: On the CPU.
            progress: Called with the share that is done.

        Raises:
            MemoryError: the GPU's memory is too small; the sentence says what to lower.
        """
        try:
            positive = self.embed(", ".join(filter(None, (prompt, PROMPT_SUFFIX))))
            guided = self.config.true_cfg > 1
            negative = self.embed(", ".join(filter(None, (NEGATIVE_PROMPT, negative_prompt)))) if guided else None
            latents = noise = self.noise(generator)
            condition = None if placed is None else self.condition(placed, known, generator)
            for step, latents in enumerate(self.sample(noise, condition, positive, negative)):  # noqa: B007
                progress(SAMPLED * (step + 1) / self.config.steps)
            return self.decode(crop_columns(blend_columns(latents, self.config.overlap), self.config.overlap))
        except torch.cuda.OutOfMemoryError as error:
            lower = "offload: true" if not self.config.offload else "a smaller height_px"
            raise MemoryError(f"hunyuan: the GPU's memory is too small; set {lower} in panorama_options") from error

    def embed(self, text: str) -> Words:
        """A text as the transformer reads it."""
        pipe = self.pipeline
        with self._moved(pipe.text_encoder), self._moved(pipe.text_encoder_2):
            return Words(*pipe.encode_prompt(text, None, device=self.device))

    def noise(self, generator: torch.Generator) -> Tensor:
        """Pure noise, as the release's strength of 1 asks for, its ends alike [1, c, h, w + overlap]."""
        height, channels = self.config.height_px // self.factor, self.pipeline.vae.config.latent_channels
        noise = torch.randn((1, channels, height, 2 * height), generator=generator)
        return extend_columns(noise, self.config.overlap).to(self.device, self.dtype)

    def condition(self, placed: Tensor, known: Tensor, generator: torch.Generator) -> Tensor:
        """Latents of what is known and the mask of what is not (1 = to be drawn), packed to tokens [1, n, 320]."""
        vae = self.pipeline.vae
        masked = ((placed * 2 - 1) * known)[None].to(self.device, self.dtype)
        with self._moved(vae):
            seen = vae.encode(masked).latent_dist.sample(generator)
        seen = (seen - vae.config.shift_factor) * vae.config.scaling_factor
        mask = F.pixel_unshuffle(1 - known[None, None], self.factor).to(seen)
        return _pack(extend_columns(torch.cat((seen, mask), dim=1), self.config.overlap))

    def sample(
        self, latents: Tensor, condition: Tensor | None, positive: Words, negative: Words | None
    ) -> Iterator[Tensor]:
        """Latents [1, c, h, w + overlap] after every step: flow matching by Euler, the ends blended at first."""
        network, scheduler, config = self.pipeline.transformer, self.pipeline.scheduler, self.config
        size = (latents.shape[-2] // 2, latents.shape[-1] // 2)
        ids = self.pipeline._prepare_latent_image_ids(1, *size, self.device, self.dtype)
        scheduler.set_timesteps(
            sigmas=torch.linspace(1.0, 1 / config.steps, config.steps).tolist(), mu=self._shift(), device=self.device
        )
        with self._moved(network):
            for step, t in enumerate(scheduler.timesteps):
                tokens = _pack(latents)
                seen = tokens if condition is None else torch.cat((tokens, condition), dim=-1)
                velocity = self._velocity(seen, t, positive, ids)
                if negative is not None:
                    other = self._velocity(seen, t, negative, ids)
                    velocity = other + config.true_cfg * (velocity - other)
                tokens = scheduler.step(velocity, t, tokens, return_dict=False)[0]
                latents = _unpack(tokens, size)
                if step < config.blend_steps:
                    latents = blend_columns(latents, config.overlap)
                yield latents

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [1, c, h, w] to a panorama in [0, 1]."""
        vae = self.pipeline.vae
        latents = latents / vae.config.scaling_factor + vae.config.shift_factor
        plain = lambda z: vae.decode(z, return_dict=False)[0]  # noqa: E731
        with self._moved(vae):
            if self.config.decoding == "circular":
                with circular_convolutions(vae.decoder):
                    image = plain(latents)
            elif self.config.decoding == "padded":
                image = padded_decode(plain, latents, RELEASE_PADDING, self.factor)
            else:
                image = plain(latents)
        return (image[0].float().cpu() / 2 + 0.5).clamp(0, 1)

    def _velocity(self, tokens: Tensor, t: Tensor, words: Words, ids: Tensor) -> Tensor:
        network = self.pipeline.transformer
        guidance = torch.full([1], self.config.guidance, device=self.device) if network.config.guidance_embeds else None
        return network(
            hidden_states=tokens,
            timestep=t.expand(1).to(tokens.dtype) / 1000,
            guidance=guidance,
            pooled_projections=words.pooled,
            encoder_hidden_states=words.tokens,
            txt_ids=words.ids,
            img_ids=ids,
            return_dict=False,
        )[0]

    def _shift(self) -> float:
        """How far the schedule leans to noise: linear in the number of the panorama's own tokens, as diffusers does."""
        note = self.pipeline.scheduler.config
        low, high = note.get("base_image_seq_len", 256), note.get("max_image_seq_len", 4096)
        least, most = note.get("base_shift", 0.5), note.get("max_shift", 1.15)
        tokens = 2 * (self.config.height_px // self.factor // 2) ** 2
        return least + (tokens - low) * (most - least) / (high - low)

    @contextmanager
    def _moved(self, network: nn.Module) -> Iterator[None]:
        """The network on the device while it works."""
        network.to(self.device)
        try:
            yield
        finally:
            if self.config.offload and self.device.type != "cpu":
                network.to("cpu")
                torch.cuda.empty_cache()


def shrink_known(mask: Tensor, by_px: int) -> Tensor:
    """A photo's mask [height, width] without its outer pixels, around the circle, as 0 and 1 in float32."""
    outside = F.pad(1 - mask.float()[None, None], (by_px, by_px, 0, 0), mode="circular")
    return 1 - F.max_pool2d(outside, 2 * by_px + 1, stride=1, padding=(by_px, 0))[0, 0]


def _pack(latents: Tensor) -> Tensor:
    """[1, c, h, w] to tokens [1, h/2 w/2, 4 c]: two by two, channel first."""
    return F.pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2)


def _unpack(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Tokens back to [1, c, h, w]; ``size`` counts tokens."""
    return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, size), 2)


def load(config: HunyuanConfig) -> Any:
    """Reads the weights; returns what the panorama stage calls (``panorama_methods.Synthesise``)."""
    return partial(_synthesise, HunyuanPanorama(load_pipeline(config), config))


def _synthesise(model: HunyuanPanorama, request: Any) -> Tensor:
    """Draws at the model's own size, and brings photo and result from and to the request's."""
    placed, size = request.placed, (model.config.height_px, 2 * model.config.height_px)
    shown = known = None
    if request.fov_deg is not None:
        shown = _resized(placed.panorama.float().cpu(), size)
        known = shrink_known(_resized(placed.mask[None].float().cpu(), size)[0] > 0.99, model.config.erode_px)
    words = (request.prompt, request.negative_prompt)
    image = model.draw(shown, known, *words, request.generator, request.progress)
    return _resized(image, tuple(placed.panorama.shape[-2:])).to(placed.panorama)


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, averaged where it shrinks."""
    if tuple(image.shape[-2:]) == size:
        return image
    return F.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]
