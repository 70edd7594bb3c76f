"""Files of the paper's scaffold network: safetensors that carry the network's sizes beside its weights."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path

import torch

from onescene.models.loading import (
    WeightFile,
    compare_keys,
    half_bytes,
    load_into,
    load_scaffold,
    read_metadata,
    read_state_dict,
    sha256_of,
)
from onescene.models.one2scene.config import One2SceneConfig
from onescene.models.one2scene.network import One2Scene
from onescene.models.vggt.patches import Lite0Patches

_CONFIG_KEY = "one2scene_config"


def one2scene_bytes(network: One2Scene, metadata: dict[str, str]) -> bytes:
    """A half-precision safetensors file of the network; ``metadata`` (licence and the like) goes beside its sizes."""
    return half_bytes(network, metadata | {_CONFIG_KEY: json.dumps(asdict(network.config))})


def config_in(path: str | Path) -> One2SceneConfig | None:
    """The sizes in a file that :func:`one2scene_bytes` made; None where it was made otherwise.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no safetensors file by that suffix, or sizes of another version.
    """
    metadata = read_metadata(path)
    return _config_of(metadata, Path(path)) if _CONFIG_KEY in metadata else None


def check_one2scene(path: str | Path) -> None:
    """Refuses what :func:`load_one2scene` would refuse, from names and shapes alone."""
    with torch.device("meta"):
        network = One2Scene(_config_of(read_metadata(path), Path(path)))
    compare_keys(network, read_state_dict(path, "meta")).refuse_misfit("One2Scene", path)


def load_one2scene(path: str | Path) -> tuple[One2Scene, WeightFile]:
    """The network of a file that :func:`one2scene_bytes` made, in evaluation mode and single precision.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no safetensors file, a file of another architecture, or sizes or keys that do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"scaffold weights not found: {path}")
    metadata = read_metadata(path)
    network = One2Scene(_config_of(metadata, path)).eval()
    load_into(network, path)
    licence = metadata.get("licence", "not stated in the file")
    return network, WeightFile(metadata.get("name", path.stem), path, sha256_of(path), licence)


def start_from_cube(network: One2Scene, path: str | Path) -> None:
    """Takes over what the other small network, trained, has in common with this one: the way from pixels to tokens.

    Args:
        network: With ``patch_embed`` lite0 and rays, as in SMALL; all else keeps the start it has.
        path: Weights of :class:`~onescene.models.scaffold.CubeScaffold`.

    Raises:
        FileNotFoundError, ValueError: as :func:`load_scaffold`; or the network has another patch embedding or width.
    """
    cube, patches = load_scaffold(path)[0], network.aggregator.patch_embed
    if not isinstance(patches, Lite0Patches) or not network.config.rays or network.config.embed_dim != cube.config.dim:
        raise ValueError(f"{path} starts networks with patch_embed lite0, rays and embed_dim {cube.config.dim} only")
    parts = ((patches.encoder, cube.encoder), (patches.token_16, cube.token_16), (patches.token_32, cube.token_32))
    for own, theirs in (*parts, (network.rays, cube.token_ray)):
        own.load_state_dict(theirs.state_dict())


def _config_of(metadata: dict[str, str], path: Path) -> One2SceneConfig:
    if _CONFIG_KEY not in metadata:
        raise ValueError(f"weights are of another architecture: no {_CONFIG_KEY} in the metadata of {path}")
    known = {f.name for f in fields(One2SceneConfig)}
    stored = json.loads(metadata[_CONFIG_KEY])
    if unknown := sorted(stored.keys() - known):
        raise ValueError(f"weights are of another version: {unknown[0]} is no size of One2Scene in {path}")
    return One2SceneConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()})
