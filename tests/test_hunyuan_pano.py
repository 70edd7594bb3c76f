"""Hunyuan-Pano-DiT on miniature weights: equal to diffusers where plain, circular where not, complete from the CLI."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close

from onescene.cli import main
from onescene.geometry.perspective import crop_panorama, intrinsics_from_fov
from onescene.io import load_panorama, load_photo
from onescene.metrics import psnr, wrap_seams
from onescene.models.hunyuan_pano import HunyuanConfig, HunyuanTextConfig, required_files
from onescene.models.hunyuan_pano.circular import blend_columns, circular_convolutions, crop_columns, extend_columns
from onescene.types import Cameras

pytest.importorskip("transformers", reason="transformers (the extra [paper]) is not installed")
from tiny_flux import HEIGHT_PX, RANK, make_weights

from onescene.models.hunyuan_pano.files import load_transformer
from onescene.models.hunyuan_pano.panorama import HunyuanPanorama, load_pipeline, shrink_known

HW = (HEIGHT_PX, 2 * HEIGHT_PX)
PLAIN = {"overlap": 0, "true_cfg": 0.0, "decoding": "plain"}
LORA = "HunyuanWorld-PanoDiT-Image/lora.safetensors"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return make_weights(tmp_path_factory.mktemp("flux"))


def config_of(weights: Path, **settings) -> HunyuanConfig:
    return HunyuanConfig(**{"weights": str(weights), "height_px": HEIGHT_PX, "steps": 3, "device": "cpu", **settings})


@pytest.fixture(scope="module")
def pipeline(weights):
    return load_pipeline(config_of(weights))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def placed() -> tuple[torch.Tensor, torch.Tensor]:
    """A photo on the sphere and where it is known."""
    known = torch.zeros(HW)
    known[20:44, 40:88] = 1
    return torch.rand((3, *HW), generator=seeded(3)) * known, known


# --- equal to diffusers ----------------------------------------------------------------------------------------------


def test_without_its_additions_it_is_diffusers_own_pipeline(pipeline, weights, placed):
    config = config_of(weights, **PLAIN)
    model = HunyuanPanorama(pipeline, config)
    drawn = model.draw(*placed, "a garden", "", seeded())
    generator = seeded()
    noise = pipeline._pack_latents(model.noise(generator), 1, 4, HW[0] // 2, HW[1] // 2)
    theirs = pipeline(
        prompt="a garden, high-quality,  high-resolution, sharp, clear, 8k",
        image=placed[0][None],
        mask_image=1 - placed[1][None, None],
        height=HW[0],
        width=HW[1],
        num_inference_steps=3,
        guidance_scale=30.0,
        generator=generator,
        latents=noise,
        output_type="pt",
    ).images[0]
    assert drawn.std() > 0.05
    assert_close(drawn, theirs, atol=1e-4, rtol=1e-4)


def test_words_and_what_is_known_change_what_is_drawn(pipeline, weights, placed):
    model = HunyuanPanorama(pipeline, config_of(weights))
    drawn = model.draw(*placed, "a garden", "", seeded())
    assert torch.equal(drawn, model.draw(*placed, "a garden", "", seeded()))
    others = [
        model.draw(*placed, "庭園", "", seeded()),
        model.draw(*placed, "a garden", "cars", seeded()),
        model.draw(placed[0], torch.zeros(HW), "a garden", "", seeded()),
        model.draw(*placed, "a garden", "", seeded(1)),
    ]
    assert all((drawn - other).abs().max() > 1e-4 for other in others)


def test_guidance_is_linear_away_from_the_negative_prompt(pipeline, weights):
    def first_step(scale: float, same: bool = False) -> torch.Tensor:
        model = HunyuanPanorama(pipeline, config_of(weights, true_cfg=scale, steps=1))
        positive, negative = model.embed("a garden"), model.embed("cars")
        words = (positive, positive if same else negative)
        return next(model.sample(model.noise(seeded()), None, *words))

    pipeline.transformer, kept = text_transformer(pipeline), pipeline.transformer
    try:
        two, three, four = (first_step(scale) for scale in (2.0, 3.0, 4.0))
        assert (three - two).abs().max() > 1e-3
        assert_close(four - three, three - two, atol=1e-5, rtol=1e-3)
        assert_close(first_step(5.0, same=True), first_step(2.0, same=True), atol=1e-5, rtol=1e-4)
    finally:
        pipeline.transformer = kept


def text_transformer(pipeline) -> nn.Module:
    from tiny_flux import make_transformer

    return make_transformer(16).eval()


# --- circular --------------------------------------------------------------------------------------------------------


def test_blended_ends_by_hand():
    x = torch.tensor([[0.0, 1.0, 5.0, 6.0, 4.0, 5.0]])
    # weights of the left copy: 1/4, 3/4
    assert_close(blend_columns(x, 2), torch.tensor([[3.0, 2.0, 5.0, 6.0, 3.0, 2.0]]))
    assert torch.equal(blend_columns(x, 0), x) and torch.equal(crop_columns(x, 0), x)


def test_ends_that_agree_stay_as_they_are():
    x = torch.randn((2, 4, 8, 16), generator=seeded())
    wide = extend_columns(x, 6)
    assert wide.shape[-1] == 22
    assert_close(blend_columns(wide, 6), wide)
    assert torch.equal(crop_columns(wide, 6), x)
    twice = blend_columns(torch.randn((3, 22), generator=seeded()), 6)
    assert_close(blend_columns(twice, 6), twice)


def test_the_decoder_turns_with_the_panorama(pipeline):
    vae = pipeline.vae
    latents = torch.randn((1, 4, 16, 32), generator=seeded())
    with torch.no_grad():
        plain = vae.decode(latents).sample
        with circular_convolutions(vae.decoder):
            image, turned = (vae.decode(z).sample for z in (latents, latents.roll(5, -1)))
        assert_close(turned, image.roll(10, -1), atol=1e-4, rtol=1e-4)
        assert (image - plain)[..., :2].abs().max() > 1e-3  # the ends are what changes
        assert torch.equal(vae.decode(latents).sample, plain)  # and nothing stays behind


class Smooth(nn.Module):
    """A denoiser that knows what pictures are like, smooth along a strip, and not that the strip is a circle."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows, self.config = rows, SimpleNamespace(guidance_embeds=False)

    def forward(self, hidden_states, timestep, **_):
        """Velocity towards a smooth picture: what of the noise is smooth, made as strong as the noise was."""
        x = F.pixel_shuffle(hidden_states[..., :16].mT.unflatten(2, (self.rows, -1)), 2)
        taps = torch.exp(-0.5 * (torch.arange(-12, 13) / 5.0) ** 2).repeat(4, 1, 1, 1)
        rows = F.conv2d(F.pad(x, (0, 0, 12, 12), mode="replicate"), taps.mT / taps[0].sum(), groups=4)
        clean = F.conv2d(F.pad(rows, (12, 12, 0, 0), mode="replicate"), taps / taps[0].sum(), groups=4)
        clean = clean / clean.std()
        return (F.pixel_unshuffle((x - clean) / timestep, 2).flatten(2).mT,)


def seam(pipeline, weights, **settings) -> float:
    """Mean over seeds of the seam at +-180 degrees against the steps beside it, 1 = none."""
    model = HunyuanPanorama(pipeline, config_of(weights, steps=12, true_cfg=0.0, **settings))
    pipeline.transformer, kept = Smooth(HEIGHT_PX // 4), pipeline.transformer
    try:
        drawn = torch.stack([model.draw(None, None, "", "", seeded(k)) for k in range(4)])
    finally:
        pipeline.transformer = kept
    return wrap_seams(drawn)["seam_energy_180"]


def test_the_circular_parts_remove_the_seam(pipeline, weights):
    """Measured: 6.4 plain, 3.6 and 3.2 with one of the two, 1.05 with both (1: no seam)."""
    plain = seam(pipeline, weights, overlap=0, decoding="plain")
    latents_only = seam(pipeline, weights, decoding="plain")
    decoder_only = seam(pipeline, weights, overlap=0)
    both = seam(pipeline, weights)
    assert both < 1.1 < 2 < min(latents_only, decoder_only) and max(latents_only, decoder_only) < plain


# --- its files -------------------------------------------------------------------------------------------------------


def test_the_lora_is_merged_with_its_own_scale(weights, tmp_path):
    layer = "single_transformer_blocks.0.attn.to_q"
    base = weights / "FLUX.1-Fill-dev" / "transformer"
    pair = load_file(weights / LORA)
    A, B = (pair[f"transformer.{layer}.lora_{k}.weight"] for k in "AB")

    def merged(alpha: float | None, metadata: dict | None = None) -> torch.Tensor:
        more = {} if alpha is None else {f"transformer.{layer}.alpha": torch.tensor(alpha)}
        save_file({**pair, **more}, tmp_path / "lora.safetensors", metadata=metadata)
        network = load_transformer(base, tmp_path / "lora.safetensors", torch.float32)
        return network.get_submodule(layer).weight

    plain = load_file(base / "diffusion_pytorch_model.safetensors")[f"{layer}.weight"]
    assert_close(merged(None), plain + B @ A)
    assert_close(merged(8.0), plain + 8 / RANK * B @ A)
    note = {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 6})}
    assert_close(merged(None, note), plain + 6 / RANK * B @ A)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"lora_unet_double_blocks_0.lora_down.weight": (2, 32)}, "is no key of a LoRA that diffusers or PEFT writes"),
        ({"transformer.nowhere.lora_A.weight": (2, 32)}, "nowhere is no layer of the network"),
        (
            {"transformer.x_embedder.lora_A.weight": (2, 9), "transformer.x_embedder.lora_B.weight": (32, 2)},
            r"x_embedder is \(32, 48\), its LoRA \(32, 2\) x \(2, 9\)",
        ),
    ],
)
def test_a_lora_that_does_not_fit_is_refused(weights, tmp_path, keys, words):
    save_file({name: torch.zeros(shape) for name, shape in keys.items()}, tmp_path / "lora.safetensors")
    base = weights / "FLUX.1-Fill-dev" / "transformer"
    with pytest.raises(ValueError, match=words):
        load_transformer(base, tmp_path / "lora.safetensors", torch.float32)


def test_weights_that_do_not_fit_their_config_are_refused(weights, tmp_path):
    folder = tmp_path / "transformer"
    shutil.copytree(weights / "FLUX.1-Fill-dev" / "transformer", folder)
    (folder / "config.json").write_text(
        (folder / "config.json").read_text().replace('"num_layers": 1', '"num_layers": 2')
    )
    with pytest.raises(ValueError, match=r"do not fit its config.json: \d+ keys, such as transformer_blocks.1"):
        load_transformer(folder, weights / LORA, torch.float32)


def test_every_file_is_named_once_and_a_lost_shard_is_told(weights, tmp_path):
    found = required_files(config_of(weights))
    assert len(set(found)) == 5 and found[-1] == weights / LORA and all(p.is_file() for p in found)
    shutil.copytree(weights, tmp_path / "copy")
    index = tmp_path / "copy" / "FLUX.1-Fill-dev" / "vae" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "part-1.safetensors"}}))
    with pytest.raises(FileNotFoundError, match=r"lacks part-1\.safetensors, which diffusion_pytorch_model"):
        required_files(config_of(tmp_path / "copy"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"height_px": 72}, "height_px of hunyuan must be a multiple of 16"),
        ({"steps": 0}, "steps of hunyuan must be >= 1"),
        ({"overlap": 5}, "overlap of hunyuan must be even"),
        ({"decoding": "round"}, "decoding of hunyuan must be one of circular, padded, plain"),
        ({"true_cfg": float("nan")}, "true_cfg of hunyuan must be >= 0, got nan"),
    ],
)
def test_settings_out_of_range_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        HunyuanConfig(**settings)


def test_the_known_part_shrinks_around_the_circle():
    mask = torch.zeros(16, 32)
    mask[4:12] = 1
    mask[:, 10:14] = 0
    known = shrink_known(mask > 0, 2)
    assert known[:, [8, 9, 14, 15]].sum() == 0 and (known[6:10, 16:] == 1).all() and (known[6:10, :8] == 1).all()
    assert known[:6].sum() == known[10:].sum() == 0
    assert torch.equal(shrink_known(mask > 0, 0), mask)


# --- from the command line -------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    y, x = np.mgrid[0:96, 0:128]
    Image.fromarray(np.stack((2 * x, 2 * y, 128 + 0 * x), axis=-1).astype(np.uint8)).save(tmp_path / "photo.png")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    options = {"height_px": HEIGHT_PX, "steps": 2, "device": "cpu"}
    Path("small.yaml").write_text(json.dumps({"panorama_height": 128, "panorama_options": options}))
    return tmp_path


ACCEPT = ("--accept-license", "tencent-hunyuanworld-1.0", "--accept-license", "flux-1-dev-non-commercial")


def run(*words: str) -> int:
    return main(["panorama", "--out", "out", "--params", "small.yaml", *words])


def test_a_photo_becomes_a_panorama_and_its_weights_are_recorded(folder, weights, capsys):
    words = ("photo.png", "--method", "hunyuan", "--fov-deg", "70", "--weights", str(weights), "--prompt", "a garden")
    assert run(*words) == 2
    assert "asks to accept tencent-hunyuanworld-1.0 (Tencent" in capsys.readouterr().err and not Path("out").exists()
    assert run(*words, *ACCEPT) == 0
    K = intrinsics_from_fov(70.0, (96, 128))[None]
    camera = Cameras(world_from_cam=torch.eye(4)[None], K=K, hw=(96, 128))
    back = crop_panorama(load_panorama("out/01_panorama/panorama.png"), camera)[0]
    inner = (..., slice(12, -12), slice(12, -12))  # all but the feathered rim
    assert psnr(back[inner], load_photo("photo.png").rgb[inner]) > 40
    record = json.loads(Path("out/run.json").read_text())
    assert record["stages"][0]["method"] == "hunyuan"
    assert {w["file"] for w in record["weights"]} >= {"lora.safetensors", "diffusion_pytorch_model.safetensors"}
    assert all(len(w["sha256"]) == 64 and "South Korea" in w["licence"] for w in record["weights"])
    assert "licence: Tencent HunyuanWorld-1.0" in capsys.readouterr().err


def test_words_become_a_panorama(folder, tmp_path, capsys):
    weights = make_weights(tmp_path / "text", text=True)
    words = ("--method", "hunyuan-text", "--weights", str(weights), "--prompt", "a garden", *ACCEPT)
    assert run("photo.png", *words) == 2 and "works from words alone" in capsys.readouterr().err
    assert run(*words) == 0
    image = np.asarray(Image.open("out/01_panorama/panorama.png")).astype(float)
    assert image.shape == (128, 256, 3) and image.std() > 5
    assert HunyuanTextConfig().true_cfg == 0


@pytest.mark.parametrize("given", [(), ("--weights", "empty")])
def test_missing_weights_are_one_sentence_before_anything_starts(folder, given, capsys, monkeypatch):
    from onescene.models.hunyuan_pano import panorama

    monkeypatch.setattr(panorama, "load_pipeline", lambda config: pytest.fail("it started"))
    assert run("photo.png", "--method", "hunyuan", *given, *ACCEPT) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and not Path("out").exists()
    for word in (
        "FLUX.1-Fill-dev/transformer/*.safetensors", "HunyuanWorld-PanoDiT-Image/lora.safetensors",
        "black-forest-labs/FLUX.1-Fill-dev", "tencent/HunyuanWorld-1 on Hugging Face", "does not apply in the European",
        "Union, the United Kingdom and South Korea", "FLUX.1 [dev] Non-Commercial",
    ):  # fmt: skip
        assert word in error, word


def test_too_little_gpu_memory_says_what_to_lower(pipeline, weights, monkeypatch):
    model = HunyuanPanorama(pipeline, config_of(weights, offload=False))

    def full(text):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "embed", full)
    with pytest.raises(MemoryError, match="set offload: true in panorama_options"):
        model.draw(None, None, "", "", seeded())
    model.config = replace(model.config, offload=True)
    with pytest.raises(MemoryError, match="set a smaller height_px in panorama_options"):
        model.draw(None, None, "", "", seeded())
