"""onescene: one photo becomes a 3D scene to walk through, every step open."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("onescene")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0.0.0"
