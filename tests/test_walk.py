"""Views one at a time: the same as a trajectory of chunks of one new frame, and the widget that asks for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_diffusion_views import SCENE, guide
from test_views_stage import cameras_at
from torch.testing import assert_close
from view_models import tiny_models

from onescene.models.seva.chunks import ChunkConfig, plan_chunks
from onescene.plots import image_row
from onescene.stages import views
from onescene.stages.diffusion_views import SynthesisConfig
from onescene.stages.walk import Walk
from onescene.types import Gaussians
from onescene.viewer import ViewMaker
from onescene.viewer.view_maker import ViewPanel
from onescene.viewer.widget import reframed

CAMERAS = cameras_at([0, 0.3, 0.1, 0.2], (24, 32))


def test_chunks_of_one_new_frame_remember_every_frame_before():
    poses = CAMERAS.world_from_cam
    plan = list(plan_chunks(poses, poses[:1], ChunkConfig(targets=3, clean=2, new=1)))
    assert [(c.targets, c.new) for c in plan] == [((i,) * 3, 1) for i in range(4)]
    assert [c.memory for c in plan] == [(), (0,), (0,), (2,)], "the nearest of those before (the first of equals)"
    with pytest.raises(ValueError, match="new must be at most the number of targets, got 4 of 3"):
        ChunkConfig(targets=3, new=4)
    with pytest.raises(ValueError, match="new must be >= 1"):
        ChunkConfig(targets=3, new=0)


def test_a_walk_makes_what_the_trajectory_of_its_cameras_would_be():
    models = tiny_models()
    walk, calls = Walk(SCENE, guide(models=models)), []
    looked = []
    for i in range(4):
        handle = models.denoiser.register_forward_hook(lambda *a: calls.append(1))
        looked.append(walk.look(CAMERAS[i]))
        handle.remove()
    assert len(calls) == 4 * models.manifest.steps, "earlier views are not made again"
    config = views.ViewsConfig("dual-lora")
    whole = views.run(SCENE, CAMERAS, config, guide=guide(SynthesisConfig(new=1), models))
    for name in ("rgb", "rendered", "depth_z", "holes"):
        assert_close(torch.cat([getattr(v, name) for v in looked]), getattr(whole, name))
    fresh = Walk(SCENE, guide(models=models)).look(CAMERAS[1])
    assert not torch.equal(fresh.rgb, looked[1].rgb), "the first view is remembered"
    walk.forget()
    assert walk.cameras is None and torch.equal(walk.look(CAMERAS[0]).rgb, looked[0].rgb)


def test_a_walk_keeps_no_more_than_its_capacity():
    """Of two equal cameras the older goes."""
    walk = Walk(SCENE, guide(SynthesisConfig(capacity=2)))
    for i in (0, 1, 1, 0):
        walk.look(CAMERAS[i])
        assert len(walk.cameras) <= 2
    assert sorted(walk.cameras.world_from_cam[:, 0, 3].tolist()) == pytest.approx([0, 0.3])


def test_mistakes_of_a_walk_are_named():
    walk = Walk(SCENE, guide())
    with pytest.raises(ValueError, match="camera must be one camera, got 2"):
        walk.look(CAMERAS[:2])
    walk.look(CAMERAS[0])
    with pytest.raises(ValueError, match=r"one size, got \(12, 16\) after \(24, 32\)"):
        walk.look(CAMERAS[0].resized((12, 16)))
    none = Gaussians(**{name: value[:0] for name, value in vars(SCENE).items()})
    with pytest.raises(ValueError, match="at least one Gaussian"):
        Walk(none, guide())


# --- the widget ------------------------------------------------------------------------------------------------------


def new_maker() -> ViewMaker:
    walk = Walk(SCENE, guide())

    def draw(pictures):
        return image_row(list(pictures.values()), list(pictures))

    return ViewMaker(SCENE, walk.pictures, draw, forget=walk.forget, hw=(24, 32), start_camera=CAMERAS[0])


def test_a_view_is_made_where_the_person_stands(monkeypatch):
    monkeypatch.setenv("ONESCENE_BATCH", "1")
    maker = new_maker()
    assert maker.jpeg() == b"" and "image/jpeg" in maker._repr_mimebundle_()[0]
    first = maker.make()
    maker.viewer.camera = replace(maker.viewer.camera, world_from_cam=CAMERAS[1].world_from_cam)
    second = maker.make()
    assert [tuple(p.shape) for p in second.values()] == [(3, 24, 32)] * 2
    assert not torch.equal(first["scaffold"], second["scaffold"])
    assert torch.equal(maker.cameras[1].K, reframed(maker.viewer.camera, (24, 32)).K)
    bundle, _ = maker._repr_mimebundle_()
    assert bundle["text/plain"] == "ViewMaker with 2 views" and len(bundle["image/jpeg"]) > 1000


def test_buttons_make_views_and_say_mistakes(monkeypatch):
    monkeypatch.setenv("ONESCENE_BATCH", "0")
    maker = new_maker()
    panel = ViewPanel(maker)
    panel.button.click()
    assert (
        panel.picture.value[:2] == b"\xff\xd8" and panel.note.value.startswith("1 made") and not panel.button.disabled
    )
    maker.hw = (12, 16)
    panel.button.click()
    assert "one size" in panel.note.value and len(maker.views) == 1 and not panel.button.disabled
    panel.anew.click()
    assert maker.views == [] and panel.picture.value == b""
    panel.button.click()
    assert len(maker.views) == 1, "after beginning anew another size may come"
