"""Scenes and panoramas in a browser: one self-contained page, notebook views and a widget whose camera Python reads."""

from onescene.viewer.html import scene_html

__all__ = ["scene_html"]
