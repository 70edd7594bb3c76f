"""Data with exact depth: analytic rooms, ray-traced maps, splits and packed panoramas."""
