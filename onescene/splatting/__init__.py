"""Gaussian splatting: one ``render`` with three backends, and a panorama render.

Owns projection, sorting, blending and spherical harmonics. Leaves files to ``io`` and fitting to ``stages.refine``.
"""

from onescene.splatting.panorama import PanoramaRender, render_panorama
from onescene.splatting.render import BACKENDS, Backend, RenderOutput, render

__all__ = ["BACKENDS", "Backend", "PanoramaRender", "RenderOutput", "render", "render_panorama"]
