"""VGGT: six faces to depth and cameras in one pass, the backbone of the paper's scaffold (Sec. 3.2 of One2Scene)."""

from onescene.models.vggt.network import PAPER, SMALL, VGGT, VGGTConfig, VGGTPrediction

__all__ = ["PAPER", "SMALL", "VGGT", "VGGTConfig", "VGGTPrediction"]
