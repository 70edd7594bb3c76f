"""Conditions of a chunk, memory, and chunks of long trajectories, by hand and against the release's stored choices."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_seva import waves
from test_seva_sampling import moved
from torch.testing import assert_close

from onescene.geometry.plucker import normalise_cameras, plucker_maps
from onescene.models.seva.chunks import ChunkConfig, ChunkSources, generate_chunks, plan_chunks
from onescene.models.seva.conditioning import ChunkViews, PosedLatents, assemble
from onescene.models.seva.memory import camera_cost, choose_views, most_redundant


def posed(cameras: torch.Tensor, value: float) -> PosedLatents:
    """Views whose latents and embeddings are one number."""
    n = len(cameras)
    K = torch.tensor([[0.8, 0, 0.5], [0, 0.8, 0.5], [0, 0, 1]]).repeat(n, 1, 1)
    latents, embeddings = torch.full((n, 4, 2, 3), float(value)), torch.full((n, 5), float(value))
    return PosedLatents(latents=latents, embeddings=embeddings, world_from_cam=cameras, K_normalised=K)


VIEWS = ChunkViews(anchors=posed(moved(0, 0, 0), 1), renders=posed(moved(1, 2), 10), memory=posed(moved(0.5), 100))


# --- conditions ------------------------------------------------------------------------------------------------------

FORMS = {
    "anchors": ([1, 1, 1, 0, 0], [0, 0, 0, 0, 0], 1),
    "renders": ([10, 10, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0, 0], 23 / 5),
    "memory": ([10, 10, 1, 1, 1, 100, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0], 123 / 6),
    "concat": ([1, 1, 1, 0, 0], [0, 0, 0, 0, 0], 1),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_by_hand(form):
    latents, source, embedding = FORMS[form]
    found = assemble(form, VIEWS)
    assert found.latents[:, 2, 1, 1].tolist() == latents
    assert found.source_view_mask.tolist() == source
    assert found.known.tolist() == [1] * (len(latents) - 2) + [0, 0]
    assert_close(found.context, torch.full((len(latents), 1, 5), float(embedding)))
    renders = [moved(1, 2)] if form in ("renders", "memory") else []
    memory = [moved(0.5)] if form == "memory" else []
    cameras = normalise_cameras(torch.cat([*renders, moved(0, 0, 0), *memory, moved(1, 2)]))
    assert_close(found.world_from_cam, cameras)
    assert_close(found.rays, plucker_maps(cameras, found.K_normalised, (2, 3)))
    x = found.network_input(waves(len(latents), 4, 2, 3))
    assert x.shape[1] == (15 if form == "concat" else 11)
    assert_close(x[:, 4], found.known[:, None, None].expand(-1, 2, 3))
    assert_close(x[:, 5:11], found.rays)
    if form == "concat":
        assert x[:, 11:].mean(dim=(1, 2, 3)).tolist() == [0, 0, 0, 10, 10]


def test_the_release_has_21_frames():
    views = ChunkViews(anchors=posed(moved(*[0] * 3), 1), renders=posed(moved(*range(1, 9)), 2))
    found = assemble("memory", replace(views, memory=posed(moved(9, 10), 3)))
    assert len(found.known) == 21
    assert found.known.tolist() == [1] * 13 + [0] * 8
    assert found.source_view_mask.tolist() == [1] * 8 + [0] * 13
    empty = assemble("memory", views)
    assert_close(empty.latents, assemble("renders", views).latents, atol=0, rtol=0)


def test_without_conditions_only_cameras_are_known():
    given = assemble("memory", VIEWS)
    found = given.unconditional()
    assert not (found.latents.any() or found.known.any() or found.context.any())
    assert_close(found.rays, given.rays, atol=0, rtol=0)
    assert_close(found.source_view_mask, given.source_view_mask, atol=0, rtol=0)


def test_impossible_conditions(shapes_unchecked):
    with pytest.raises(ValueError, match=r"form must be one of .*, got 'render'"):
        assemble("render", VIEWS)
    with pytest.raises(ValueError, match="at least one target"):
        assemble("renders", replace(VIEWS, renders=VIEWS.renders[[]]))
    with pytest.raises(ValueError, match="at least one input"):
        assemble("anchors", replace(VIEWS, anchors=VIEWS.anchors[[]]))
    with pytest.raises(ValueError, match="views must agree in number"):
        replace(VIEWS.anchors, embeddings=torch.zeros(2, 5))


# --- memory ----------------------------------------------------------------------------------------------------------


def test_the_release_chooses_as_stored(golden_file):
    with np.load(golden_file("seva_geometry"), allow_pickle=False) as file:
        cameras, targets, wanted = (torch.from_numpy(file[f"selection_{k}"]) for k in ("c2w", "targets", "indices"))
    for chunk, choice in zip(targets.tolist(), wanted.tolist(), strict=True):
        anchors, generated = choose_views("3 anchors + 2 generated", cameras[chunk], cameras[:6], cameras[6 : chunk[0]])
        # the release lists the three anchors, the generated frames, then the anchors that fill up
        assert anchors[:3] + [6 + g for g in generated] + anchors[3:] == choice
    config = ChunkConfig(policy="3 anchors + 2 generated", capacity=100)
    plan = list(plan_chunks(cameras[6:], cameras[:6], config))
    assert [[6 + t for t in c.targets] for c in plan] == targets.tolist()
    assert [sorted((*c.anchors, *(6 + m for m in c.memory))) for c in plan] == [sorted(w) for w in wanted.tolist()]


def test_choices_by_hand():
    targets, anchors, generated = moved(4, 5, 6, 7), moved(0, 6.1, 4.1, 5.6), moved(9, 4.4, 6.9)
    assert choose_views("3 anchors + 2 generated", targets, anchors, generated) == ([2, 3, 1], [1, 2])
    assert choose_views("3 anchors + 2 generated", targets, anchors, generated[:1]) == ([2, 3, 1, 0], [0])
    assert choose_views("nearest", targets, anchors, generated, clean=3) == ([3, 1], [1])
    assert choose_views("nearest", targets, anchors, generated[:0], clean=3) == ([3, 1, 2], [])
    assert choose_views("nearest", targets, anchors[:1], generated) == ([0], [1])


def test_the_nearest_frame_is_the_one_of_the_smallest_mean_cost():
    targets, generated = moved(0, 1, 2), moved(5, 0.2, 1.1, -3)
    slow = [sum(float(camera_cost(t[None], g[None])) for t in targets) for g in generated]
    assert choose_views("nearest", targets, moved(0), generated)[1] == [slow.index(min(slow))]


def test_a_full_memory_loses_the_older_of_its_closest_two():
    assert most_redundant(moved(0, 5, 5.1, 9)) == 1
    assert most_redundant(moved(0, 0)) == 0
    with pytest.raises(ValueError, match="at least two, got 1"):
        most_redundant(moved(0))


# --- chunks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["nearest", "3 anchors + 2 generated"])
@pytest.mark.parametrize("frames", [1, 8, 9, 200])
def test_a_plan_covers_every_frame_and_forgets_in_time(policy, frames):
    cameras, config = moved(*[i / 10 for i in range(frames)]), ChunkConfig(policy=policy, capacity=12)
    kept, covered = set(), []
    for chunk in plan_chunks(cameras, moved(0, 1, 2, 3, 4, 5), config):
        assert len(chunk.targets) == 8 and len(chunk.anchors) + len(chunk.memory) == 5
        assert set(chunk.memory) <= kept, "a forgotten frame is asked for"
        covered += chunk.targets[: chunk.new]
        kept = (kept | set(chunk.targets)) - set(chunk.forgotten)
        assert len(kept) <= 12
    assert covered == list(range(frames)) and not kept


def sources(cameras: torch.Tensor, log: list, stored=lambda frame: None) -> ChunkSources:
    """A synthesis that adds up what it is given, so that every input matters."""

    def synthesise(views: ChunkViews, number: int) -> torch.Tensor:
        log.append((number, 0 if views.memory is None else len(views.memory)))
        memory = 0 if views.memory is None else views.memory.latents.sum(dim=0)
        return views.renders.latents + views.anchors.latents.sum(dim=0) + memory

    def renders(frames: tuple[int, ...]) -> PosedLatents:
        views = posed(cameras[list(frames)], 0)
        return replace(views, latents=torch.tensor(frames).float()[:, None, None, None].expand(-1, 4, 2, 3))

    where = {"world_from_cam": cameras, "K_normalised": posed(cameras, 0).K_normalised}
    return ChunkSources(
        posed(moved(0, 1), 0.5), **where, renders=renders, synthesise=synthesise, develop=develop, stored=stored
    )


def develop(latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return latents[:, :3], latents.mean(dim=(2, 3)).repeat(1, 2)[:, :5]


def test_generated_frames_come_in_order_and_are_remembered():
    cameras, log = moved(*range(7)), []
    config = ChunkConfig(targets=3, clean=2)
    made = list(generate_chunks(plan_chunks(cameras, moved(0, 1), config), sources(cameras, log)))
    assert [frame.number for frame in made] == list(range(7))
    assert log == [(0, 0), (1, 1), (2, 1)]
    # first chunk: frame + two anchors; then: frame + one anchor + the nearest generated frame (2, then 5)
    second = 3 + 0.5 + (2 + 1)
    assert [made[0].latent[0, 0, 0].item(), made[3].latent[0, 0, 0].item()] == [1, second]
    assert made[6].latent[0, 0, 0].item() == 6 + 0.5 + made[5].latent[0, 0, 0].item()
    rgb, embeddings = develop(made[6].latent[None])
    assert torch.equal(made[6].rgb, rgb[0]) and torch.equal(made[6].embedding, embeddings[0])


def test_an_interrupted_run_goes_on_where_it_stopped():
    cameras, config, log = moved(*range(7)), ChunkConfig(targets=3, clean=2), []
    plan = list(plan_chunks(cameras, moved(0, 1), config))
    whole = list(generate_chunks(plan, sources(cameras, [])))
    done = {frame: whole[frame] for frame in range(4)}  # stopped inside the second chunk
    again = list(generate_chunks(plan, sources(cameras, log, done.get)))
    assert [number for number, _ in log] == [1, 2]
    assert all(torch.equal(a.latent, b.latent) for a, b in zip(again, whole, strict=True))
    assert [a is b for a, b in zip(again, whole, strict=True)] == [True] * 4 + [False] * 3


def test_without_memory_every_clean_view_is_an_anchor():
    assert choose_views("none", moved(4), moved(0, 5, 2), moved(4), clean=2) == ([1, 2], [])
    plan = list(plan_chunks(moved(*range(9)), moved(0, 1, 2, 3, 4, 5), ChunkConfig(policy="none")))
    assert [len(chunk.anchors) for chunk in plan] == [5, 5] and not any(chunk.memory for chunk in plan)


def test_an_impossible_plan(shapes_unchecked):
    with pytest.raises(ValueError, match="at least one camera and one anchor, got 0 and 2"):
        plan_chunks(moved()[:0], moved(0, 1))
    with pytest.raises(ValueError, match="must be >= 1"):
        ChunkConfig(targets=0)
    with pytest.raises(ValueError, match="policy must be one of"):
        ChunkConfig(policy="closest")
