"""What numbers in a params file of a training may be."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from onescene.pipeline.seeds import MOST_SEED

Whole = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Clip = Annotated[float, Field(gt=0)]  # of a gradient's norm; .inf = not at all
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Folder = Annotated[str, Field(min_length=1)]
