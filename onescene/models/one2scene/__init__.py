"""The scaffold network of the paper: VGGT with bidirectional fusion and Gaussian heads (Sec. 3.2 of One2Scene)."""

from onescene.models.one2scene.config import PAPER, SMALL, One2SceneConfig
from onescene.models.one2scene.gaussians import CONVENTIONS, FaceGaussians
from onescene.models.one2scene.network import One2Scene, One2ScenePrediction

__all__ = ["CONVENTIONS", "PAPER", "SMALL", "FaceGaussians", "One2Scene", "One2SceneConfig", "One2ScenePrediction"]
