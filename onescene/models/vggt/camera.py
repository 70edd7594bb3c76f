"""VGGT's camera head: the camera tokens of all frames become poses and fields of view, refined four times."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from onescene.models.vggt.blocks import Block, Mlp

POSE_CHANNELS = 9  # translation 3, quaternion xyzw 4, fields of view along height and width [rad] 2


class CameraHead(nn.Module):
    """Predicts a correction to its last answer, which modulates the camera tokens, and starts over.

    Args:
        dim: Channels of the aggregator's output.
        heads: Attention heads.
        depth: Blocks of the trunk; frames attend to each other in it.
    """

    def __init__(self, dim: int, heads: int, depth: int) -> None:
        super().__init__()
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, POSE_CHANNELS))
        self.trunk = nn.ModuleList(Block(dim, heads, layer_scale=0.01) for _ in range(depth))
        self.token_norm, self.trunk_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.embed_pose = nn.Linear(POSE_CHANNELS, dim)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 3 * dim))
        self.pose_branch = Mlp(dim, dim // 2, POSE_CHANNELS)

    def forward(
        self, tokens: Float[Tensor, "batch frame n dim"], iterations: int = 4
    ) -> Float[Tensor, "batch frame 9"]:
        """Camera of every frame as ``cam_from_world``: translation 3, quaternion **xyzw** 4, fields of view 2 [rad].

        Fields of view are >= 0. Gradients reach the last correction only.

        Args:
            tokens: The aggregator's last layer; its first token is the camera token.
            iterations: How often the answer is corrected.
        """
        camera = self.token_norm(tokens[:, :, 0])
        plain = F.layer_norm(camera, camera.shape[-1:], eps=1e-6)
        pose = torch.zeros_like(camera[..., :POSE_CHANNELS])
        for i in range(iterations):
            # each correction learns on its own: the answer before it is taken as given
            before = self.empty_pose_tokens.expand_as(pose) if i == 0 else pose.detach()
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(before)).chunk(3, dim=-1)
            x = camera + gate * (plain * (1 + scale) + shift)
            for block in self.trunk:
                x = block(x)
            pose = pose.detach() + self.pose_branch(self.trunk_norm(x))
        return torch.cat((pose[..., :7], F.relu(pose[..., 7:])), dim=-1)
