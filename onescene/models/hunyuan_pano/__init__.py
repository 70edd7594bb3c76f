"""Hunyuan-Pano-DiT: FLUX.1 with a panorama LoRA, made circular (Sec. 3.1 of One2Scene; HunyuanWorld-1.0).

Plain diffusers loads these weights and leaves a seam; what it lacks is here: guidance by a negative prompt, latents
whose ends overlap and are blended, a decoder that goes around the circle. Weights are read from a local folder.
"""

from onescene.models.hunyuan_pano.config import HunyuanConfig, HunyuanTextConfig
from onescene.models.hunyuan_pano.files import required_files

__all__ = ["HunyuanConfig", "HunyuanTextConfig", "required_files"]
