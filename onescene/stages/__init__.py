"""Stages of the main job: each module holds a Config, an Output and ``run``; pure tensors, no files, no plots.

panorama -> anchors -> scaffold -> views -> refine
"""
