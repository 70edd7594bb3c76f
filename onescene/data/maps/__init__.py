"""Maps of free games, Quake III's descendants and UFO: Alien Invasion, as a source of colour with exact depth.

From a folder of packs to panoramas: `pk3` (archives), `bsp` and `ufo_bsp` (the map formats), `shaders` and
`textures` (how surfaces look), `exchange` (or as other walls of the game do), `sky`, `world` (triangles in metres),
`shading` and `raytrace` (panoramas and views), `points` (where to stand), `generate` (whole data sets).

The packs are Debian packages; no root is needed to unpack them::

    apt-get download nexuiz-data nexuiz-textures openarena-data openarena-081-maps \\
        openarena-081-textures openarena-085-data openarena-088-data openarena-oacmp1 \\
        ufoai-maps ufoai-textures
    for f in *.deb; do dpkg-deb -x "$f" packs; done

The art is under the GPL, some of UFO's textures under CC-BY(-SA): render from the packs, do not ship the renders.
"""

from onescene.data.maps.pk3 import PackFiles, open_games
from onescene.data.maps.raytrace import TracedPanorama, TracedView, trace_panorama, trace_view
from onescene.data.maps.world import QuakeMap, load_map

__all__ = [
    "PackFiles",
    "QuakeMap",
    "TracedPanorama",
    "TracedView",
    "load_map",
    "open_games",
    "trace_panorama",
    "trace_view",
]
