"""Images and films: every kind of photo, huge and hostile ones, and what is written."""

from __future__ import annotations

import errno
import math
import re
import resource
import struct
import subprocess
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps
from torch.testing import assert_close

from onescene.io import (
    atomic,
    load_distance,
    load_image,
    load_mask,
    load_panorama,
    load_photo,
    save_distance,
    save_gray16,
    save_image,
    save_mask,
    save_video,
    video,
)

HEIGHT, WIDTH = 96, 128
HALF_LEVEL = 0.51 / 255


def gradient(height=HEIGHT, width=WIDTH):
    """A smooth picture [3, h, w] in which every direction and channel differs."""
    y, x = np.mgrid[0:height, 0:width]
    return torch.from_numpy(np.stack([x / width, y / height, (x + y) / (height + width)])).float()


def as_pil(rgb):
    return Image.fromarray((rgb.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))


def as_16_bit(rgb):
    return (rgb.permute(1, 2, 0).numpy().astype(np.float64) * 65535).round().astype(np.uint16)


def exif_with(orientation=None, focal_35mm=None):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    if focal_35mm is not None:
        exif.get_ifd(0x8769)[0xA405] = focal_35mm
    return exif


def tiff_16_bit(pixels, orientation=1):
    """A bare TIFF of 16-bit colour, which Pillow can not write."""
    height, width, channels = pixels.shape
    data = pixels.astype("<u2").tobytes()
    bits_at = 8 + 2 + 12 * 10 + 4
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, bits_at), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, bits_at + 2 * channels), (274, 3, 1, orientation), (277, 3, 1, channels)]
    tags += [(278, 4, 1, height), (279, 4, 1, len(data))]
    out = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    return out + b"".join(struct.pack("<HHII", *tag) for tag in tags) + struct.pack("<I3H", 0, 16, 16, 16) + data


def png_with_orientation(data, orientation):
    """A PNG with an eXIf chunk behind its header."""
    body = b"eXIf" + exif_with(orientation).tobytes().removeprefix(b"Exif\0\0")
    return data[:33] + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + data[33:]


# --- kinds of photos ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "options", "tolerance"),
    [
        (".png", {}, HALF_LEVEL),
        (".bmp", {}, HALF_LEVEL),
        (".tif", {}, HALF_LEVEL),
        (".ppm", {}, HALF_LEVEL),
        (".webp", {"lossless": True}, HALF_LEVEL),
        (".jpg", {"quality": 98, "subsampling": 0}, 0.02),
    ],
)
def test_formats_at_a_path_with_spaces_and_letters(tmp_path, suffix, options, tolerance):
    folder = tmp_path / "mein Büro 写真"
    folder.mkdir()
    as_pil(gradient()).save(folder / f"größe 1{suffix}", **options)
    photo = load_photo(str(folder / f"größe 1{suffix}"))
    assert_close(photo.rgb, gradient(), atol=tolerance, rtol=0)
    assert photo.original_hw == (HEIGHT, WIDTH) and photo.rgb.is_contiguous()
    assert photo.focal_35mm is None and photo.fov_deg is None


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_the_suffix_does_not_matter(tmp_path, suffix):
    as_pil(gradient()).save(tmp_path / "a.webp", lossless=True)
    path = (tmp_path / "a.webp").rename(tmp_path / f"a{suffix}")
    assert_close(load_photo(path).rgb, gradient(), atol=HALF_LEVEL, rtol=0)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_of_8_and_of_16_bits(tmp_path, suffix):
    grey = gradient()[:1].expand(3, -1, -1)
    Image.fromarray(as_16_bit(gradient())[..., 0]).save(tmp_path / f"16{suffix}")
    assert_close(load_photo(tmp_path / f"16{suffix}").rgb, grey, atol=0.51 / 65535, rtol=1e-6)
    as_pil(grey).convert("L").save(tmp_path / f"8{suffix}")
    assert_close(load_photo(tmp_path / f"8{suffix}").rgb, grey, atol=HALF_LEVEL, rtol=0)


def test_colour_of_16_bits_keeps_them(tmp_path):
    pixels = as_16_bit(gradient())
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())
    (tmp_path / "a.tif").write_bytes(tiff_16_bit(pixels))
    for name in ("a.png", "a.tif"):
        assert_close(load_photo(tmp_path / name).rgb, gradient(), atol=0.51 / 65535, rtol=1e-6)
    alpha = np.full((HEIGHT, WIDTH, 1), 32768, np.uint16)
    (tmp_path / "b.png").write_bytes(cv2.imencode(".png", np.concatenate([pixels[..., ::-1], alpha], 2))[1].tobytes())
    assert_close(load_photo(tmp_path / "b.png").rgb, 0.5 + gradient() / 2, atol=2e-5, rtol=0)


def test_transparent_pixels_show_white(tmp_path):
    picture = as_pil(gradient())
    colour = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
    clear = picture.copy()
    clear.putalpha(Image.fromarray(np.repeat([[0] * 64 + [255] * 64], HEIGHT, axis=0).astype(np.uint8)))
    clear.save(tmp_path / "half.png")
    found = load_photo(tmp_path / "half.png").rgb
    assert_close(found[:, :, :64], torch.ones(3, HEIGHT, 64), atol=0, rtol=0)
    assert_close(found[:, :, 64:], colour[:, :, 64:])
    picture.convert("L").convert("LA").save(tmp_path / "grey.png")
    assert load_photo(tmp_path / "grey.png").rgb.shape == (3, HEIGHT, WIDTH)
    picture.save(tmp_path / "key.png", transparency=picture.getpixel((7, 5)))
    found = load_photo(tmp_path / "key.png").rgb
    assert_close(found[:, 5, 7], torch.ones(3))
    assert_close(found[:, 50, 70], colour[:, 50, 70])


def test_edges_of_transparency_do_not_bleed_when_reduced(tmp_path):
    """Under the clear half lies black, which must not darken the border."""
    pixels = np.zeros((128, 128, 4), np.uint8)
    pixels[:, 65:] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert_close(load_photo(tmp_path / "a.png", max_side_px=64).rgb, torch.ones(3, 64, 64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("transparent", [False, True])
def test_palettes(tmp_path, transparent):
    picture = as_pil(gradient()).quantize(16)
    picture.save(tmp_path / "a.png", **({"transparency": 0} if transparent else {}))
    wanted = np.asarray(picture.convert("RGB"), np.float32) / 255
    if transparent:
        wanted[np.asarray(picture) == 0] = 1
    assert_close(load_photo(tmp_path / "a.png").rgb, torch.from_numpy(wanted).permute(2, 0, 1))
    picture.save(tmp_path / "a.gif")
    assert load_photo(tmp_path / "a.gif").rgb.shape == (3, HEIGHT, WIDTH)


def test_black_and_white(tmp_path):
    picture = as_pil(gradient()).convert("1")
    picture.save(tmp_path / "a.png")
    found = load_photo(tmp_path / "a.png").rgb
    assert found.unique().tolist() == [0, 1]
    assert_close(found[0], torch.from_numpy(np.array(picture)).float())


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_is_not_a_negative(tmp_path, suffix):
    """Adobe stores the inks of a JPEG inverted, as Pillow writes them."""
    options = {"quality": 98} if suffix == ".jpg" else {}
    as_pil(gradient()).convert("CMYK").save(tmp_path / f"a{suffix}", **options)
    assert_close(load_photo(tmp_path / f"a{suffix}").rgb, gradient(), atol=0.03, rtol=0)


def test_a_colour_profile_is_converted(tmp_path):
    """XYZ as RGB: equal amounts are far from white, whose X, Y, Z are 0.96, 1, 0.82 of them."""
    xyz = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    as_pil(gradient()).save(tmp_path / "srgb.png", icc_profile=xyz.tobytes())
    assert_close(load_photo(tmp_path / "srgb.png").rgb, gradient(), atol=HALF_LEVEL, rtol=0)
    profile = bytearray(xyz.tobytes())
    red = profile.index(b"rXYZ", 128), profile.index(b"gXYZ", 128)  # in the table of tags: name, offset, size
    offsets = [struct.unpack_from(">II", profile, at + 4) for at in red]
    profile[red[0] + 4 : red[0] + 12] = struct.pack(">II", *offsets[1])  # red becomes green, and green red
    profile[red[1] + 4 : red[1] + 12] = struct.pack(">II", *offsets[0])
    name = profile.find(b"s\0R\0G\0B")
    if name >= 0:
        profile[name : name + 7] = b"m\0i\0n\0e"
    as_pil(gradient()).save(tmp_path / "swapped.png", icc_profile=bytes(profile))
    found = load_photo(tmp_path / "swapped.png").rgb
    assert_close(found, gradient()[[1, 0, 2]], atol=0.02, rtol=0)
    as_pil(gradient()).save(tmp_path / "broken.png", icc_profile=b"no profile at all")
    assert_close(load_photo(tmp_path / "broken.png").rgb, gradient(), atol=HALF_LEVEL, rtol=0)


# --- EXIF --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_in_every_format(tmp_path, orientation):
    picture = as_pil(gradient(64, 96))
    upright = ImageOps.exif_transpose(_with_orientation(picture, orientation))
    wanted = torch.from_numpy(np.asarray(upright, np.float32) / 255).permute(2, 0, 1)
    for name, options in [("a.png", {}), ("a.tif", {}), ("a.webp", {"lossless": True})]:
        picture.save(tmp_path / name, exif=exif_with(orientation), **options)
    pixels = as_16_bit(gradient(64, 96))
    deep = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    (tmp_path / "deep.png").write_bytes(png_with_orientation(deep, orientation))
    (tmp_path / "deep.tif").write_bytes(tiff_16_bit(pixels, orientation))
    for name in ("a.png", "a.tif", "a.webp", "deep.png", "deep.tif"):
        photo = load_photo(tmp_path / name)
        assert photo.original_hw == wanted.shape[1:], name
        assert_close(photo.rgb, wanted, atol=HALF_LEVEL, rtol=0)
    reduced = load_photo(tmp_path / "a.png", max_side_px=72)
    assert reduced.rgb.shape[1:] == ((72, 48) if orientation >= 5 else (48, 72))


def _with_orientation(picture, orientation):
    copy = picture.copy()
    copy.getexif()[0x0112] = orientation
    return copy


@pytest.mark.parametrize(
    ("focal", "hw", "fov_deg"),
    [
        (50, (96, 144), 2 * math.degrees(math.atan(18 / 50))),  # 3:2, as the film: 36 mm long
        (28, (144, 96), 2 * math.degrees(math.atan(18 / 28))),  # on its side: still the long side
        (28, (96, 128), 2 * math.degrees(math.atan(math.hypot(36, 24) * 0.8 / 2 / 28))),  # 4:3: 0.8 of the diagonal
    ],
)
def test_the_field_of_view_a_camera_noted(tmp_path, focal, hw, fov_deg):
    as_pil(gradient(*hw)).save(tmp_path / "a.jpg", exif=exif_with(focal_35mm=focal))
    photo = load_photo(tmp_path / "a.jpg", max_side_px=100)
    assert photo.focal_35mm == focal
    assert photo.fov_deg == pytest.approx(fov_deg)


@pytest.mark.parametrize("focal", [0, 65535])
def test_a_focal_length_that_means_unknown(tmp_path, focal):
    as_pil(gradient()).save(tmp_path / "a.jpg", exif=exif_with(focal_35mm=focal))
    assert load_photo(tmp_path / "a.jpg").fov_deg is None


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_no_reason_to_refuse_a_photo(tmp_path):
    as_pil(gradient()).save(tmp_path / "a.jpg", quality=98, subsampling=0, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f junk")
    assert_close(load_photo(tmp_path / "a.jpg").rgb, gradient(), atol=0.02, rtol=0)


# --- sizes -------------------------------------------------------------------------------------------------------


def test_a_photo_is_reduced_by_averaging_and_never_enlarged(tmp_path):
    noise = torch.rand(3, 128, 256, generator=torch.manual_seed(0))
    save_image(noise, tmp_path / "a.png")
    exact = load_image(tmp_path / "a.png")
    found = load_photo(tmp_path / "a.png", max_side_px=128).rgb
    assert_close(found, torch.nn.functional.avg_pool2d(exact, 2), atol=1e-6, rtol=0)
    assert load_photo(tmp_path / "a.png", max_side_px=4096).rgb.shape == (3, 128, 256)
    odd = load_photo(tmp_path / "a.png", max_side_px=100)
    assert odd.rgb.shape == (3, 50, 100) and odd.original_hw == (128, 256)
    assert_close(odd.rgb.mean(dim=(1, 2)), exact.mean(dim=(1, 2)), atol=1e-5, rtol=0)  # areas, nothing lost


def test_a_large_picture_is_read_in_bands(tmp_path, monkeypatch):
    noise = torch.rand(3, 200, 400, generator=torch.manual_seed(0))
    save_image(noise, tmp_path / "a.png")
    whole = load_photo(tmp_path / "a.png", max_side_px=128).rgb
    monkeypatch.setattr("onescene.io.image_decode._BAND_PIXELS", 400 * 7)
    assert_close(load_photo(tmp_path / "a.png", max_side_px=128).rgb, whole, atol=0, rtol=0)


def test_a_jpeg_is_reduced_while_it_is_decoded(tmp_path):
    as_pil(gradient(1024, 2048)).save(tmp_path / "a.jpg", quality=95)
    found = load_photo(tmp_path / "a.jpg", max_side_px=128).rgb
    wanted = torch.nn.functional.avg_pool2d(gradient(1024, 2048), 16)
    assert_close(found, wanted, atol=0.01, rtol=0)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_hundred_megapixels_in_bounded_memory(tmp_path, suffix):
    """A float copy of the whole would take 1.2 GB; measured: 0.3 GB for the JPEG, 0.65 GB for the PNG."""
    options = {"quality": 50} if suffix == ".jpg" else {"compress_level": 1}
    Image.new("RGB", (12_000, 8_400), (10, 128, 250)).save(tmp_path / f"a{suffix}", **options)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    photo = load_photo(tmp_path / f"a{suffix}")
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert photo.rgb.shape == (3, 1075, 1536) and photo.original_hw == (8400, 12000)
    assert_close(photo.rgb[:, 500, 700], torch.tensor([10, 128, 250]) / 255, atol=0.02, rtol=0)
    assert grown_mib < 900


def png_that_claims(width, height):
    """A PNG whose header claims a size and whose body holds nothing of it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"IDAT" + zlib.compress(b"\0" * 1000)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, body, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_more_than_can_be_read_is_refused_before_it_is(tmp_path):
    (tmp_path / "a.png").write_bytes(png_that_claims(30_000, 30_000))
    with pytest.raises(ValueError, match="photo must have at most 400 megapixels, got 30000 x 30000"):
        load_photo(tmp_path / "a.png")
    as_pil(gradient()).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match="at most 0 megapixels, got 128 x 96"):
        load_photo(tmp_path / "b.png", max_pixels=1000)
    assert Image.MAX_IMAGE_PIXELS is not None  # Pillow's own limit stands again


@pytest.mark.parametrize(("height", "width"), [(63, 200), (200, 63), (1, 1)])
def test_a_photo_in_which_there_is_nothing_to_see(tmp_path, height, width):
    as_pil(gradient(height, width)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=f"photo must be at least 64 pixels on each side, got {width} x {height}"):
        load_photo(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").shape == (3, height, width)


def test_a_ribbon_is_refused(tmp_path):
    as_pil(gradient(64, 1030)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="at most 16 times as long as wide, got 1030 x 64"):
        load_photo(tmp_path / "a.png")
    with pytest.raises(ValueError, match="max_side_px must be at least 64, got 32"):
        load_photo(tmp_path / "a.png", max_side_px=32)


# --- what is no photo --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("load", "what"), [(load_photo, "photo"), (load_panorama, "panorama"), (load_image, "image")])
def test_paths_that_lead_to_no_image(tmp_path, load, what):
    with pytest.raises(FileNotFoundError, match=f"{what} not found: .*no.jpg"):
        load(tmp_path / "no.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(IsADirectoryError, match=f"{what} must be a file, got a folder"):
        load(tmp_path / "folder.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ValueError, match=f"{what} is empty"):
        load(tmp_path / "empty.jpg")
    with pytest.raises(ValueError, match=f"{what} must be a regular file"):
        load("/dev/null")
    for content in (b"just some words", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", b"\x89PNG\r\n\x1a\n"):
        (tmp_path / "words.jpg").write_bytes(content)
        with pytest.raises(ValueError, match=rf"{what} (must be an image \(JPEG, PNG|is damaged)"):
            load(tmp_path / "words.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".gif", "16.png", "16.tif"])
def test_truncated_images(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    noise = torch.rand(3, 128, 256, generator=torch.manual_seed(0))
    if suffix == "16.png":
        path.write_bytes(cv2.imencode(".png", as_16_bit(noise)[..., ::-1])[1].tobytes())
    elif suffix == "16.tif":
        path.write_bytes(tiff_16_bit(as_16_bit(noise)))
    else:
        as_pil(noise).save(path)
    whole = path.read_bytes()
    load_photo(path)
    for part in (0.02, 0.3, 0.9):
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(ValueError, match=re.escape(path.name)) as caught:
            load_photo(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".gif"])
@pytest.mark.filterwarnings("ignore")
def test_damaged_images_are_read_or_refused(tmp_path, suffix, seed):
    path = tmp_path / f"a{suffix}"
    as_pil(gradient()).save(path)
    generator = np.random.default_rng(seed)
    whole = path.read_bytes()
    for _ in range(25):
        data = bytearray(whole)
        for at in generator.integers(0, min(len(data), 300), 4):
            data[at] = generator.integers(0, 256)
        path.write_bytes(data)
        try:
            photo = load_photo(path)
        except ValueError as error:
            assert "\n" not in str(error)
        else:
            assert photo.rgb.isfinite().all() and photo.rgb.min() >= 0 and photo.rgb.max() <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_32_bit_pictures_are_refused(tmp_path, dtype):
    Image.fromarray(np.full((80, 80), 70_000, dtype)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"32-bit .*can not be read, only 8 and 16 bits"):
        load_photo(tmp_path / "a.tif")


# --- panoramas ---------------------------------------------------------------------------------------------------


def test_panoramas_are_twice_as_wide_as_high(tmp_path):
    save_image(gradient(100, 200), tmp_path / "a.png")
    assert_close(load_panorama(tmp_path / "a.png"), gradient(100, 200), atol=HALF_LEVEL, rtol=0)
    reduced = load_panorama(tmp_path / "a.png", max_height_px=64)
    assert reduced.shape == (3, 64, 128)
    for width in (199, 201):
        save_image(gradient(100, width), tmp_path / "b.png")
        found = load_panorama(tmp_path / "b.png")
        assert found.shape == (3, 100, 200)
        assert_close(found, gradient(100, 200), atol=0.02, rtol=0)
    for width, height in ((202, 100), (100, 200), (150, 150)):
        save_image(gradient(height, width), tmp_path / "c.png")
        with pytest.raises(ValueError, match=f"panorama must be twice as wide as high, got {width} x {height}"):
            load_panorama(tmp_path / "c.png")
    save_image(gradient(32, 64), tmp_path / "d.png")
    with pytest.raises(ValueError, match="panorama must be at least 64 pixels on each side, got 64 x 32"):
        load_panorama(tmp_path / "d.png")
    with pytest.raises(ValueError, match="max_height_px must be at least 64, got 8"):
        load_panorama(tmp_path / "a.png", max_height_px=8)


# --- writing -----------------------------------------------------------------------------------------------------


def test_images_masks_and_16_bits_return(tmp_path):
    path = save_image(gradient() * 1.2 - 0.1, tmp_path / "ü a.png")
    assert_close(load_image(path), (gradient() * 1.2 - 0.1).clamp(0, 1), atol=HALF_LEVEL, rtol=0)
    levels = torch.arange(256).reshape(1, 16, 16).expand(3, -1, -1) / 255
    assert_close(load_image(save_image(levels, tmp_path / "levels.png")), levels, atol=1e-7, rtol=0)
    mask = torch.rand(30, 60, generator=torch.manual_seed(0)) > 0.5
    save_mask(mask, tmp_path / "mask.png")
    assert torch.equal(load_mask(tmp_path / "mask.png"), mask)
    with Image.open(tmp_path / "mask.png") as picture:
        assert picture.mode == "L" and set(np.unique(np.asarray(picture))) == {0, 255}
    save_gray16(gradient()[0], tmp_path / "grey.png")
    assert_close(load_image(tmp_path / "grey.png")[1], gradient()[0], atol=0.51 / 65535, rtol=1e-6)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_distance_map_returns(tmp_path):
    distance = torch.rand(8, 16, generator=torch.manual_seed(0)) + 0.1
    save_distance(distance.double(), tmp_path / "distance.npy")
    stored = np.load(tmp_path / "distance.npy")
    assert stored.dtype == np.float32 and stored.shape == (8, 16)
    assert torch.equal(load_distance(tmp_path / "distance.npy"), distance)


@pytest.mark.parametrize(
    ("distance", "sentence"),
    [
        (torch.ones(8, 8), r"must be a panorama's distance map \[H, 2 H\], got 8 x 8"),
        (torch.zeros(4, 8), "must be finite and positive everywhere, got 32 other values"),
        (torch.full((4, 8), float("inf")), "must be finite and positive"),
        (torch.full((4, 8), float("nan")), "must be finite and positive"),
    ],
)
def test_distances_that_can_not_be(tmp_path, distance, sentence):
    with pytest.raises(ValueError, match="distance " + sentence):
        save_distance(distance, tmp_path / "distance.npy")
    assert not list(tmp_path.iterdir())
    np.save(tmp_path / "distance.npy", distance.numpy())
    with pytest.raises(ValueError, match=r"distance\.npy " + sentence):
        load_distance(tmp_path / "distance.npy")


def test_files_that_are_no_distance_map(tmp_path):
    path = tmp_path / "distance.npy"
    np.save(path, np.ones((64, 128), np.float32))
    whole = path.read_bytes()
    for content in (whole[:-100], whole[:50], b"words", whole.replace(b"(64, 128)", b"(9999999999, 2)")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"distance map must be an \.npy file of numbers"):
            load_distance(path)
    for values in (np.ones((4, 8), np.int64), np.ones(8), np.array([[{}, 1]], dtype=object)):
        np.save(path, values, allow_pickle=True)
        with pytest.raises(ValueError, match=r"distance map must be an \.npy file of numbers"):
            load_distance(path)


def test_what_can_not_be_written(tmp_path):
    bad = gradient()
    bad[0, 3, 4] = float("nan")
    with pytest.raises(ValueError, match="rgb must not hold NaN, got 1 of them"):
        save_image(bad, tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"an image must be written to \.png, got 'a\.jpg'"):
        save_image(gradient(), tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"a distance map must be written to \.npy, got 'a\.png'"):
        save_distance(torch.ones(2, 4), tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        save_image(gradient(), tmp_path / "no" / "a.png")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_while_an_image_is_written(tmp_path, monkeypatch):
    def full(self, path, **_):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match=r"the disk is full: .*a\.png was not written"):
        save_image(gradient(), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


# --- films -------------------------------------------------------------------------------------------------------


def probe(path):
    """What ffmpeg says about a file."""
    return subprocess.run([video.find_ffmpeg(), "-i", str(path)], capture_output=True, text=True).stderr


def decoded(path, height, width):
    """Frames of a film [n, 3, h, w]."""
    command = [video.find_ffmpeg(), "-loglevel", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8).reshape(-1, height, width, 3).permute(0, 3, 1, 2) / 255


def test_a_film_plays_everywhere_and_keeps_its_colours(tmp_path):
    """The colours tell the matrix: BT.601 read as BT.709 would be off by 0.03 to 0.1 in red and green."""
    colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.2, 0.2, 0.9], [0.5, 0.5, 0.5]])
    drawn = []

    def frames():
        for colour in colours:
            drawn.append(len(drawn))
            yield colour[:, None, None].expand(3, 49, 65)  # odd

    path = save_video(frames(), tmp_path / "größe 1.mp4", fps=12)
    assert drawn == [0, 1, 2, 3] and [p.name for p in tmp_path.iterdir()] == ["größe 1.mp4"]
    said = probe(path)
    assert re.search(r"Video: h264 .*yuv420p\(tv, bt709", said) and "64x48" in said and "12 fps" in said
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays before it is loaded
    found = decoded(path, 48, 64)
    assert_close(found.mean(dim=(2, 3)), colours, atol=0.012, rtol=0)


@pytest.mark.parametrize(
    ("frames", "options", "sentence"),
    [
        ([], {}, "frames must hold at least one image, got none"),
        ([torch.zeros(3, 8, 8), torch.zeros(3, 8, 10)], {}, r"one size, got \(3, 8, 10\) in frame 1"),
        ([torch.full((3, 8, 8), float("nan"))], {}, "frames must not hold NaN, got one in frame 0"),
        ([torch.zeros(1, 8, 8)], {}, r"frames must be \[3, height, width\]"),
        ([torch.zeros(3, 1, 8)], {}, "at least 2 x 2 pixels"),
        ([torch.zeros(3, 8, 8)], {"fps": 0}, "fps must be above 0 and at most 240, got 0"),
        ([torch.zeros(3, 8, 8)], {"fps": float("nan")}, "fps must be above 0"),
    ],
)
def test_films_that_can_not_be(tmp_path, frames, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        save_video(iter(frames), tmp_path / "a.mp4", **options)
    assert not list(tmp_path.iterdir())


def test_a_film_of_another_suffix(tmp_path):
    with pytest.raises(ValueError, match=r"a video must be written to \.mp4, got 'a\.gif'"):
        save_video([torch.zeros(3, 8, 8)], tmp_path / "a.gif")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_film_that_is_interrupted_leaves_nothing(tmp_path, monkeypatch, error):
    started = []
    real = subprocess.Popen
    monkeypatch.setattr(video.subprocess, "Popen", lambda *a, **k: started.append(real(*a, **k)) or started[0])

    def frames():
        yield torch.zeros(3, 64, 64)
        yield torch.zeros(3, 64, 64)
        raise error

    with pytest.raises(error):
        save_video(frames(), tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
    assert started[0].poll() is not None  # no process is left behind


def test_ffmpeg_that_is_missing_fails_or_has_no_space(tmp_path, monkeypatch):
    import imageio_ffmpeg

    def missing():
        raise RuntimeError("No ffmpeg exe could be found.")

    with monkeypatch.context() as patch:
        patch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
        with pytest.raises(RuntimeError, match="no ffmpeg found to write a video: run `pip install imageio-ffmpeg`"):
            save_video([torch.zeros(3, 8, 8)], tmp_path / "a.mp4")
    for says, error, sentence in [
        ("Unknown encoder", RuntimeError, "ffmpeg could not write the video: Unknown encoder"),
        ("av_interleaved_write_frame(): No space left on device", OSError, "the disk is full: .*was not written"),
    ]:
        script = tmp_path / "ffmpeg"
        script.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit 1\n")
        script.chmod(0o755)
        monkeypatch.setattr(video, "find_ffmpeg", lambda: str(script))  # noqa: B023
        with pytest.raises(error, match=sentence):
            save_video([torch.zeros(3, 512, 512)] * 3, tmp_path / "a.mp4")
        script.unlink()
        assert not list(tmp_path.iterdir())


def test_the_marker_of_half_written_files_is_not_in_finished_names(tmp_path):
    save_image(gradient(), tmp_path / "a.png")
    save_video([gradient()], tmp_path / "a.mp4")
    assert not [p for p in tmp_path.iterdir() if atomic.MARKER in p.name]
