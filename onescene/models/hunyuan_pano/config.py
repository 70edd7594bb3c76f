"""Settings of Hunyuan-Pano-DiT, and the licences of its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Decoding = Literal["circular", "padded", "plain"]

# What the release adds to every prompt, and what it never wants to see, blanks and all: tokenizers may see them.
PROMPT_SUFFIX = "high-quality,  high-resolution, sharp, clear, 8k"
NEGATIVE_PROMPT = "human, person, people, messy,low-quality, blur, noise, low-resolution"
PATCH_PX = 16  # side of a token: the auto-encoder's 8 pixels times the transformer's 2 latents

LICENCES = {
    "tencent-hunyuanworld-1.0": "Tencent HunyuanWorld-1.0 Community License: it does not apply in the European Union,"
    " the United Kingdom and South Korea; outputs may not improve other models",
    "flux-1-dev-non-commercial": "FLUX.1 [dev] Non-Commercial License",
}


@dataclass(frozen=True)
class HunyuanConfig:
    """How Hunyuan-Pano-DiT draws; the defaults are the release's where not said otherwise."""

    weights: str | None = None  # folder that holds FLUX.1-Fill-dev/ and HunyuanWorld-PanoDiT-Image/
    height_px: int = 960  # rows that it draws at, a multiple of 16; brought to the panorama's own size afterwards
    steps: int = 50  # of the sampler
    guidance: float = 30.0  # distilled guidance, an input of the network
    true_cfg: float = 2.0  # weight of prompt against negative prompt; 1 or less: one pass, no negative prompt
    overlap: int = (
        6  # latent columns that both ends share [8 pixels each], even; 0: the ends know nothing of each other
    )
    blend_steps: int = 4  # first steps after which the shared columns are blended
    decoding: Decoding = "circular"  # circular: every layer around the circle; padded: the release's 2 columns; plain
    erode_px: int = 5  # pixels that the photo's rim is shrunk by before it is shown to the network
    offload: bool = True  # networks wait in main memory until their turn; off is faster and needs more GPU memory
    device: str = "auto"  # cuda where there is one, else cpu

    def __post_init__(self) -> None:
        """Refuses what is out of range, with the sentence that a params file's author reads."""
        if self.height_px < 4 * PATCH_PX or self.height_px % PATCH_PX:
            raise ValueError(f"height_px of hunyuan must be a multiple of {PATCH_PX} >= 64, got {self.height_px}")
        if self.steps < 1:
            raise ValueError(f"steps of hunyuan must be >= 1, got {self.steps}")
        most = self.height_px // 8
        if not 0 <= self.overlap <= most or self.overlap % 2:
            raise ValueError(f"overlap of hunyuan must be even and in [0, {most}], got {self.overlap}")
        if self.decoding not in get_args(Decoding):
            raise ValueError(
                f"decoding of hunyuan must be one of {', '.join(get_args(Decoding))}, got {self.decoding!r}"
            )
        for name in ("guidance", "true_cfg", "blend_steps", "erode_px"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} of hunyuan must be >= 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class HunyuanTextConfig(HunyuanConfig):
    """The same from words alone: FLUX.1-dev/ and HunyuanWorld-PanoDiT-Text/, one pass per step."""

    true_cfg: float = 0.0  # as the release: no negative prompt
