"""Cameras, panoramas, cubemap faces and trajectories: exact, differentiable, any batch shape.

Imports ``types`` only. See :mod:`onescene.types` for the one convention.
"""
