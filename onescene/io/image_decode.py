"""Any image file into float RGB of a bounded size, in bounded memory.

Owns the traps: EXIF orientation, transparency, palettes, grey, 16 bits, CMYK, colour profiles, huge, truncated and
disguised files. Pillow decodes; OpenCV decodes 16-bit colour, of which Pillow keeps 8 bits.
"""

from __future__ import annotations

import io
import math
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float
from PIL import Image, ImageCms, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "PPM")
MAX_PIXELS = 400_000_000
_BAND_PIXELS = 4 << 20  # decoded pixels that are in float at a time
_DRAFT_PIXELS = 64_000_000  # from here on a JPEG is reduced while it is decoded even if an edge pixel is cut
_WHITE = 1.0  # transparent pixels show it
_ORIENTATION, _EXIF_IFD, _FOCAL_35MM = 0x0112, 0x8769, 0xA405
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_RGB = 258, 262, 2
_DAMAGES = (
    *(SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, ZeroDivisionError),
    *(AttributeError, NotImplementedError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError),
)
_LIMIT_LOCK = threading.Lock()
TargetSize = Callable[[int, int], tuple[int, int]]  # (height, width) as stored -> as wanted


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """A decoded image.

    Attributes:
        rgb: Colour in [0, 1], upright.
        original_hw: Size of the upright file [px].
        focal_35mm: Focal length on a 35 mm film [mm] as the camera noted it, or None.
    """

    rgb: Float[np.ndarray, "height width 3"]
    original_hw: tuple[int, int]
    focal_35mm: float | None


def decode_image(path: Path, what: str, target: TargetSize, *, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Decodes the first picture of a file.

    Args:
        path: An existing file.
        what: The kind of picture, for sentences: "photo", "panorama".
        target: The wanted size of a stored size; it may refuse by a ValueError. Enlarging is meant for a pixel or two.
        max_pixels: Larger pictures are refused.

    Raises:
        ValueError: not a picture, truncated, too large, or of a kind that can not be read (32-bit float).
    """
    with open(path, "rb") as file, _opened(file, path, what) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise ValueError(
                f"{what} must have at most {max_pixels // 1_000_000} megapixels, got {width} x {height}: {path}"
            )
        focal = _focal_35mm(image)
        if image.format == "TIFF":  # both decoders turn it upright by themselves
            with _sentences(path, what):
                image.load()
        width, height = image.size
        turn = _orientation(image)
        turned = turn >= 5  # stored with rows and columns exchanged
        wanted = target(*((width, height) if turned else (height, width)))
        wanted = wanted[::-1] if turned else wanted
        with _sentences(path, what):
            if image.format == "JPEG":
                _draft(image, wanted)
            image.load()
            if _has_16_bit_colour(image, file):
                size, rows = _rows_of_16_bit(image, file)
            else:
                size, rows = image.size, _rows_of(image)
            rgb = _upright(_resized(rows, size[::-1], wanted), turn)
    return DecodedImage(
        rgb=np.ascontiguousarray(rgb),
        original_hw=(width, height) if turned else (height, width),
        focal_35mm=focal,
    )


@contextmanager
def _sentences(path: Path, what: str) -> Iterator[None]:
    """Turns what decoders raise on damaged files into one sentence; errors of the disk pass."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(error, path, what) from error
    except _DAMAGES as error:
        raise _damaged(error, path, what) from error


def _damaged(error: Exception, path: Path, what: str) -> ValueError:
    """The sentence about a damaged file."""
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return ValueError(f"{what} is damaged or truncated ({reason}): {path}")


@contextmanager
def _opened(file: io.BufferedReader, path: Path, what: str) -> Iterator[Image.Image]:
    """Opens an image by its header alone, without Pillow's own size limit: ours stands in its place."""
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    with _LIMIT_LOCK:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            with _sentences(path, what):
                image = Image.open(file, formats=formats)
        except ValueError as error:
            if isinstance(error.__cause__, UnidentifiedImageError):
                raise ValueError(f"{what} must be an image ({', '.join(formats)}): {path} is none") from error
            raise
        finally:
            Image.MAX_IMAGE_PIXELS = before
    with image:
        yield image


def _exif(image: Image.Image) -> Image.Exif:
    """EXIF data; none where it is damaged, which is no reason to refuse a photo."""
    try:
        exif = image.getexif()
        exif.get_ifd(_EXIF_IFD)
    except (*_DAMAGES, OSError):
        return Image.Exif()
    return exif


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none."""
    value = _exif(image).get(_ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _focal_35mm(image: Image.Image) -> float | None:
    """Focal length on a 35 mm film [mm]; cameras write 0 for "unknown"."""
    value = _exif(image).get_ifd(_EXIF_IFD).get(_FOCAL_35MM)
    try:
        focal = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return focal if math.isfinite(focal) and 1 <= focal <= 10_000 else None


def _draft(image: Image.Image, wanted: tuple[int, int]) -> None:
    """Lets the JPEG decoder halve the picture, once or more, while it stays twice as large as wanted."""
    width, height = image.size
    for factor in (8, 4, 2):
        divides = width % factor == 0 and height % factor == 0
        large = height // factor >= 2 * wanted[0] and width // factor >= 2 * wanted[1]
        if large and (divides or width * height > _DRAFT_PIXELS):
            image.draft(None, (width // factor, height // factor))
            return


def _has_16_bit_colour(image: Image.Image, file: io.BufferedReader) -> bool:
    """Whether the file keeps 16 bits per channel of colour (or of grey with transparency)."""
    if image.format == "PNG":
        file.seek(24)
        depth, kind = file.read(2)
        return depth == 16 and kind in (2, 4, 6)
    if image.format == "TIFF":
        bits = image.tag_v2.get(_TIFF_BITS, ())
        return len(bits) >= 3 and set(bits) == {16} and image.tag_v2.get(_TIFF_PHOTOMETRIC) == _TIFF_RGB
    return False


def _rows_of_16_bit(image: Image.Image, file: io.BufferedReader) -> tuple[tuple[int, int], Callable]:
    """Size (width, height) and a reader of rows of a 16-bit colour file, by OpenCV."""
    size = image.size
    image.im = None  # loaded only to know that the file is whole, which OpenCV does not say
    file.seek(0)
    data = np.frombuffer(file.read(), np.uint8)
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(data, flags)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[1::-1] != size:
        raise ValueError("its 16-bit colour can not be read")

    def rows(top: int, bottom: int) -> np.ndarray:
        values = pixels[top:bottom].astype(np.float32) / 65535
        return _over_white(values[..., 2::-1], values[..., 3:])

    return size, rows


def _rows_of(image: Image.Image) -> Callable[[int, int], np.ndarray]:
    """A reader of rows as float RGB of a loaded image."""
    width = image.size[0]
    if image.mode.startswith("I"):
        if image.mode == "I" and image.getextrema()[1] > 65535:
            raise ValueError("32-bit images can not be read, only 8 and 16 bits")
        return lambda top, bottom: _grey(np.asarray(image.crop((0, top, width, bottom)), np.float32) / 65535)
    if image.mode == "F":
        raise ValueError("32-bit float images can not be read, only 8 and 16 bits")
    transform = _to_srgb(image)
    transparent = "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa")

    def rows(top: int, bottom: int) -> np.ndarray:
        band = image.crop((0, top, width, bottom))
        alpha = np.empty((0,), np.float32)
        if transparent:
            band = band.convert("RGBA")
            alpha = np.asarray(band.getchannel("A"), np.float32)[..., None] / 255
        if transform is not None:
            band = ImageCms.applyTransform(band.convert("RGB") if transparent else band, transform)
        return _over_white(np.asarray(band.convert("RGB"), np.float32) / 255, alpha)

    return rows


def _to_srgb(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """The way from an embedded colour profile (a phone's Display P3, a printer's CMYK) to sRGB, if there is one."""
    profile = image.info.get("icc_profile")
    mode = "RGB" if image.mode == "RGBA" else image.mode
    if not profile or mode not in ("RGB", "CMYK"):
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != mode or "srgb" in (source.profile.profile_description or "").lower():
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, *_DAMAGES):
        return None  # a damaged profile is no reason to refuse a photo


def _grey(values: np.ndarray) -> np.ndarray:
    """One channel as three."""
    return np.repeat(values[..., None], 3, axis=-1)


def _over_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colour over a white ground; as it is where there is no alpha."""
    return rgb if alpha.size == 0 else rgb * alpha + _WHITE * (1 - alpha)


def _resized(rows: Callable, hw: tuple[int, int], wanted: tuple[int, int]) -> np.ndarray:
    """Averages over areas: each row first, band by band, so that the whole is never in float at full size."""
    height, width = hw
    step = max(1, _BAND_PIXELS // width)
    thin = np.empty((height, wanted[1], 3), np.float32)
    for top in range(0, height, step):
        bottom = min(height, top + step)
        thin[top:bottom] = _scaled(rows(top, bottom), (bottom - top, wanted[1]))
    return np.clip(_scaled(thin, wanted), 0, 1)


def _scaled(image: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """One resize: by areas to shrink, linear to enlarge."""
    if image.shape[:2] == hw:
        return image
    shrinks = image.shape[0] >= hw[0] and image.shape[1] >= hw[1]
    return cv2.resize(
        np.ascontiguousarray(image), hw[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """An image turned as its EXIF orientation asks (1 to 8)."""
    if orientation >= 5:  # stored with rows and columns exchanged
        image = image.transpose(1, 0, 2)
    mirror_columns = orientation in (2, 3, 6, 7)
    mirror_rows = orientation in (3, 4, 7, 8)
    return image[:: -1 if mirror_rows else 1, :: -1 if mirror_columns else 1]
