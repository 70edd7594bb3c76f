"""Anchored panorama synthesis of WorldRecipe (arXiv 2503.16611), without training, by any inpainting engine.

photo on the sphere -> a copy of it at the back, as an anchor -> sky and ground inpainted, each with its own prompt
    -> the anchor removed -> side views inpainted by turning to both sides -> what is left, if anything

``order``: which views, in which order, for this and the two heuristics it is compared with; ``engines``: what inpaints
a view; ``captions``: the three prompts from a caption model; ``run``: the loop over the views.
"""
