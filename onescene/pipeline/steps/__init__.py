"""The steps of the main job: each reads files, calls one stage and writes files.

One module per step, because a step's key holds the hash of all that its module imports.
"""
