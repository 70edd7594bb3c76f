"""VGGT against its slow, readable twin: the public network's layers one after the other, nothing rearranged.

``python tests/test_vggt_twin.py`` measures both at six faces of 252 pixels, in seconds of processor time.
"""

import math
import time
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from golden_weights import fill
from torch import Tensor
from torch.testing import assert_close

from onescene.models.vggt import SMALL, VGGT, VGGTConfig

State = dict[str, Tensor]


def linear(state: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def norm(state: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def conv(state: State, name: str, x: Tensor, **options) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def turn(x: Tensor, places: Tensor) -> Tensor:
    """Rotary embedding of [B, heads, n, c] at places [n]: channel i and i + c/2 are turned together."""
    half = x.shape[-1] // 2
    angle = places[:, None] * 100.0 ** -(torch.arange(half, dtype=x.dtype) / half)
    cosine, sine = (torch.cat((f, f), dim=-1) for f in (angle.cos(), angle.sin()))
    return x * cosine + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sine


def block(state: State, name: str, x: Tensor, heads: int, yx: Tensor | None) -> Tensor:
    """Pre-norm attention and MLP with layer scale; places [n, 2] turn queries and keys, which are normed then."""
    batch, n, dim = x.shape
    qkv = linear(state, f"{name}.attn.qkv", norm(state, f"{name}.norm1", x))
    q, k, v = qkv.reshape(batch, n, 3, heads, dim // heads).permute(2, 0, 3, 1, 4)
    if yx is not None:
        q, k = norm(state, f"{name}.attn.q_norm", q), norm(state, f"{name}.attn.k_norm", k)
        q, k = (torch.cat([turn(half, yx[:, i]) for i, half in enumerate(t.chunk(2, -1))], dim=-1) for t in (q, k))
    attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, n, dim)
    x = x + linear(state, f"{name}.attn.proj", attended) * state[f"{name}.ls1.gamma"]
    hidden = F.gelu(linear(state, f"{name}.mlp.fc1", norm(state, f"{name}.norm2", x)))
    return x + linear(state, f"{name}.mlp.fc2", hidden) * state[f"{name}.ls2.gamma"]


def aggregate(state: State, config: VGGTConfig, images: Tensor) -> list[Tensor]:
    batch, frames = images.shape[:2]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    patches = conv(state, "patch_embed.proj", ((images - mean) / std).flatten(0, 1), stride=config.patch_size)
    rows, columns = patches.shape[-2:]
    special = []
    for name in ("camera_token", "register_token"):
        first, other = state[name][:, :1], state[name][:, 1:]
        tokens = torch.cat((first, other.expand(-1, frames - 1, -1, -1)), dim=1)
        special.append(tokens.expand(batch, -1, -1, -1).flatten(0, 1))
    x = torch.cat((*special, patches.flatten(2).transpose(1, 2)), dim=1)
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)) + 1
    yx = torch.cat((torch.zeros(5, 2, dtype=grid.dtype), grid))
    layers = []
    for i in range(config.depth):
        own = block(state, f"frame_blocks.{i}", x, config.num_heads, yx)
        together = own.view(batch, -1, config.embed_dim)
        x = block(state, f"global_blocks.{i}", together, config.num_heads, yx.repeat(frames, 1)).view_as(own)
        layers.append(torch.cat((own, x), dim=-1))
    return layers


def place_code(x: Tensor, aspect: float) -> Tensor:
    """A tenth of the sines and cosines of a pixel's place, added to a map."""
    quarter, (height, width) = x.shape[1] // 4, x.shape[-2:]
    frequency = 100.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    halves = aspect / math.hypot(aspect, 1), 1 / math.hypot(aspect, 1)
    codes = []
    for n, half in zip((width, height), halves, strict=True):
        angle = torch.linspace(-half * (n - 1) / n, half * (n - 1) / n, n, dtype=torch.float64)[:, None] * frequency
        codes.append(torch.cat((angle.sin(), angle.cos()), dim=-1).T)
    across, down = codes[0][:, None].expand(-1, height, -1), codes[1][:, :, None].expand(-1, -1, width)
    return x + 0.1 * torch.cat((across, down)).to(x)


def unit(state: State, name: str, x: Tensor) -> Tensor:
    active = x.relu()
    return active + conv(state, f"{name}.conv2", conv(state, f"{name}.conv1", active, padding=1).relu(), padding=1)


def dense(state: State, config: VGGTConfig, layers: list[Tensor], hw: tuple[int, int]) -> Tensor:
    aspect, maps = hw[1] / hw[0], []
    for i, index in enumerate(config.intermediate_layer_idx):
        tokens = norm(state, "norm", layers[index][:, 5:]).transpose(1, 2)
        x = conv(state, f"projects.{i}", tokens.unflatten(-1, [side // config.patch_size for side in hw]))
        x = place_code(x, aspect)
        weights = [state.get(f"resize_layers.{i}.{kind}") for kind in ("weight", "bias")]
        x = F.conv_transpose2d(x, *weights, stride=(4, 2)[i]) if i < 2 else x
        x = F.conv2d(x, *weights, stride=2, padding=1) if i == 3 else x
        maps.append(conv(state, f"scratch.layer{i + 1}_rn", x, padding=1))
    x = None
    for i in (4, 3, 2, 1):
        name = f"scratch.refinenet{i}"
        x = maps[i - 1] if x is None else x + unit(state, f"{name}.resConfUnit1", maps[i - 1])
        x = unit(state, f"{name}.resConfUnit2", x)
        x = enlarge(x, maps[i - 2].shape[-2:] if i > 1 else [2 * side for side in x.shape[-2:]])
        x = conv(state, f"{name}.out_conv", x)
    x = place_code(enlarge(conv(state, "scratch.output_conv1", x, padding=1), hw), aspect)
    x = conv(state, "scratch.output_conv2.0", x, padding=1).relu()
    return conv(state, "scratch.output_conv2.2", x)


def camera(state: State, config: VGGTConfig, tokens: Tensor, heads: int) -> Tensor:
    tokens = norm(state, "token_norm", tokens)
    pose = state["empty_pose_tokens"].expand(*tokens.shape[:2], -1)
    total = torch.zeros_like(pose)
    for _ in range(4):
        code = F.silu(linear(state, "embed_pose", pose))
        shift, scale, gate = linear(state, "poseLN_modulation.1", code).chunk(3, dim=-1)
        x = tokens + gate * (F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6) * (1 + scale) + shift)
        for i in range(config.camera_trunk_depth):
            x = block(state, f"trunk.{i}", x, heads, None)
        hidden = F.gelu(linear(state, "pose_branch.fc1", norm(state, "trunk_norm", x)))
        total = pose = total + linear(state, "pose_branch.fc2", hidden)
    return torch.cat((total[..., :7], total[..., 7:].relu()), dim=-1)


def part(state: State, prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def twin(state: State, config: VGGTConfig, images: Tensor) -> dict[str, Tensor]:
    """Depth, confidence and cameras of VGGT with a convolution as patch embedding."""
    batch, frames = images.shape[:2]
    layers = aggregate(part(state, "aggregator."), config, images)
    depth = dense(part(state, "depth_head."), config, layers, images.shape[-2:]).unflatten(0, (batch, frames))
    last = layers[-1][:, 0].unflatten(0, (batch, frames))
    return {
        "depth_z": depth[:, :, 0].exp(),
        "confidence": 1 + depth[:, :, 1].exp(),
        "pose_encoding": camera(part(state, "camera_head."), config, last, config.num_heads),
    }


TINY = replace(SMALL, embed_dim=64, depth=2, num_heads=4, features=16, out_channels=(8, 16, 24, 32), img_size=28)
TINY = replace(TINY, intermediate_layer_idx=(0, 0, 1, 1), camera_trunk_depth=1)


@pytest.mark.parametrize(("frames", "hw"), [(6, (56, 56)), (2, (28, 42))])
@torch.no_grad()
def test_it_equals_its_twin(frames, hw):
    network = fill(VGGT(TINY))
    images = torch.rand(2, frames, 3, *hw, generator=torch.Generator().manual_seed(0))
    found, true = network(images), twin(network.state_dict(), TINY, images)
    for name, value in true.items():
        assert_close(getattr(found, name), value, rtol=2e-5, atol=5e-6)


def test_gradients_equal_its_twin():
    network = fill(VGGT(TINY)).double()
    images = torch.rand(1, 2, 3, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    watched = ["aggregator.global_blocks.0.attn.qkv.weight", "depth_head.scratch.output_conv2.0.weight"]
    parameters = [network.get_parameter(k) for k in watched]
    found = torch.autograd.grad(network(images).depth_z.log().square().sum(), parameters)
    state = dict(network.state_dict()) | dict(zip(watched, parameters, strict=True))
    true = torch.autograd.grad(twin(state, TINY, images)["depth_z"].log().square().sum(), parameters)
    for a, b in zip(found, true, strict=True):
        assert_close(a, b, rtol=1e-6, atol=1e-9)


@torch.inference_mode()
def measure(rounds: int = 5) -> None:
    """Prints both networks' processor time at the config of issue 4's figure, interleaved, and the ratio of medians."""
    network, images = fill(VGGT(SMALL)), torch.rand(1, 6, 3, 252, 252)
    state, seconds = network.state_dict(), {"network": [], "twin": []}
    for _ in range(rounds + 1):
        for name, call in (("network", lambda: network(images)), ("twin", lambda: twin(state, SMALL, images))):
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    medians = {name: sorted(values[1:])[rounds // 2] for name, values in seconds.items()}
    print(medians, f"ratio {medians['network'] / medians['twin']:.3f}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    measure()
