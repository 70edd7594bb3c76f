"""Weight files of Hunyuan-Pano-DiT: which there must be, where they come from, and how the LoRA is merged.

The folder holds the parts of FLUX.1 as their publisher lays them out (``transformer/``, ``vae/``, ...) and the LoRA.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from onescene.models.hunyuan_pano.config import LICENCES, HunyuanConfig, HunyuanTextConfig
from onescene.models.loading import read_state_dict

_PARTS = {  # folder -> what it must hold: a file of settings, then weights of any shard
    "scheduler": ("scheduler_config.json",),
    "tokenizer": ("tokenizer_config.json",),
    "tokenizer_2": ("tokenizer_config.json",),
    "text_encoder": ("config.json", "*.safetensors"),
    "text_encoder_2": ("config.json", "*.safetensors"),
    "transformer": ("config.json", "*.safetensors"),
    "vae": ("config.json", "*.safetensors"),
}


def names_of(config: HunyuanConfig) -> tuple[str, str]:
    """Folders of the base model and of the LoRA inside the folder of weights."""
    if isinstance(config, HunyuanTextConfig):
        return "FLUX.1-dev", "HunyuanWorld-PanoDiT-Text"
    return "FLUX.1-Fill-dev", "HunyuanWorld-PanoDiT-Image"


def required_files(config: HunyuanConfig) -> tuple[Path, ...]:
    """The weight files that a run will read, the LoRA last.

    Raises:
        FileNotFoundError: some are missing; the sentence says which, where to get them and under which licence.
    """
    base, lora = names_of(config)
    needed = {f"{base}/{part}": patterns for part, patterns in _PARTS.items()} | {lora: ("lora.safetensors",)}
    folder = Path(config.weights).expanduser() if config.weights else None
    missing = [
        f"{part}/{pattern}"
        for part, patterns in needed.items()
        for pattern in patterns
        if folder is None or not any((folder / part).glob(pattern))
    ]
    if missing:
        where = f"{folder} lacks" if folder else "no folder of weights is named with --weights DIR; it must hold"
        terms = "; ".join(f"{name}: {says}" for name, says in LICENCES.items())
        raise FileNotFoundError(
            f"{where} {', '.join(missing)}: get {base} from black-forest-labs/{base} and {lora} from"
            f" tencent/HunyuanWorld-1 on Hugging Face, under their licences ({terms})"
        )
    parts = [
        p for name in ("text_encoder", "text_encoder_2", "transformer", "vae") for p in _shards(folder / base / name)
    ]
    return (*parts, folder / lora / "lora.safetensors")


def _shards(folder: Path) -> list[Path]:
    """The weight files of a part: those that its index names, else all."""
    indices = sorted(folder.glob("*.safetensors.index.json"))
    if not indices:
        return sorted(folder.glob("*.safetensors"))
    names = set(json.loads(indices[0].read_text("utf-8"))["weight_map"].values())
    if lacking := sorted(n for n in names if not (folder / n).is_file()):
        raise FileNotFoundError(f"{folder} lacks {', '.join(lacking)}, which {indices[0].name} names")
    return [folder / n for n in sorted(names)]


def load_transformer(folder: Path, lora: Path, dtype: torch.dtype) -> nn.Module:
    """FLUX's transformer with the LoRA merged into its weights: W + (alpha / rank) B A; nothing is held twice.

    Args:
        folder: ``transformer/`` of FLUX.1.
        lora: The LoRA's file, keys as diffusers and PEFT write them.
        dtype: Of the merged weights.

    Raises:
        ValueError: weights that do not fit the network, or a LoRA that does not fit the weights.
    """
    from diffusers import FluxTransformer2DModel

    with torch.device("meta"):
        network = FluxTransformer2DModel.from_config(FluxTransformer2DModel.load_config(folder))
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    weights: dict[str, Tensor] = {}
    for shard in _shards(folder):
        weights |= {name: value.to(dtype) for name, value in read_state_dict(shard).items()}
    got = {name: tuple(value.shape) for name, value in weights.items()}
    if got != expected:
        wrong = sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))
        raise ValueError(f"weights in {folder} do not fit its config.json: {len(wrong)} keys, such as {wrong[0]}")
    merge_lora(weights, lora)
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


def merge_lora(weights: dict[str, Tensor], path: Path) -> None:
    """Adds a LoRA to the weights of a network, in place.

    Args:
        weights: Under the network's own names.
        path: Safetensors with ``transformer.NAME.lora_A.weight`` [rank, in], ``transformer.NAME.lora_B.weight``
            [out, rank] and, where the scale is not 1, ``transformer.NAME.alpha``.

    Raises:
        ValueError: a key that is none of these, a matrix without its partner, a layer that the network has not.
    """
    own = {name.removeprefix("transformer."): value for name, value in read_state_dict(path).items()}
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, value in own.items():
        layer, _, kind = name.rpartition(".lora_") if ".lora_" in name else name.rpartition(".")
        if kind not in ("A.weight", "B.weight", "alpha"):
            raise ValueError(f"{path}: {name} is no key of a LoRA that diffusers or PEFT writes")
        pairs.setdefault(layer, {})[kind] = value
    for layer, pair in pairs.items():
        target = weights.get(f"{layer}.weight")
        if target is None or not {"A.weight", "B.weight"} <= pair.keys():
            raise ValueError(f"{path}: {layer} is no layer of the network, or one of its two matrices is missing")
        A, B = pair["A.weight"].float(), pair["B.weight"].float()
        if (B.shape[0], A.shape[1]) != tuple(target.shape) or A.shape[0] != B.shape[1]:
            raise ValueError(f"{path}: {layer} is {tuple(target.shape)}, its LoRA {tuple(B.shape)} x {tuple(A.shape)}")
        scale = float(pair["alpha"]) / A.shape[0] if "alpha" in pair else _scale_of(path, A.shape[0])
        weights[f"{layer}.weight"] = (target.float() + scale * (B @ A)).to(target.dtype)


def _scale_of(path: Path, rank: int) -> float:
    """alpha / rank from the file's own note (``lora_adapter_metadata`` of diffusers); 1 where there is none."""
    with safe_open(path, framework="pt") as file:
        note = (file.metadata() or {}).get("lora_adapter_metadata")
    alpha = json.loads(note).get("transformer.lora_alpha") if note else None
    return 1.0 if alpha is None else float(alpha) / rank
