"""Outpainter: a small network that corrects the layout and colours of a classical draft of a panorama."""

from onescene.models.outpainter.network import LARGE as LARGE
from onescene.models.outpainter.network import SMALL as SMALL
from onescene.models.outpainter.network import Outpainter as Outpainter
from onescene.models.outpainter.network import OutpainterConfig as OutpainterConfig
