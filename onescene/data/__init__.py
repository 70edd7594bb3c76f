"""Data with exact depth: analytic rooms, furnished homes, ray-traced maps, splits and packed panoramas."""
