"""Anchored synthesis: an engine that knows the truth gives it back, prompts and anchor reach the views they are for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from onescene.geometry.equirect import directions_from_panorama
from onescene.geometry.perspective import PlacedPhoto, crop_panorama, place_photo
from onescene.metrics import psnr, wrap_seams
from onescene.models.outpainter import Outpainter, OutpainterConfig
from onescene.plots.view_order import outline_xy, view_order_figure
from onescene.stages import panorama as panorama_stage
from onescene.stages.anchored.captions import QUESTIONS, Prompts, describe
from onescene.stages.anchored.config import HEURISTICS, AnchoredConfig
from onescene.stages.anchored.engines import InpaintRequest, classical_engine
from onescene.stages.anchored.learned import complete
from onescene.stages.anchored.order import View, view_cameras, view_order
from onescene.stages.anchored.run import load, paint_views
from onescene.stages.panorama import PanoramaConfig
from onescene.stages.panorama_methods import METHODS, PanoramaRequest

HW = (64, 128)
TINY_OUTPAINTER = OutpainterConfig(height_px=32, channels=(8, 8, 16, 16), blocks=(1, 1, 1, 1), heads=2)


def world(hw: tuple[int, int] = HW) -> torch.Tensor:
    """A smooth panorama: every direction has its colour."""
    d = directions_from_panorama(hw)
    return (0.5 + 0.3 * torch.sin(2 * d + torch.tensor([0.3, 1.0, 2.0]))).permute(2, 0, 1)


def request(fov_deg: float = 70.0, *, hw: tuple[int, int] = HW, prompt: str = "", seed: int = 0, **angles: float):
    photo = crop_panorama(world((256, 512)), view_cameras([view_order(AnchoredConfig())[2]], 64))[0]
    photo = photo[:, 12:-12]
    placed = place_photo(photo, hw, fov_deg, **angles)
    generator = torch.Generator().manual_seed(seed)
    return PanoramaRequest(
        placed=placed,
        fov_deg=fov_deg,
        prompt=prompt,
        negative_prompt="",
        seed=seed,
        generator=generator,
        progress=lambda share: None,
    )


def true_request(pitch_deg: float = 0.0, roll_deg: float = 0.0) -> PanoramaRequest:
    """The true colours where a photo would be."""
    mask = request(pitch_deg=pitch_deg, roll_deg=roll_deg).placed.mask
    placed = PlacedPhoto(panorama=world() * mask, mask=mask, weight=mask.float())
    return PanoramaRequest(
        placed=placed,
        fov_deg=70.0,
        prompt="",
        negative_prompt="",
        seed=0,
        generator=torch.Generator().manual_seed(0),
        progress=lambda share: None,
    )


COLOURS = {"place": 0.2, "sky": 0.9, "ground": 0.05, "": 0.5}


class Recorder:
    """An engine that paints each prompt in a colour of its own, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[InpaintRequest] = []

    def __call__(self, asked: InpaintRequest) -> torch.Tensor:
        self.asked.append(asked)
        return torch.full_like(asked.rgb, COLOURS[asked.prompt])


# --- order -----------------------------------------------------------------------------------------------------------


def test_orders_by_hand() -> None:
    names = {h: [v.name for v in view_order(AnchoredConfig(heuristic=h, side_views=5))] for h in HEURISTICS}
    sides = ["front", "+72°", "-72°", "+144°", "-144°"]
    assert names == {
        "anchored": ["sky", "ground", *sides],
        "sequential": [*sides, "sky", "ground"],
        "ad-hoc": ["whole"],
    }
    assert [v.anchored for v in view_order(AnchoredConfig(side_views=5))] == [True, True, *[False] * 5]
    assert not any(v.anchored for v in view_order(AnchoredConfig(heuristic="sequential")))
    even = [v.yaw_deg for v in view_order(AnchoredConfig(side_views=6, side_fov_deg=90.0))][2:]
    assert even == [0.0, 60.0, -60.0, 120.0, -120.0, 180.0]


def test_views_up_and_down_are_wide_enough_to_see_the_anchors() -> None:
    up, down = view_order(AnchoredConfig(), 25.0, -50.0)[:2]
    assert (up.fov_deg, down.fov_deg) == (2 * (90 - 25 + 8), 120.0)
    assert view_order(AnchoredConfig(), 5.0, -5.0)[0].fov_deg == 150.0
    assert view_order(AnchoredConfig(heuristic="sequential"), 25.0, -50.0)[-2].fov_deg == 120.0


# --- the loop --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angles", [(0.0, 0.0), (25.0, 10.0)], ids=["upright", "pitched and rolled"])
@pytest.mark.parametrize("heuristic", HEURISTICS)
def test_an_engine_that_knows_the_truth_gives_it_back(heuristic: str, angles: tuple[float, float]) -> None:
    def oracle(asked: InpaintRequest) -> torch.Tensor:
        return world() if asked.camera is None else crop_panorama(world(), asked.camera)[0]

    start = true_request(*angles)
    step = list(paint_views(start, AnchoredConfig(heuristic=heuristic, view_px=128), oracle))[-1]
    assert bool(step.known.all())
    assert psnr(step.panorama, world()).item() > 42  # interpolated twice at 64 rows
    inside = start.placed.mask
    assert_close(step.panorama[:, inside], world()[:, inside])


def test_prompts_and_anchor_reach_their_views() -> None:
    recorder = Recorder()
    config = AnchoredConfig(sky_prompt="sky", ground_prompt="ground")
    start = request(prompt="place")
    steps = list(paint_views(start, config, recorder))
    last = steps[-1].panorama
    assert [a.prompt for a in recorder.asked[:3]] == ["sky", "ground", "place"]
    assert last[:, 0].mean() == pytest.approx(0.9, abs=1e-3)
    assert last[:, -1].mean() == pytest.approx(0.05, abs=1e-3)
    back = last[:, HW[0] // 2, [0, -1]]
    assert_close(back, torch.full_like(back, 0.2))  # the anchor is gone
    photo = start.placed.panorama.roll(HW[1] // 2, dims=-1)
    for k in (0, 1):  # while sky and ground were made it was there
        assert_close(steps[k].panorama[:, HW[0] // 2, 0], photo[:, HW[0] // 2, 0])
        assert bool(recorder.asked[k].known.any())
    assert sum(s.new_share for s in steps) == pytest.approx(1 - share(start.placed.mask), abs=1e-6)


def test_prompts_fall_back_to_the_scene_s() -> None:
    recorder = Recorder()
    list(paint_views(request(prompt="place"), AnchoredConfig(ground_prompt="ground"), recorder))
    assert [a.prompt for a in recorder.asked[:3]] == ["place", "ground", "place"]
    assert Prompts("a").or_else(Prompts("b", "c")) == Prompts("a", "c", "")


def test_what_the_planned_views_leave_out_is_painted_too() -> None:
    config = AnchoredConfig("sequential", side_views=4, side_fov_deg=91.0, polar_fov_deg=40.0)
    steps = list(paint_views(request(), config, Recorder()))
    assert any(s.view.name == "rest" for s in steps)
    assert bool(steps[-1].known.all())
    assert len(steps) < 48


def test_seed_decides_and_known_pixels_of_a_view_are_kept() -> None:
    def grain(asked: InpaintRequest) -> torch.Tensor:
        assert float((asked.rgb * ~asked.known).abs().max()) == 0
        return torch.rand(asked.rgb.shape, generator=asked.generator)

    made = [list(paint_views(request(seed=s), AnchoredConfig(), grain))[-1].panorama for s in (0, 0, 1)]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    mask = request().placed.mask
    assert torch.equal(made[0][:, mask], request().placed.panorama[:, mask])


@pytest.mark.parametrize("heuristic", HEURISTICS)
def test_a_second_pass_sees_whole_views_and_leaves_the_photo(heuristic: str) -> None:
    asked: list[InpaintRequest] = []

    def engine(view: InpaintRequest) -> torch.Tensor:
        asked.append(view)
        return torch.full_like(view.rgb, 0.25 if view.strength == 1 else 0.75)

    config = AnchoredConfig(heuristic, engine="a folder", second_pass=0.3, steps=10)
    steps, placed = list(paint_views(request(), config, engine)), request().placed
    again = [step for step in steps if step.view.name.endswith(", again")]
    assert [s.view.name for s in again] == [f"{v.name}, again" for v in view_order(config, 33.0, -33.0)]
    second = [view for view in asked if view.strength == 0.3]
    assert second and len(asked) - len(second) <= len(steps) - len(again)
    assert all(float(view.rgb[:, ~view.known].min()) > 0.2 for view in second)  # whole, where the first ones are black
    first, last = steps[-len(again) - 1].panorama, steps[-1].panorama
    assert torch.equal(last[:, placed.mask], placed.panorama[:, placed.mask])
    made = ~placed.mask
    assert float(first[:, made].max()) < 0.5 < float(last[:, made].median())


def test_an_engine_of_another_size_and_no_photo_are_refused() -> None:
    with pytest.raises(ValueError, match="the engine made"):
        list(paint_views(request(), AnchoredConfig(), lambda asked: asked.rgb[:, 1:]))
    empty = request()
    placed = PlacedPhoto(panorama=empty.placed.panorama, mask=empty.placed.mask & False, weight=empty.placed.weight)
    nothing = PanoramaRequest(**{**vars(empty), "placed": placed})
    with pytest.raises(ValueError, match="needs a photo"):
        list(paint_views(nothing, AnchoredConfig(), Recorder()))


def test_turning_closes_the_circle_that_one_picture_leaves_open() -> None:
    seams = {}
    for heuristic in ("anchored", "ad-hoc"):
        made = load(AnchoredConfig(heuristic=heuristic))(request(hw=(128, 256)))
        seams[heuristic] = wrap_seams(made)
    for key in ("seam_energy_180", "seam_energy_zenith", "seam_energy_nadir"):
        assert seams["anchored"][key] < 3
        assert seams["ad-hoc"][key] > 10


def share(mask: torch.Tensor) -> float:
    latitude = (0.5 - (torch.arange(mask.shape[0]) + 0.5) / mask.shape[0]) * torch.pi
    return float((mask * latitude.cos()[:, None]).sum() / (latitude.cos().sum() * mask.shape[1]))


# --- settings and engines ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"heuristic": "adhoc"}, "heuristic must be one of"),
        ({"engine": ""}, "engine must be"),
        ({"side_views": 4, "side_fov_deg": 85.0}, "over 90 degrees for 4"),
        ({"side_views": 2}, "side_views must be in"),
        ({"polar_fov_deg": 170.0}, "polar_fov_deg must be in"),
        ({"view_px": 100}, "multiple of 8"),
        ({"steps": 0}, "steps must be"),
        ({"engine": "x", "second_pass": 1.0}, "second_pass must be 0, or below 1"),
        ({"engine": "x", "second_pass": 0.3, "steps": 2}, "second_pass must be 0, or below 1 and one of the steps"),
        ({"second_pass": 0.3}, "second_pass needs a diffusers engine"),
        ({"second_pass": 0.3, "engine": "small"}, "second_pass needs a diffusers engine: small denoises nothing"),
    ],
)
def test_settings_out_of_range(settings: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        AnchoredConfig(**settings)


@pytest.mark.parametrize("pitch_deg", [0.0, 30.0, -90.0])
def test_the_small_engine_adds_its_correction_to_the_classical_filling(pitch_deg: float) -> None:
    """A network that corrects nothing gives the filling back through the panorama; one that darkens, that."""
    camera = view_cameras([View("v", "scene", yaw_deg=70.0, pitch_deg=pitch_deg, fov_deg=80.0)], 64)
    across = torch.linspace(0.2, 0.8, 64).expand(3, 64, 64)
    known = torch.zeros(64, 64, dtype=torch.bool)
    known[:, :40] = True
    asked = InpaintRequest(across * known, known, camera, "", "", torch.Generator().manual_seed(0))
    network = Outpainter(TINY_OUTPAINTER).eval()
    filled = classical_engine(asked)
    assert_close(complete(network, asked), filled, atol=0.03, rtol=0)
    with torch.no_grad():
        network.write.bias.fill_(-0.1)
    darker = (filled - complete(network, asked))[:, 8:-8, 48:-8]
    assert_close(darker, torch.full_like(darker, 0.1), atol=0.03, rtol=0)
    with pytest.raises(ValueError, match="small reads no prompt"):
        complete(network, replace(asked, prompt="a beach"))


def test_classical_reads_no_prompt() -> None:
    with pytest.raises(ValueError, match="reads no prompt"):
        load(AnchoredConfig())(request(prompt="a beach"))


def _tiny_pipeline(folder: Path, kind: str = "inpaint") -> Path:
    """A random Stable Diffusion of a few thousand weights, saved as diffusers saves any."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    words = folder / "words"
    words.mkdir(parents=True)
    (words / "vocab.json").write_text('{"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2, "b</w>": 3}')
    (words / "merges.txt").write_text("#version: 0.2\n")
    text = CLIPTextConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=4,
        max_position_embeddings=16, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=9 if kind == "inpaint" else 4, out_channels=4, cross_attention_dim=16,
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, attention_head_dim=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    parts = {
        "vae": vae,
        "text_encoder": CLIPTextModel(text),
        "tokenizer": CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=16),
        "unet": unet,
        "scheduler": diffusers.DDIMScheduler(),
        "safety_checker": None,
        "feature_extractor": None,
    }
    family = diffusers.StableDiffusionInpaintPipeline if kind == "inpaint" else diffusers.StableDiffusionPipeline
    family(**parts, requires_safety_checker=False).save_pretrained(folder / "pipeline")
    return folder / "pipeline"


def test_any_inpainting_pipeline_of_diffusers_is_an_engine(tmp_path: Path) -> None:
    folder = _tiny_pipeline(tmp_path)
    config = AnchoredConfig(engine=str(folder), view_px=64, steps=2, side_views=3, side_fov_deg=130.0)
    made = [load(config)(request(prompt=prompt, seed=seed)) for prompt, seed in (("a", 0), ("a", 0), ("a", 1))]
    assert made[0].shape == (3, *HW)
    assert bool(torch.isfinite(made[0]).all())
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    mask = request().placed.mask
    assert torch.equal(made[0][:, mask], request().placed.panorama[:, mask])
    again = load(replace(config, second_pass=0.5))(request(prompt="a"))
    assert not torch.equal(again, made[0]) and torch.equal(again[:, mask], made[0][:, mask])


def test_what_is_wrong_with_an_engine_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        load(AnchoredConfig(engine=str(tmp_path / "nothing")))
    with pytest.raises(FileNotFoundError, match=r"model_index\.json"):
        load(AnchoredConfig(engine=str(tmp_path)))
    whole = _tiny_pipeline(tmp_path / "text", "text")
    with pytest.raises(ValueError, match="StableDiffusionPipeline, which takes no image with a mask"):
        load(AnchoredConfig(engine=str(whole)))
    for path in (whole / "vae").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="not a whole diffusers pipeline"):
        load(AnchoredConfig(engine=str(whole)))


def test_a_caption_model_gives_the_prompts(tmp_path: Path) -> None:
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
    from transformers.models.blip.processing_blip import BlipProcessor

    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        describe(torch.zeros(3, 32, 32), str(tmp_path))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted({w for q in QUESTIONS.values() for w in q.split()})]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    part = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    text = part | special | {"vocab_size": len(words), "encoder_hidden_size": 16, "projection_dim": 16}
    config = BlipConfig(text_config=text, vision_config=part | {"image_size": 32, "patch_size": 16}, projection_dim=16)
    BlipForConditionalGeneration(config).save_pretrained(tmp_path)
    images = BlipImageProcessorPil(size={"height": 32, "width": 32})
    BlipProcessor(images, BertTokenizer(str(tmp_path / "vocab.txt"))).save_pretrained(tmp_path)
    prompts = describe(torch.rand(3, 48, 64), str(tmp_path))
    for name, beginning in QUESTIONS.items():
        assert getattr(prompts, name).startswith(beginning.replace(",", "").split()[0])


def test_it_is_a_method_of_the_stage(tmp_path: Path) -> None:
    photo = crop_panorama(world((256, 512)), view_cameras([view_order(AnchoredConfig())[2]], 96))[0]
    config = PanoramaConfig("anchored", 64, 70.0, pitch_deg=20.0, roll_deg=5.0, options=AnchoredConfig(side_views=6))
    out = panorama_stage.run(photo, config)
    assert out.panorama.shape == (3, *HW)
    assert_close(out.panorama[:, out.placed.weight == 1], out.placed.panorama[:, out.placed.weight == 1])
    assert METHODS["anchored"].files(AnchoredConfig()) == ()
    folder = _tiny_pipeline(tmp_path)
    assert {p.parent.name for p in METHODS["anchored"].files(AnchoredConfig(engine=str(folder)))} >= {"unet", "vae"}
    with pytest.raises(FileNotFoundError, match="no folder"):
        METHODS["anchored"].files(AnchoredConfig(engine="nothing"))


def test_the_order_is_drawn() -> None:
    views = view_order(AnchoredConfig())
    cameras = view_cameras(views)
    outline = outline_xy(cameras[3], HW)  # +45 degrees
    middle_row = (outline[:, 1] - HW[0] / 2).abs() < 1
    edges = outline[middle_row, 0] / HW[1] * 360 - 180
    assert edges.min() == pytest.approx(45 - 42.5, abs=0.5)
    assert edges.max() == pytest.approx(45 + 42.5, abs=0.5)
    assert outline_xy(cameras[0], HW)[:, 1].min() == pytest.approx(HW[0] / 3, abs=0.01)  # 60 degrees from the zenith
    figure = view_order_figure(world(), cameras, [v.name for v in views])
    assert [t.get_text() for t in figure.axes[0].texts][:3] == ["1 sky", "2 ground", "3 front"]
    with pytest.raises(ValueError, match="one per view"):
        view_order_figure(world(), cameras, ["sky"])
