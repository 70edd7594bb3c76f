"""Films as H.264 in MP4, frame by frame through the ffmpeg binary that imageio-ffmpeg brings."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import torch
from jaxtyping import Float
from torch import Tensor

from onescene.io.atomic import atomic_path
from onescene.io.sources import suffix_of

# Constant quality: 18 looks like the frames themselves, 23 is ffmpeg's default.
_QUALITY = 18
_RGB_TO_VIDEO = "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
_BT709 = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]


def save_video(frames: Iterable[Float[Tensor, "3 height width"]], path: str | os.PathLike, fps: float = 24.0) -> Path:
    """Writes frames as an MP4 that browsers play (H.264, yuv420p, index in front), whole or not at all.

    Frames are taken one at a time. H.264 halves the colour's resolution, so an odd last row or column is dropped.

    Args:
        frames: RGB in [0, 1], all of one size of at least 2 x 2 pixels.
        path: The file, ending in .mp4.
        fps: Frames per second, above 0 and at most 240.

    Returns:
        The path.

    Raises:
        ValueError: no frame, frames of different size, a NaN, a wrong suffix or frame rate.
        RuntimeError: ffmpeg is missing or failed.
        OSError: as :func:`onescene.io.atomic.atomic_path`.
    """
    if suffix_of(path) != ".mp4":
        raise ValueError(f"a video must be written to .mp4, got {Path(path).name!r}")
    if not 0 < fps <= 240:
        raise ValueError(f"fps must be above 0 and at most 240, got {fps}")
    source = iter(frames)
    first = next(source, None)
    if first is None:
        raise ValueError("frames must hold at least one image, got none")
    size = tuple(first.shape[1:])
    if len(first.shape) != 3 or first.shape[0] != 3 or min(size) < 2:
        raise ValueError(f"frames must be [3, height, width] of at least 2 x 2 pixels, got {tuple(first.shape)}")
    ffmpeg = find_ffmpeg()
    with atomic_path(path) as temporary, tempfile.TemporaryFile() as log:
        command = _command(ffmpeg, size[0] // 2 * 2, size[1] // 2 * 2, fps, temporary)
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        try:
            _feed(process.stdin, first, source, tuple(first.shape))
            process.stdin.close()
            process.wait()
        except BrokenPipeError:
            process.wait()  # ffmpeg has ended before its input did, and said why
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            raise _failure(log)
    return Path(path)


def find_ffmpeg() -> str:
    """The path of an ffmpeg binary.

    Raises:
        RuntimeError: there is none.
    """
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise RuntimeError(
            "no ffmpeg found to write a video: run `pip install imageio-ffmpeg`, or set IMAGEIO_FFMPEG_EXE to one"
        ) from error


def _command(ffmpeg: str, height: int, width: int, fps: float, path: Path) -> list[str]:
    """The command line that reads raw frames from its input."""
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    codec = ["-c:v", "libx264", "-crf", str(_QUALITY), "-preset", "medium", "-vf", _RGB_TO_VIDEO, *_BT709]
    return [
        *(ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *source, "-an", *codec),
        *("-movflags", "+faststart", "-f", "mp4", str(path)),
    ]


def _feed(pipe: IO[bytes], first: Tensor, rest: Iterable[Tensor], shape: tuple[int, ...]) -> None:
    """Writes frames as bytes, cut to even sides."""
    number, frame = 0, first
    rest = iter(rest)
    while frame is not None:
        if tuple(frame.shape) != shape:
            raise ValueError(f"frames must have one size, got {tuple(frame.shape)} in frame {number}, {shape} before")
        frame = frame.detach().cpu().float()
        if frame.isnan().any():
            raise ValueError(f"frames must not hold NaN, got one in frame {number}")
        even = frame[:, : shape[1] // 2 * 2, : shape[2] // 2 * 2]
        pixels = even.clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
        pipe.write(pixels.numpy().tobytes())
        number, frame = number + 1, next(rest, None)


def _failure(log: IO[bytes]) -> Exception:
    """What ffmpeg said last, as an error."""
    log.seek(0)
    lines = log.read().decode("utf-8", "replace").strip().splitlines()
    if any("No space left on device" in line for line in lines):
        return OSError(errno.ENOSPC, "No space left on device")
    return RuntimeError(f"ffmpeg could not write the video: {lines[-1] if lines else 'it said nothing'}")
