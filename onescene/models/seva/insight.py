"""What happens inside the U-Net while it denoises a chunk: which places of which frames are asked."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.models.seva.conditioning import Conditions, Routing
from onescene.models.seva.network import SevaUNet
from onescene.models.seva.sampling import noise_predictor
from onescene.models.seva.transformer import Attention, MultiviewTransformer


@torch.no_grad()
def joint_attention(
    network: SevaUNet,
    conditions: Conditions,
    scaled: Float[Tensor, "t c h w"],
    index: int,
    routing: Routing = "trained",
) -> list[Float[Tensor, "t h2 w2 t h2 w2"]]:
    """Attention over all frames of a chunk, layer by layer, mean over heads; what each place asks for sums to 1.

    Args:
        network: In evaluation mode.
        conditions: Of the chunk.
        scaled: Latents as the network sees them, targets noisy (:func:`onescene.training.novel_views.noised`).
        index: Number of the noise level, 0 to 999.
        routing: Which adapters.

    Raises:
        ValueError: no layer attends over all frames.
    """
    layers = [m for m in network.modules() if isinstance(m, MultiviewTransformer) and m.how == "joint"]
    if not layers:
        raise ValueError(f"network must have joint attention, but unflatten_names is {network.config.unflatten_names}")
    found, frames, (height, width) = [], len(scaled), scaled.shape[2:]

    def note(attention: Attention, given: tuple) -> None:
        level = round((height * width / given[0].shape[1]) ** 0.5)
        sides = (frames, height // level, width // level)
        found.append(attention.weights(*given)[0].unflatten(1, sides).unflatten(0, sides))

    hooks = [layer.transformer_blocks[0].attn1.register_forward_pre_hook(note) for layer in layers]
    try:
        noise_predictor(network, conditions, routing)(scaled, torch.full((frames,), index))
    finally:
        for hook in hooks:
            hook.remove()
    return found
