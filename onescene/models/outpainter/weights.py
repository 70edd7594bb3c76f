"""Weight files of the outpainter: half precision, with the sizes of the network in the file's metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from onescene.models.loading import WeightFile, half_bytes, load_into, sha256_of
from onescene.models.outpainter.network import Outpainter, OutpainterConfig


@dataclass(frozen=True)
class SmallOptions:
    """Settings of the panorama method ``small``."""

    weights: str = ""  # file that `onescene train outpainter` made

    def file(self) -> Path:
        """The weight file.

        Raises:
            ValueError: none is named: the package ships none.
            FileNotFoundError: there is no such file.
        """
        if not self.weights:
            raise ValueError(
                "method small needs weights, and none are shipped: train them (onescene train outpainter --params"
                " params/small/train_outpainter.yaml) and name the file in panorama_options: {weights: FILE}"
            )
        if not Path(self.weights).is_file():
            raise FileNotFoundError(f"outpainter weights not found: {self.weights}")
        return Path(self.weights)


def outpainter_bytes(network: Outpainter, metadata: dict[str, str]) -> bytes:
    """A weight file's bytes."""
    return half_bytes(network, metadata | {"name": "outpainter", "config": json.dumps(asdict(network.config))})


def load_outpainter(path: str | Path) -> tuple[Outpainter, WeightFile]:
    """An outpainter with its weights, in evaluation mode.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no outpainter's, or a key or shape differs.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"outpainter weights not found: {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        values = json.loads(metadata["config"])
        config = OutpainterConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"weights must be an outpainter's, made by `onescene train outpainter`, got {path}") from error
    network = Outpainter(config)
    load_into(network, path)
    return network.eval(), WeightFile("outpainter", path, sha256_of(path), metadata.get("licence", "not stated"))
