"""Networks, their weights and where each comes from; no files other than weights, no plots.

Imports ``types``, ``geometry`` and ``splatting`` only.
"""
