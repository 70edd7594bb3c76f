"""The released scaffold put together, under the keys of the released file.

The forward pass, with units:

    faces [0, 1] -> encoder per face -> decoder over six faces -> regression head: distance along the ray [world units]
                                                               -> Gaussian head: opacity, scale, quaternion, colour
        -> cameras (K normalised, world_from_cam) -> one Gaussian per face pixel

Against the paper it has another backbone, no bidirectional fusion and no offset.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from onescene.models.one2scene_release.backbone import FaceBackbone
from onescene.models.one2scene_release.gaussians import RAW_CHANNELS, ReleaseGaussians, place_gaussians
from onescene.models.one2scene_release.heads import GaussianHead, RegressionHead

KEY_PREFIX = "encoder."  # in front of every key of the released checkpoint


@dataclass(frozen=True)
class ReleaseConfig:
    """Sizes of :class:`ReleaseScaffold`; the heads have one size."""

    enc_embed_dim: int = 1024
    enc_depth: int = 24
    enc_num_heads: int = 16
    dec_embed_dim: int = 1024
    dec_depth: int = 12
    dec_num_heads: int = 16
    patch_size: int = 16  # [pixels]
    rope_base: float = 100.0

    @property
    def hooks(self) -> tuple[int, int, int, int]:
        """Which lists of tokens the heads read: 0 is the encoder's output, i the decoder's block i."""
        return (0, self.dec_depth * 2 // 4, self.dec_depth * 3 // 4, self.dec_depth)


RELEASED = ReleaseConfig()


@dataclass(frozen=True)
class ReleasePrediction:
    """What the network says about one batch of six faces.

    Attributes:
        distance: Along each pixel's ray [world units]; the release does not clamp it.
        regression_raw: The regression head's output.
        gaussian_raw: The Gaussian head's output.
        gaussians: One per face pixel.
    """

    distance: Float[Tensor, "batch face height width"]
    regression_raw: Float[Tensor, "batch face height width 3"]
    gaussian_raw: Float[Tensor, "batch face height width 83"]
    gaussians: ReleaseGaussians


class ReleaseScaffold(nn.Module):
    """Six faces to Gaussians in one pass, as in the authors' release.

    Args:
        config: Sizes.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    def __init__(self, config: ReleaseConfig = RELEASED) -> None:
        super().__init__()
        for name in ("enc", "dec"):
            dim, heads = getattr(config, f"{name}_embed_dim"), getattr(config, f"{name}_num_heads")
            if dim % (4 * heads):
                raise ValueError(f"{name}_embed_dim must be a multiple of 4 {name}_num_heads, got {dim} and {heads}")
        self.config = config
        encoder = (config.enc_embed_dim, config.enc_depth, config.enc_num_heads)
        decoder = (config.dec_embed_dim, config.dec_depth, config.dec_num_heads)
        self.backbone = FaceBackbone(encoder, decoder, config.patch_size, config.rope_base)
        dims = [config.dec_embed_dim if hook else config.enc_embed_dim for hook in config.hooks]
        self.downstream_head = RegressionHead(dims)
        self.gaussian_param_head = GaussianHead(dims, RAW_CHANNELS)

    def forward(
        self,
        faces: Float[Tensor, "batch face 3 height width"],
        K_normalised: Float[Tensor, "batch face 3 3"],
        world_from_cam: Float[Tensor, "batch face 4 4"],
    ) -> ReleasePrediction:
        """Distance and Gaussians of six faces.

        Args:
            faces: RGB in [0, 1], order F R B L U D, sides multiples of the patch.
            K_normalised: Intrinsics over width and height; they place the Gaussians, the network does not see them.
            world_from_cam: OpenCV cameras.

        Raises:
            ValueError: the faces are not [B, 6, 3, H, W], or no whole number of patches.
        """
        patch_px = self.config.patch_size
        if faces.ndim != 5 or faces.shape[1:3] != (6, 3) or faces.shape[-2] % patch_px or faces.shape[-1] % patch_px:
            expected = f"[B, 6, 3, H, W] with sides that are multiples of {patch_px}"
            raise ValueError(f"faces must be {expected}, got {tuple(faces.shape)}")
        grid_hw = (faces.shape[-2] // patch_px, faces.shape[-1] // patch_px)
        images = faces * 2 - 1
        tokens = self.backbone(images)
        hooked = [tokens[hook] for hook in self.config.hooks]
        regression = self.downstream_head(hooked, grid_hw).unflatten(0, faces.shape[:2]).movedim(2, -1)
        raw = self.gaussian_param_head(hooked, images.flatten(0, 1), grid_hw)
        raw = raw.unflatten(0, faces.shape[:2]).movedim(2, -1)
        distance = _regressed_distance(regression)
        return ReleasePrediction(
            distance=distance,
            regression_raw=regression,
            gaussian_raw=raw,
            gaussians=place_gaussians(raw, distance, K_normalised, world_from_cam),
        )


def _regressed_distance(raw: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Third component of v / |v| * expm1(|v|)."""
    length = raw.norm(dim=-1)
    return raw[..., 2] / length.clamp_min(1e-8) * length.expm1()
