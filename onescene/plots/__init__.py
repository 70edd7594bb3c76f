"""Figures: functions take tensors and return a matplotlib figure or an RGB picture; nothing is shown or saved."""

from onescene.plots.distance import colour_distance
from onescene.plots.overview import overview_figure
from onescene.plots.pictures import image_row, to_numpy

__all__ = ["colour_distance", "image_row", "overview_figure", "to_numpy"]
