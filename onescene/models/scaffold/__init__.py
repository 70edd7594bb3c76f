"""Scaffold networks: six faces to distance, sky and Gaussians (Sec. 3.2 of One2Scene)."""

from onescene.models.scaffold.fusion import BidirectionalFusion
from onescene.models.scaffold.network import SMALL, CubeScaffold, CubeScaffoldConfig, ScaffoldPrediction

__all__ = ["SMALL", "BidirectionalFusion", "CubeScaffold", "CubeScaffoldConfig", "ScaffoldPrediction"]
