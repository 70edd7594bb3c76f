"""Every scaffold network as the stage sees it: six faces in, distance, sky and, where it has heads, Gaussians out.

    ============== ======== ===== ========= ===================================================
    network        distance sky   Gaussians its file
    ============== ======== ===== ========= ===================================================
    CubeScaffold   ray      yes   no        the shipped one, ``onescene train scaffold``
    One2Scene      z or ray maybe yes       one2scene-small, ``onescene train scaffold`` with ``network: vggt``
    VGGT           z        no    no        the public VGGT-1B
    ReleaseScaffold ray     no    yes       the authors' checkpoint
    ============== ======== ===== ========= ===================================================

A new kind of network is one more class here; files are known by what they hold, not by their names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from onescene.geometry.cubemap import Grid, distance_from_depth_z, face_cameras, panorama_from_faces
from onescene.models import one2scene_release as release
from onescene.models import vggt
from onescene.models.arithmetic import arithmetic, best_device, best_precision
from onescene.models.loading import (
    WeightFile,
    compare_keys,
    load_scaffold,
    read_state_dict,
    sha256_of,
    shipped_scaffold_path,
)
from onescene.models.one2scene import One2Scene
from onescene.models.one2scene.weights import check_one2scene, config_in, load_one2scene
from onescene.models.registry import MODELS, check_file
from onescene.models.scaffold import CubeScaffold
from onescene.models.vggt.weights import load_public
from onescene.types import Gaussians

_FOV_DEG = 95.0  # of faces where a network's sizes do not say it: the paper's and the release's
_RELEASE_FACE_PX = 512
_RELEASE_RANGE = (0.01, 110.0)  # that its training clips distances to; its regression does not keep to it


@dataclass(frozen=True)
class Seen:
    """What a network says about one panorama's faces of side S.

    Attributes:
        log_distance: Along the rays of a panorama of (S, 2 S) pixels [log of scene units].
        sky_logit: Logit of the probability of sky there; None where the network does not tell.
        face_log_distance: Along the rays of the faces' pixels.
        face_sky_logit: Of the faces' pixels.
        gaussians: Makes the network's own Gaussians, one per face pixel in the order face, row, column [scene units];
            None where it has no head for them.
    """

    log_distance: Float[Tensor, "height width"]
    sky_logit: Float[Tensor, "height width"] | None
    face_log_distance: Float[Tensor, "6 face face"]
    face_sky_logit: Float[Tensor, "6 face face"] | None = None
    gaussians: Callable[[], Gaussians] | None = None

    def to(self, device: torch.device) -> Seen:
        """The same on another device."""
        known = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        make = known.pop("gaussians", None)
        moved = {name: value.to(device) for name, value in known.items()}
        return replace(self, **moved, gaussians=None if make is None else lambda: make().to(device))


class ScaffoldNetwork:
    """A scaffold network behind one interface.

    Attributes:
        network: With its weights.
        face_px: Side of the faces that the weights are for [pixels].
        side_px: What a face's side must be a multiple of [pixels].
        fov_deg: Field of view of the faces that the weights are for [degrees].
        grid: Where faces sample the panorama (see :func:`onescene.geometry.cubemap.faces_from_panorama`).
        has_gaussians: Whether it has heads for Gaussians.
        large: Whether its attention is worth the speed of bfloat16, on a GPU that has it.
    """

    grid: Grid = "paper"
    has_gaussians = False
    large = False

    def __init__(self, network: nn.Module, face_px: int, side_px: int, fov_deg: float) -> None:
        self.network, self.face_px, self.side_px, self.fov_deg = network, face_px, side_px, fov_deg

    def see(self, faces: Float[Tensor, "6 3 face face"]) -> Seen:
        """One pass over the faces of one panorama, RGB in [0, 1], order F R B L U D.

        The network computes where its weights are; the answer is where the faces are.
        """
        device = next(self.network.parameters()).device
        with arithmetic(device, best_precision(device) if self.large else "float32"):
            return self._see(faces.to(device)).to(faces.device)

    def _see(self, faces: Float[Tensor, "6 3 face face"]) -> Seen:
        raise NotImplementedError

    def _from_faces(self, log_distance: Tensor, sky_logit: Tensor | None = None, gaussians=None) -> Seen:
        """C2E of what is known of the faces' pixels."""
        hw = (log_distance.shape[-1], 2 * log_distance.shape[-1])
        maps = [log_distance] if sky_logit is None else [log_distance, sky_logit]
        around = panorama_from_faces(torch.stack(maps, dim=1), hw, self.fov_deg)
        return Seen(around[0], None if sky_logit is None else around[1], log_distance, sky_logit, gaussians)


class _Cube(ScaffoldNetwork):
    def __init__(self, network: CubeScaffold) -> None:
        super().__init__(network, network.config.face_px, 32, network.config.fov_deg)

    def _see(self, faces: Float[Tensor, "6 3 face face"]) -> Seen:
        out = self.network(faces[None])
        return Seen(out.log_distance[0], out.sky_logit[0], out.face_log_distance[0])


class _One2Scene(ScaffoldNetwork):
    large = True

    def __init__(self, network: One2Scene) -> None:
        config = network.config
        super().__init__(network, config.face_px, config.side_px, config.fov_deg)
        self.has_gaussians = config.gaussians

    def _see(self, faces: Float[Tensor, "6 3 face face"]) -> Seen:
        out = self.network(faces[None])
        sky = None if out.face_sky_logit is None else out.face_sky_logit[0]
        return self._from_faces(out.face_log_distance[0], sky, out.gaussians if self.has_gaussians else None)


class _VGGT(ScaffoldNetwork):
    large = True

    def __init__(self, network: vggt.VGGT) -> None:
        config = network.config
        super().__init__(network, config.img_size, config.side_px, config.fusion_fov_deg)

    def _see(self, faces: Float[Tensor, "6 3 face face"]) -> Seen:
        depth_z = self.network(faces[None]).depth_z[0]
        return self._from_faces(distance_from_depth_z(depth_z, self.fov_deg).log())


class _Release(ScaffoldNetwork):
    """Cut and placed as the release does it: a grid from edge to edge, the centre half a pixel off."""

    grid = "release"
    has_gaussians = True

    def __init__(self, network: release.ReleaseScaffold) -> None:
        super().__init__(network, _RELEASE_FACE_PX, network.config.patch_size, _FOV_DEG)

    def _see(self, faces: Float[Tensor, "6 3 face face"]) -> Seen:
        size = faces.shape[-1]
        cameras = face_cameras(size, self.fov_deg, device=faces.device, dtype=faces.dtype)
        K = cameras.K / size
        K[:, :2, 2], K[:, 2, 2] = (size - 1) / (2 * size), 1
        out = self.network(faces[None], K[None], cameras.world_from_cam[None])
        distance = out.distance[0].clamp(*_RELEASE_RANGE)
        return self._from_faces(
            distance.log(), gaussians=lambda: release.as_gaussians(out.gaussians, cameras.world_from_cam)
        )


_VIEWS: tuple[tuple[type[nn.Module], type[ScaffoldNetwork]], ...] = (
    (CubeScaffold, _Cube),
    (One2Scene, _One2Scene),  # before VGGT, which it is one of
    (vggt.VGGT, _VGGT),
    (release.ReleaseScaffold, _Release),
)


def as_scaffold(network: nn.Module | ScaffoldNetwork) -> ScaffoldNetwork:
    """The stage's view of a network.

    Raises:
        ValueError: it is no scaffold network.
    """
    if isinstance(network, ScaffoldNetwork):
        return network
    for kind, view in _VIEWS:
        if isinstance(network, kind):
            return view(network)
    names = ", ".join(kind.__name__ for kind, _ in _VIEWS)
    raise ValueError(f"network must be a scaffold network ({names}), got {type(network).__name__}")


SHIPPED_SCAFFOLDS = ("scaffold-small", "one2scene-small")
"""Names that stand for the weights that come with the package; the first is the default."""


def scaffold_file(weights: str | Path | None = None) -> Path:
    """The file that is meant: a name of :data:`SHIPPED_SCAFFOLDS`, unless such a file lies here, or a path.

    >>> scaffold_file("one2scene-small").name
    'one2scene.safetensors.index.json'
    """
    named = SHIPPED_SCAFFOLDS[0] if weights is None else str(weights)
    return shipped_scaffold_path(named) if named in SHIPPED_SCAFFOLDS and not Path(named).is_file() else Path(named)


def identify_scaffold(path: str | Path) -> str:
    """Name of the scaffold model that a weights file holds; reads keys and shapes, no values, and runs nothing.

    Args:
        path: As in :func:`scaffold_file`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not readable, code in it, of another architecture, or keys and shapes that do not fit.
    """
    path = scaffold_file(path)
    if not path.is_file():
        raise FileNotFoundError(f"scaffold weights not found: {path}")
    if config_in(path) is not None:
        check_one2scene(path)
        return _ONE2SCENE
    found = check_file(path)
    if found.model not in _OPENERS:
        raise ValueError(f"weights fit no scaffold network: {path} (nearest model: {found.model})")
    if found.model != "VGGT-1B":  # of which not all has to be there
        found.report.refuse_misfit(found.model, path)
    return found.model


def has_heads(path: str | Path | None) -> bool:
    """Whether a weights file's network gives Gaussians of its own, with heads that were trained.

    Args:
        path: As in :func:`scaffold_file`.

    Raises:
        FileNotFoundError, ValueError: as :func:`identify_scaffold`.
    """
    path = scaffold_file(path)
    name = identify_scaffold(path)
    return config_in(path).gaussians if name == _ONE2SCENE else name == "one2scene-scaffold"


def open_scaffold(
    path: str | Path | None = None, device: str | torch.device | None = None
) -> tuple[ScaffoldNetwork, WeightFile]:
    """The scaffold network of a weights file, whatever its architecture, in evaluation mode and without gradients.

    Args:
        path: As in :func:`scaffold_file`.
        device: Where it is to compute; None = the GPU that torch sees, else the processor.

    Raises:
        FileNotFoundError, ValueError: as :func:`identify_scaffold`.
    """
    path = scaffold_file(path)
    network, file = _OPENERS[identify_scaffold(path)](path)
    network = network.to(best_device() if device is None else device)
    return as_scaffold(network.eval().requires_grad_(False)), file


def _open_vggt(path: Path) -> tuple[vggt.VGGT, WeightFile]:
    network = vggt.VGGT(replace(vggt.PAPER, camera_head=False))
    load_public(network, path)
    return network, _official("VGGT-1B", path)


def _open_release(path: Path) -> tuple[release.ReleaseScaffold, WeightFile]:
    network, prefix = release.ReleaseScaffold(release.RELEASED), release.KEY_PREFIX
    tensors = {k.removeprefix(prefix): v for k, v in read_state_dict(path).items()}
    compare_keys(network, tensors).refuse_misfit("the released scaffold", path)
    network.load_state_dict(tensors)
    return network, _official("one2scene-scaffold", path)


def _official(name: str, path: Path) -> WeightFile:
    licence = next(model.licence for model in MODELS if model.name == name)
    return WeightFile(name, path, sha256_of(path), licence)


_ONE2SCENE = "one2scene"
_OPENERS: dict[str, Callable[[Path], tuple[nn.Module, WeightFile]]] = {
    "scaffold-small": load_scaffold,
    "scaffold-small without fusion": load_scaffold,
    _ONE2SCENE: load_one2scene,
    "VGGT-1B": _open_vggt,
    "one2scene-scaffold": _open_release,
}
SCAFFOLDS = tuple(_OPENERS)
"""Models whose files :func:`open_scaffold` reads."""
