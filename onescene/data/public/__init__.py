"""Public panoramas with measured or rendered depth, read from the folders that their makers hand out."""

from onescene.data.public.pack import pack_public
from onescene.data.public.sets import PublicSet
from onescene.data.public.sources import SOURCES, PublicSource, source_named

__all__ = ["SOURCES", "PublicSet", "PublicSource", "pack_public", "source_named"]
