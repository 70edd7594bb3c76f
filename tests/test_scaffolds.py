"""Every scaffold network behind the same stage: found by its file, Gaussians its own or lifted, bad files refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_weights import fill
from PIL import Image
from test_one2scene import PUBLIC
from test_one2scene import TINY as ONE2SCENE_TINY
from test_one2scene_release import TIED, cameras
from test_one2scene_release import TINY as RELEASE_TINY
from torch.testing import assert_close

from onescene.cli import main
from onescene.geometry.cubemap import face_directions, faces_from_panorama
from onescene.geometry.equirect import directions_from_panorama
from onescene.io import load_gaussians
from onescene.models import one2scene_release, registry, vggt
from onescene.models.loading import half_bytes, shards_of, shipped_scaffold_path
from onescene.models.one2scene import One2Scene
from onescene.models.one2scene.weights import one2scene_bytes
from onescene.models.one2scene_release import KEY_PREFIX, ReleaseScaffold, as_gaussians
from onescene.models.scaffold import CubeScaffold
from onescene.models.scaffolds import ScaffoldNetwork, Seen, as_scaffold, open_scaffold, scaffold_file
from onescene.models.vggt import VGGT
from onescene.pipeline.evaluation import EvaluationConfig, RoomSamples, evaluate_sample
from onescene.stages import scaffold
from onescene.stages.scaffold import ScaffoldConfig
from onescene.types import Gaussians

VGGT_TINY = dataclasses.replace(PUBLIC, camera_head=False)
SMALL_RUN = {"panorama_height": 64, "face_px": 32, "turns": 1}


@pytest.fixture
def tiny_sizes(monkeypatch):
    """The public networks at test sizes, as files of a few megabytes."""
    tiny = {
        "VGGT-1B": lambda: VGGT(dataclasses.replace(PUBLIC, point_head=True)),
        "one2scene-scaffold": lambda: ReleaseScaffold(RELEASE_TINY),
    }
    changed = [dataclasses.replace(a, build=tiny.get(a.name, a.build)) for a in registry.ARCHITECTURES]
    monkeypatch.setattr(registry, "ARCHITECTURES", tuple(changed))
    monkeypatch.setattr(vggt, "PAPER", PUBLIC)
    monkeypatch.setattr(one2scene_release, "RELEASED", RELEASE_TINY)


@pytest.fixture(scope="module")
def one2scene_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "one2scene.safetensors"
    path.write_bytes(one2scene_bytes(One2Scene(ONE2SCENE_TINY), {"licence": "Apache-2.0", "name": "test-scaffold"}))
    return path


@pytest.fixture(scope="module")
def panorama_file(tmp_path_factory):
    rgb = 0.5 + 0.4 * torch.sin(2 * directions_from_panorama((64, 128)))
    path = tmp_path_factory.mktemp("panorama") / "p.png"
    Image.fromarray((rgb * 255).byte().numpy()).save(path)
    return path


def waves() -> torch.Tensor:
    return 0.5 + 0.4 * torch.sin(2 * directions_from_panorama((64, 128))).movedim(-1, 0)


# --- what the stage makes of a network ---------------------------------------------------------------------------


class Box(ScaffoldNetwork):
    """Knows a box of 4 x 2 x 6 metres exactly, open to the sky; a Gaussian stands on every ray's end."""

    has_gaussians = True
    HALF = torch.tensor([2.0, 1.0, 3.0])

    def __init__(self) -> None:
        super().__init__(torch.nn.Identity(), 32, 32, 95.0)

    def see(self, faces: torch.Tensor) -> Seen:
        rays = face_directions(faces.shape[-1], self.fov_deg)
        log_distance = (1 / (rays.abs() / self.HALF).amax(-1)).log()
        means = (rays * log_distance.exp()[..., None]).flatten(0, 2)
        own = Gaussians(
            means=means,
            quats=torch.tensor([1.0, 0, 0, 0]).expand(len(means), 4),
            scales=torch.full_like(means, 0.01),
            opacities=torch.full((len(means),), 0.5),
            sh=torch.zeros(len(means), 1, 3),
        )
        sky = torch.where(rays[..., 1] < -0.9, 5.0, -5.0)
        return self._from_faces(log_distance, sky, lambda: own)


def test_own_gaussians_keep_their_shape_and_the_sky_goes_far():
    out = scaffold.run(waves(), Box(), ScaffoldConfig(face_px=32))
    assert out.source == "heads" and len(out.gaussians) == 6 * 32 * 32
    rays = face_directions(32, 95.0).flatten(0, 2)
    true = 1 / (rays.abs() / Box.HALF).amax(-1)
    sky = rays[:, 1] < -0.9
    distance = out.gaussians.means.norm(dim=-1)
    assert_close(distance[~sky] * out.metres_per_unit, true[~sky], rtol=1e-4, atol=1e-4)
    assert_close(out.gaussians.scales[~sky] * out.metres_per_unit, torch.full((int((~sky).sum()), 3), 0.01))
    assert distance[sky].min() >= 10 - 1e-3 and out.distance.max() == pytest.approx(
        distance[sky].max().item(), rel=1e-4
    )
    assert_close(out.gaussians.scales[sky] / distance[sky, None], (0.01 / true[sky])[:, None].expand(-1, 3))
    ground = out.sky < 0.7
    on_map = 1 / (directions_from_panorama((64, 128)).abs() / Box.HALF).amax(-1)
    assert ((out.distance * out.metres_per_unit / on_map).log()[ground].abs() < 0.1).float().mean() > 0.98
    assert out.distance[ground].median() == pytest.approx(2.0, rel=0.05)


def test_the_same_network_lifted():
    out = scaffold.run(waves(), Box(), ScaffoldConfig(face_px=32, source="lifted", turns=1))
    assert out.source == "lifted" and len(out.gaussians) == 6 * 30**2 and (out.gaussians.opacities > 0.9).all()


def test_other_anchors_are_warned_of_and_the_distance_stays_right():
    """The network sees faces of its own field of view, so that the distance is that of any anchors."""
    usual = scaffold.run(waves(), Box(), ScaffoldConfig(face_px=32))
    with pytest.warns(UserWarning, match="fov_deg is 100, the weights are for 95"):
        other = scaffold.run(waves(), Box(), ScaffoldConfig(face_px=32, fov_deg=100.0))
    assert_close(other.distance, usual.distance)
    assert not torch.equal(other.faces, usual.faces)


# --- the networks themselves -------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_releases_scaffold_as_the_release_places_it(tiny_sizes, tmp_path):
    """Through a Lightning checkpoint: faces from edge to edge, its intrinsics, its Gaussians, scaled as a whole."""
    network = fill(ReleaseScaffold(RELEASE_TINY), TIED)
    torch.save({"state_dict": {KEY_PREFIX + k: v for k, v in network.state_dict().items()}}, tmp_path / "s.ckpt")
    view, file = open_scaffold(tmp_path / "s.ckpt")
    assert (file.name, file.licence, view.face_px, view.side_px) == ("one2scene-scaffold", "none stated", 512, 16)
    out = scaffold.run(waves(), view, ScaffoldConfig(face_px=32, network_px=32))
    faces = faces_from_panorama(waves(), 32, 95.0, grid="release")[None]
    K, poses = cameras(32)
    found = network(faces, K, poses)
    true = as_gaussians(found.gaussians, poses[0])
    assert_close(out.gaussians.means * out.metres_per_unit, true.means, rtol=1e-4, atol=1e-5)
    assert_close(out.gaussians.sh, true.sh, rtol=1e-4, atol=1e-5)
    assert out.source == "heads" and out.gaussians.sh_degree == 3
    assert (out.sky < 1e-6).all()


@torch.no_grad()
def test_public_vggt_gives_distances_to_lift(tiny_sizes, tmp_path):
    torch.save(fill(VGGT(dataclasses.replace(PUBLIC, point_head=True))).state_dict(), tmp_path / "model.pt")
    view, file = open_scaffold(tmp_path / "model.pt")
    assert file.name == "VGGT-1B" and "non-commercial" in file.licence
    assert (view.face_px, view.has_gaussians) == (PUBLIC.img_size, False)
    faces = faces_from_panorama(waves(), 28, 95.0)
    depth_z = view.network(faces[None]).depth_z[0]
    seen = view.see(faces)
    forward = face_directions(28, 95.0)[0, ..., 2]
    assert_close(seen.face_log_distance[0].exp() * forward, depth_z[0], rtol=1e-4, atol=1e-5)
    out = scaffold.run(waves(), view, ScaffoldConfig(face_px=32, turns=1, mirror=False))
    assert out.source == "lifted" and torch.isfinite(out.distance).all()


NETWORKS = {
    "cube": lambda: CubeScaffold(),
    "one2scene": lambda: One2Scene(ONE2SCENE_TINY),
    "vggt": lambda: VGGT(PUBLIC),
    "release": lambda: ReleaseScaffold(RELEASE_TINY),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_everything_is_computed_where_the_weights_are(name, monkeypatch):
    """On a device that computes shapes alone, and that refuses to mix with the processor's tensors."""
    monkeypatch.setattr("onescene.models.one2scene.network._check_faces", lambda *given: None)  # it reads values
    with torch.device("meta"):
        view = as_scaffold(NETWORKS[name]().eval().requires_grad_(False))
    face_px = 2 * view.side_px
    seen = view._see(torch.rand(6, 3, face_px, face_px, device="meta"))
    assert seen.log_distance.device.type == seen.face_log_distance.device.type == "meta"
    assert seen.log_distance.shape == (face_px, 2 * face_px) and seen.log_distance.dtype == torch.float32
    if seen.gaussians is not None:
        assert len(seen.gaussians()) == 6 * face_px**2 and seen.gaussians().means.device.type == "meta"


@torch.no_grad()
@pytest.mark.parametrize("name", ["one2scene", "vggt"])
def test_in_bfloat16_a_large_network_sees_the_same(name, monkeypatch):
    torch.manual_seed(0)
    view = as_scaffold(NETWORKS[name]().eval())
    faces = faces_from_panorama(waves(), view.face_px, 95.0)
    exact = view.see(faces)
    monkeypatch.setattr("onescene.models.scaffolds.best_precision", lambda device: "bfloat16")
    quick = view.see(faces)
    assert quick.log_distance.dtype == torch.float32 and not torch.equal(quick.log_distance, exact.log_distance)
    assert (quick.log_distance - exact.log_distance).abs().max() < 0.05
    assert not torch.is_autocast_enabled("cpu")


def test_the_shipped_file_is_the_default():
    view, file = open_scaffold()
    assert isinstance(view.network, CubeScaffold) and file.path == shipped_scaffold_path() and not view.has_gaussians
    assert as_scaffold(view) is view
    with pytest.raises(ValueError, match=r"network must be a scaffold network \(CubeScaffold, One2Scene, .*got Linear"):
        as_scaffold(torch.nn.Linear(1, 1))


def test_what_comes_with_the_package_has_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {scaffold_file(), scaffold_file("scaffold-small")} == {shipped_scaffold_path()}
    view, file = open_scaffold("one2scene-small")
    assert file.name == "one2scene-small" and file.path == scaffold_file("one2scene-small") in registry.shipped_files()
    assert isinstance(view.network, One2Scene) and not view.has_gaussians and file.licence == "Apache-2.0"
    out = scaffold.run(waves(), view, ScaffoldConfig(face_px=32, turns=1, mirror=False))
    assert out.source == "lifted" and torch.isfinite(out.distance).all()
    with pytest.raises(ValueError, match="use lifted"):
        scaffold.run(waves(), view, ScaffoldConfig(face_px=32, source="heads"))
    assert 20e6 < sum(p.stat().st_size for p in shards_of(file.path)) < 24e6
    (tmp_path / "one2scene-small").write_text("mine")  # a file of the user's goes first
    assert scaffold_file("one2scene-small") == Path("one2scene-small")


# --- from the command line ---------------------------------------------------------------------------------------


def test_a_file_of_the_papers_network_runs_as_the_shipped_one_does(tmp_path, one2scene_file, panorama_file, capsys):
    params = tmp_path / "p.yaml"
    params.write_text(json.dumps(SMALL_RUN))
    command = ["scaffold", str(panorama_file), "--out", str(tmp_path / "run"), "--params", str(params)]
    counts = {}
    for source in ("auto", "lifted"):
        assert main([*command, "--weights", str(one2scene_file), "--gaussians", source]) == 0
        gaussians = load_gaussians(tmp_path / "run" / "03_scaffold" / "gaussians.ply")
        counts[source] = len(gaussians)
        distance = np.load(tmp_path / "run" / "03_scaffold" / "distance.npy")
        assert distance.shape == (64, 128) and np.isfinite(distance).all() and (distance > 0).all()
        run = json.loads((tmp_path / "run" / "run.json").read_text())
        (used,) = (weights for weights in run["weights"] if not weights["name"].startswith("views-"))
        assert used["name"] == "test-scaffold" and used["licence"] == "Apache-2.0"
        stage = next(s for s in run["stages"] if s["name"] == "03_scaffold")
        assert stage["source"] == {"auto": "heads"}.get(source, source)
    assert counts == {"auto": 6 * 32 * 32, "lifted": 6 * 30**2}
    capsys.readouterr()
    assert main([*command, "--weights", str(one2scene_file), "--gaussians", "lifted"]) == 0
    assert "03_scaffold: up to date" in capsys.readouterr().err
    before = sorted(tmp_path.rglob("*"))
    for weights in ("scaffold-small", "one2scene-small"):  # said before anything starts
        assert main([*command, "--weights", weights, "--gaussians", "heads"]) == 2
        assert "has no trained heads for Gaussians; use lifted" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_it_is_evaluated_as_the_shipped_one_is(tmp_path, one2scene_file, capsys):
    """Its own Gaussians from displaced views beside its distance lifted, and every rule of depth by its name."""
    data = tmp_path / "rooms"
    assert main(["data", "rooms", "--out", str(data), "--count", "1", "--height", "64"]) == 0
    capsys.readouterr()
    command = ["evaluate", "scaffold", "--data", str(data), "--weights", str(one2scene_file)]
    assert main([*command, "--rules", "all", "--latitude", "--out", str(tmp_path / "rows.csv")]) == 0
    said = json.loads(capsys.readouterr().out)
    rules = ("unifuse", "one2scene_release", "da2", "metric")
    assert {f"{m}_{r}_latitude" for m in ("abs_rel", "delta1") for r in rules} <= set(said["rules"])
    assert said["rules"]["panoramas_da2"] == 1 and not set(said["rules"]) & set(said["mean"])
    assert "abs_rel_da2_latitude" in (tmp_path / "rows.csv").read_text().splitlines()[0]
    for words, sentence in (
        (["--rules", "best"], "rule must be all or one of unifuse"),
        (["--latitude"], "name some with --rules"),
        (["--gaussians", "all"], "source must be one of auto, heads, lifted"),
    ):
        assert main([*command, *words]) == 2
        assert sentence in capsys.readouterr().err


def test_own_gaussians_are_judged_from_displaced_views():
    sample = next(iter(RoomSamples(1, height_px=64, view_px=32)))
    row = evaluate_sample(sample, Box(), EvaluationConfig(scaffold=ScaffoldConfig(face_px=32)))
    assert 0 < row["heads_displaced_psnr_db"] < row["exact_displaced_psnr_db"]
    lifted = ScaffoldConfig(face_px=32, source="lifted", turns=1)
    assert "heads_displaced_psnr_db" not in evaluate_sample(sample, Box(), EvaluationConfig(scaffold=lifted))


class Evil:
    """What a hostile pickle does when it is opened."""

    def __reduce__(self):
        return (print, ("ran",))


def bad_file(kind: str, folder, good) -> str:
    path = folder / ("bad.safetensors" if kind in ("truncated", "text", "misfit") else "bad.pt")
    if kind == "truncated":
        path.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    elif kind == "text":
        path.write_text("no weights")
    elif kind == "code":
        torch.save({"state_dict": {"a": torch.zeros(1)}, "callback": Evil()}, path)
    elif kind == "other":
        torch.save({"input_blocks.0.0.weight": torch.zeros(3)}, path)
    elif kind == "misfit":
        sizes = json.dumps(dataclasses.asdict(ONE2SCENE_TINY))
        path.write_bytes(half_bytes(VGGT(VGGT_TINY), {"one2scene_config": sizes}))
    elif kind == "cut":
        torch.save({"aggregator.a": torch.zeros(2000)}, path)
        path.write_bytes(path.read_bytes()[:-500])
    return str(path)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "scaffold weights not found"),
        ("truncated", "not a readable safetensors file"),
        ("text", "not a readable safetensors file"),
        ("cut", "not a readable weights file"),
        ("code", "weights file with code in it"),
        ("other", "weights fit no scaffold network"),
        ("misfit", "weights do not fit One2Scene"),
    ],
)
@pytest.mark.parametrize("command", ["scaffold", "evaluate"])
def test_bad_weights_are_one_sentence(kind, words, command, tmp_path, one2scene_file, panorama_file, capsys):
    path, out = bad_file(kind, tmp_path, one2scene_file), tmp_path / "run"
    calls = {
        "scaffold": ["scaffold", str(panorama_file), "--out", str(out), "--weights", path],
        "evaluate": ["evaluate", "scaffold", "--data", str(tmp_path), "--out", str(out), "--weights", path],
    }
    assert main(calls[command]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and "ran" not in said.out.split()
    assert not out.exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ScaffoldConfig(network_px=40), "network_px must be a multiple of 32, got 40"),
        (ScaffoldConfig(source="magic"), "source must be one of auto, heads, lifted, got 'magic'"),
    ],
)
def test_wrong_settings_are_named(config, words):
    with pytest.raises(ValueError, match=words):
        scaffold.run(waves(), Box(), config)


def test_a_panorama_with_holes_is_refused():
    broken = waves()
    broken[1, 3, 5] = torch.nan
    for network in (Box(), CubeScaffold()):
        with pytest.raises(ValueError, match="panorama must be finite, got NaN or infinity"):
            scaffold.run(broken, network)
