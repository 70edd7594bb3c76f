"""Calls ``splatting_peer.cpp``, the plain C++ version of the renderer, compiled here by g++ where there is one."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from onescene.splatting.numba_backend import camera_array
from onescene.types import Cameras, Gaussians

FLAGS = ("-O3", "-march=native", "-ffast-math", "-std=c++17", "-shared", "-fPIC", "-pthread")


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """The compiled peer.

    Raises:
        FileNotFoundError: there is no g++.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise FileNotFoundError("g++ is not installed")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "splatting_peer.so"
        subprocess.run([compiler, *FLAGS, Path(__file__).with_name("splatting_peer.cpp"), "-o", target], check=True)
        loaded = ctypes.CDLL(str(target))
    pointer = ctypes.c_void_p
    loaded.forward.argtypes = [ctypes.c_int64] * 2 + [pointer] * 2 + [ctypes.c_int] * 2 + [pointer, ctypes.c_int]
    loaded.forward.restype = pointer
    loaded.backward.argtypes = [pointer] * 4 + [ctypes.c_int]
    loaded.release.argtypes = [pointer]
    loaded.backward.restype = loaded.release.restype = None
    return loaded


def _pointers(tensors: Sequence[Tensor]) -> ctypes.Array:
    return (ctypes.c_void_p * len(tensors))(*(t.data_ptr() for t in tensors))


def render_cpp(gaussians: Gaussians, camera: Cameras, grad: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The image [5, H, W] (colour, depth_z, alpha) and, given its gradient, those of the five tensors.

    Args:
        gaussians: The scene, SH degree 0.
        camera: One camera.
        grad: dL/d(image), [5, H, W].
    """
    if gaussians.sh_degree != 0 or len(camera) != 1:
        raise ValueError("the C++ peer draws Gaussians of degree 0 into one camera")
    (height, width), calls, threads = camera.hw, library(), torch.get_num_threads()
    g = gaussians
    tensors = [t.detach().contiguous() for t in (g.means, g.quats, g.scales, g.opacities, g.sh)]
    matrices = camera.cam_from_world[0].double().numpy(), camera.K[0].double().numpy()
    flat = camera_array(*matrices, camera.hw, 0.01, float(np.inf))
    image = torch.empty(5, height, width)
    scene = _pointers(tensors)
    view = calls.forward(len(g), 1, scene, flat.ctypes.data, height, width, image.data_ptr(), threads)
    grads = ()
    if grad is not None:
        grads = tuple(torch.zeros_like(t) for t in tensors)
        calls.backward(view, image.data_ptr(), grad.data_ptr(), _pointers(grads), threads)
    calls.release(view)
    return image, grads
