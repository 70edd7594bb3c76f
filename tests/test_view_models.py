"""Auto-encoders and image encoders beside SEVA's U-Net, and folders of weights: what loads, and what is missing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close
from view_models import NETWORK, TINY, official_folder, random_unet, write_adapters

from onescene.models import loading
from onescene.models.loading import half_shards, shards_of
from onescene.models.seva.bundle import check_bundle, load_bundle, read_manifest
from onescene.models.seva.encoders import LinearAutoencoder, ThumbnailEncoder, shrink_for_clip
from onescene.models.seva.weights import load_seva

pytest.importorskip("transformers", reason="pip install 'onescene[paper]'")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return official_folder(tmp_path_factory.mktemp("weights") / "seva")


def images(n: int, px: int, seed: int = 0) -> torch.Tensor:
    """Soft pictures: noise at a few pixels, enlarged."""
    coarse = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (px, px), mode="bilinear")


# --- encoders --------------------------------------------------------------------------------------------------------


def test_clip_sees_what_another_program_would_show_it():
    """SVD's pipeline resizes by the same rule (kornia's); below 224 pixels there is nothing to blur."""
    from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing

    for px in (576, 700):
        rgb = torch.rand(1, 3, px, px, generator=torch.Generator().manual_seed(px))
        assert_close(shrink_for_clip(rgb), _resize_with_antialiasing(rgb, (224, 224)), atol=1e-5, rtol=0)
    rgb = images(1, 100)
    plain = torch.nn.functional.interpolate(rgb, (224, 224), mode="bicubic", align_corners=True)
    assert_close(shrink_for_clip(rgb), plain, atol=1e-6, rtol=0)


def test_public_encoders_by_hand(folder):
    """The latent is the scaled mean, of each image alone; the embedding CLIP's projected one."""
    models, rgb = load_bundle(folder), images(2, 32)
    vae, clip = models.autoencoder, models.image_encoder
    assert (vae.factor, vae.channels, vae.scale, clip.dim) == (8, 4, 0.18215, 12)
    mean = vae.network.encode(rgb * 2 - 1).latent_dist.mean
    assert_close(vae.encode(rgb), mean * 0.18215, atol=1e-5, rtol=1e-4)
    decoded = vae.network.decode(mean).sample / 2 + 0.5
    assert_close(vae.decode(mean * 0.18215), decoded.clamp(0, 1), atol=1e-5, rtol=1e-4)
    middle, spread = (
        torch.tensor([0.48145466, 0.4578275, 0.40821073]),
        torch.tensor([0.26862954, 0.26130258, 0.27577711]),
    )
    pixels = (shrink_for_clip(rgb, 28) - middle[:, None, None]) / spread[:, None, None]
    assert_close(clip.embed(rgb), clip.network(pixel_values=pixels).image_embeds, atol=1e-5, rtol=1e-4)
    assert not clip.embed(rgb).requires_grad


def test_a_linear_auto_encoder_keeps_what_it_was_fitted_to():
    """All patterns kept: a round trip. Few: the best of that rank, each channel with variance 1."""
    rgb = images(8, 32)
    whole = LinearAutoencoder(2, 12).fit(rgb)
    assert_close(whole.decode(whole.encode(rgb)), rgb, atol=1e-4, rtol=0)
    few = LinearAutoencoder(8, 4).fit(rgb)
    latents = few.encode(rgb)
    assert latents.shape == (8, 4, 4, 4)
    assert_close(latents.movedim(1, -1).flatten(0, -2).std(0), torch.ones(4), atol=0.02, rtol=0)
    errors = [
        (LinearAutoencoder(8, n).fit(rgb).decode(z) - rgb).square().mean()
        for n, z in ((n, LinearAutoencoder(8, n).fit(rgb).encode(rgb)) for n in (1, 4, 16))
    ]
    assert errors[0] > 1.5 * errors[1] > 2.25 * errors[2]
    torch.manual_seed(0)
    other = LinearAutoencoder(8, 4)
    other.patterns.copy_(torch.linalg.qr(torch.randn(192, 4)).Q.T)
    assert (other.decode(other.encode(rgb)) - rgb).square().mean() > 2 * errors[1]
    with pytest.raises(ValueError, match="channels must be from 1 to 12, got 13"):
        LinearAutoencoder(2, 13)


def test_a_thumbnail_says_where_which_colour_is():
    rgb = torch.zeros(1, 3, 8, 8)
    rgb[:, 0, :4, :4] = 1
    found = ThumbnailEncoder(12).embed(rgb)
    assert found.tolist() == [[1, -1, -1, -1] + [-1] * 8]
    with pytest.raises(ValueError, match="3 times a square"):
        ThumbnailEncoder(64)


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_public_folder_loads_and_says_what_it_is(folder):
    models = load_bundle(folder)
    assert models.denoiser.config == TINY
    assert [f.name for f in models.files] == ["views-denoiser", "views-autoencoder", "views-image_encoder"]
    assert "non-commercial" in models.files[0].licence and len(models.files[0].sha256) == 64
    models.check_method("anchors-only")
    with pytest.raises(ValueError, match="method dual-lora needs a U-Net with adapters"):
        models.check_method("dual-lora")


def test_adapters_come_from_standard_folders(folder, tmp_path):
    trained = random_unet(replace(TINY, lora_rank=2), seed=7)
    plain = load_bundle(folder).denoiser
    trained.load_state_dict(plain.state_dict(), strict=False)
    for path in folder.rglob("*"):
        if path.is_file():
            copy = tmp_path / "own" / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    manifest = json.loads((folder / "views.json").read_text())
    names = write_adapters(trained, tmp_path / "own")
    (tmp_path / "own/views.json").write_text(
        json.dumps(manifest | {"adapters": names, "licence": {"adapters": "mine"}})
    )
    models = load_bundle(tmp_path / "own")
    models.check_method("dual-lora")
    assert models.files[-1].licence == "mine"
    for key, value in trained.state_dict().items():
        if ".lora_" in key:
            assert_close(models.denoiser.state_dict()[key], value, atol=0, rtol=0)


def test_a_small_folder_needs_no_other_library(tmp_path):
    network = random_unet(TINY)
    save_file({k: v.half() for k, v in network.state_dict().items()}, tmp_path / "unet.safetensors")
    linear = LinearAutoencoder(8, 4).fit(images(4, 32))
    save_file(linear.state_dict(), tmp_path / "linear.safetensors")
    names = {"denoiser": "unet.safetensors", "autoencoder": "linear.safetensors", "image_encoder": "thumbnail"}
    (tmp_path / "views.json").write_text(json.dumps(names | {"network": NETWORK, "frame_px": 32}))
    models = load_bundle(tmp_path)
    assert next(models.denoiser.parameters()).dtype == torch.float32
    assert_close(models.autoencoder.encode(images(1, 32)), linear.encode(images(1, 32)), atol=0, rtol=0)
    assert len(models.files) == 2


def test_what_is_missing_is_named_with_its_licence_in_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder.*--weights names one.*non-commercial.*RAIL.*MIT"):
        check_bundle(tmp_path / "none")
    with pytest.raises(FileNotFoundError) as error:
        check_bundle(tmp_path)
    for name in ("model.safetensors", "vae/config.json", "vae/diffusion_pytorch_model.safetensors"):
        assert name in str(error.value)
    assert "\n" not in str(error.value)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(FileNotFoundError) as error:
        check_bundle(tmp_path)
    assert "lacks vae/config.json" in str(error.value) and "SEVA of" not in str(error.value)


def test_a_large_network_is_several_files_and_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "_SHARD_BYTES", 20_000)
    network = random_unet(TINY)
    files = half_shards(network, "denoiser", {"seed": "3"})
    assert len(files) > 3 and list(files)[-1] == "denoiser.safetensors.index.json"
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    index = tmp_path / "denoiser.safetensors.index.json"
    assert shards_of(index) == (index, *sorted(tmp_path.glob("*.safetensors")))
    assert loading.read_metadata(shards_of(index)[1]) == {"seed": "3"}
    loaded = load_seva(index, TINY)
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half()), name
    shards_of(index)[2].unlink()
    with pytest.raises(FileNotFoundError, match="-00002-of-"):
        load_seva(index, TINY)
    for content in (
        "{",
        "[]",
        '{"weight_map": {}}',
        '{"weight_map": {"a": "../x.safetensors"}}',
        '{"weight_map": {"a": 1}}',
    ):
        index.write_text(content)
        with pytest.raises(ValueError, match="not a readable index of weights"):
            load_seva(index, TINY)


def test_where_no_folder_is_named_the_shipped_one_is_meant():
    manifest, paths = check_bundle(None)
    assert manifest.method == "dual-lora" and manifest.start_sigma == 1 and manifest.steps == 1
    assert {p.parent.name for p in paths} == {"views-small"} and sum(p.stat().st_size for p in paths) < 40e6
    models = load_bundle(None)
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert (models.autoencoder.decode(models.autoencoder.encode(picture)) - picture).abs().max() < 2e-3
    assert models.denoiser.config.lora_rank == 8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "must be a JSON file"),
        ("[1]", "'no object' is not known"),
        ('{"denoisr": "x"}', "'denoisr' is not known; keys: denoiser, "),
        ('{"method": "baseline"}', "method must be one of anchors-only, concat, dual-lora"),
        ('{"adapters": ["one"]}', "adapters two folders or none"),
        ('{"frame_px": 0}', "must be >= 1"),
        ('{"network": {"model_channels": 30}}', "model_channels must be a multiple of 32, got 30"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path, content, message):
    (tmp_path / "views.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_manifest(tmp_path)


def test_weights_that_do_not_fit_are_refused(folder, tmp_path):
    (tmp_path / "views.json").write_text(json.dumps({"autoencoder": "x.safetensors", "image_encoder": "thumbnail"}))
    save_file({"other": torch.zeros(1)}, tmp_path / "x.safetensors")
    network = random_unet(TINY)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="weights do not fit SEVA"):
        load_bundle(tmp_path)
    (tmp_path / "views.json").write_text(
        json.dumps({"autoencoder": "x.safetensors", "image_encoder": "thumbnail", "network": NETWORK})
    )
    with pytest.raises(ValueError, match="weights do not fit LinearAutoencoder"):
        load_bundle(tmp_path)
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae/config.json").write_text("{}")
    (tmp_path / "vae/diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    (tmp_path / "views.json").write_text(json.dumps({"image_encoder": "thumbnail", "network": NETWORK}))
    with pytest.raises(ValueError, match="vae must hold a AutoencoderKL, but it does not load"):
        load_bundle(tmp_path)
