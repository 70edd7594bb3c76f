"""Weight files of the outpainter: half precision, with the sizes of the network in the file's metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from onescene.models.loading import WEIGHTS_DIR, WeightFile, half_bytes, load_into, sha256_of, shipped_scaffold_path
from onescene.models.outpainter.network import Outpainter, OutpainterConfig


@dataclass(frozen=True)
class SmallOptions:
    """Settings of the panorama method ``small``."""

    weights: str = ""  # file that `onescene train outpainter` made; empty = the shipped one
    lower: float = 0.5  # share of the correction below the photo; 1 is coarser than most ground
    upper: float = 1.0  # the same above the photo
    beside: float = 0.0  # the same beside it, where the draft repeats it; more frays what it repeats
    planes: bool = True  # ground and ceiling go on in perspective, by patches; False: the draft is the baseline's

    def __post_init__(self) -> None:
        for name in ("lower", "upper", "beside"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")

    def files(self) -> tuple[Path, ...]:
        """All weight files: the network's, and the scaffold's that tells a ceiling from the sky.

        Raises:
            FileNotFoundError: one is missing.
        """
        if self.planes and not shipped_scaffold_path().is_file():
            raise FileNotFoundError(f"scaffold weights not found: {shipped_scaffold_path()}")
        return (self.file(), shipped_scaffold_path()) if self.planes else (self.file(),)

    def file(self) -> Path:
        """The network's weight file.

        Raises:
            FileNotFoundError: there is no such file.
        """
        path = Path(self.weights) if self.weights else shipped_outpainter_path()
        if not path.is_file():
            raise FileNotFoundError(f"outpainter weights not found: {path}")
        return path


def shipped_outpainter_path() -> Path:
    """The outpainter's weights that come with the package."""
    return WEIGHTS_DIR / "outpainter-small.safetensors"


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
