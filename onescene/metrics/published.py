"""Depth numbers that One2Scene prints (Tables 3 and A2), to stand beside one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

WHAT_IS_COMPARABLE = (
    "The paper measures Matterport3D and Stanford2D3D and does not say how it aligns; its public code fits scale and "
    "shift image by image and pools pixels (rule one2scene-release), which is easier than a median. Levels compare "
    "under that rule on those data only; on other data compare the order of the variants and what a part gains."
)
METRICS = ("abs_rel", "delta1", "delta2", "delta3")


class PublishedDepth(NamedTuple):
    """A row of a table.

    Attributes:
        table: Of the paper: ``3`` or ``A2``.
        data: Which test set.
        method: As we name it.
        abs_rel: None where the paper has a dash.
        delta1: Share in [0, 1], as are ``delta2`` and ``delta3``; the paper prints per cent.
    """

    table: str
    data: str
    method: str
    abs_rel: float | None
    delta1: float
    delta2: float
    delta3: float


# method, then AbsRel, delta 1 to 3 [%] on Matterport3D and on Stanford2D3D
_TABLE_3 = """
BiFuse              0.2048 84.52 93.19 96.32  0.1209 86.60 95.80 98.60
UniFuse             0.1063 88.97 96.23 98.31  0.1114 87.11 96.64 98.82
HoHoNet             0.1488 87.86 95.19 97.71  0.1014 90.54 96.93 98.86
BiFuse++            -      87.90 95.17 97.72  -      87.83 96.49 98.84
ACDNet              0.1010 90.00 96.78 98.76  0.0984 88.72 97.04 98.95
PanoFormer          0.0904 88.16 96.61 98.78  0.1131 88.08 96.23 98.55
HRDFuse             0.0967 91.62 96.69 98.44  0.0935 91.40 97.98 99.27
EGFormer            0.1473 81.58 93.90 97.35  0.1528 81.85 93.38 97.36
Elite360D           0.1115 88.15 96.46 98.74  0.1182 88.72 96.84 98.92
Depth_Anywhere      0.0850 91.70 97.60 99.10  0.1180 91.00 97.10 98.70
One2Scene_zero-shot 0.1070 88.97 96.51 98.61  0.0675 95.20 98.53 99.30
One2Scene_finetuned 0.0391 98.09 99.41 99.74  0.0444 96.95 98.85 99.44
"""
_TABLE_A2 = """
VGGT_baseline       0.1576 78.82 93.20 96.15  0.1497 81.99 93.53 97.88
without_fusion      0.1204 86.28 95.36 97.45  0.0797 94.31 97.42 98.85
with_fusion         0.1070 88.97 96.51 98.61  0.0675 95.20 98.53 99.30
"""


def _rows(table: str, text: str) -> list[PublishedDepth]:
    rows = []
    for line in text.strip().splitlines():
        method, *values = line.split()
        for data, (abs_rel, *shares) in (("Matterport3D", values[:4]), ("Stanford2D3D", values[4:])):
            deltas = [float(share) / 100 for share in shares]
            error = None if abs_rel == "-" else float(abs_rel)
            rows.append(PublishedDepth(table, data, method.replace("_", " "), error, *deltas))
    return rows


PUBLISHED_DEPTH: tuple[PublishedDepth, ...] = (*_rows("3", _TABLE_3), *_rows("A2", _TABLE_A2))


def beside_published(
    ours: Mapping[str, Mapping[str, float]],
    ours_on: str,
    table: Literal["3", "A2"] = "A2",
    rule: str = "one2scene_release",
) -> list[dict[str, str | float | None]]:
    """The paper's rows, then one's own, under one rule; what they tell together says ``WHAT_IS_COMPARABLE``.

    Args:
        ours: Name of a network or variant to its numbers, keyed ``{metric}_{rule}`` as everywhere here.
        ours_on: What they were measured on.
        table: Of the paper.
        rule: Of one's own numbers, ``_`` for ``-`` in its name.

    Raises:
        ValueError: the table is unknown, or one's own numbers lack the rule.
    """
    if table not in ("3", "A2"):
        raise ValueError(f"table must be 3 or A2, got {table!r}")
    rows: list[dict[str, str | float | None]] = [
        {"by": f"paper, table {table}", "data": row.data, "method": row.method}
        | {name: getattr(row, name) for name in METRICS}
        for row in PUBLISHED_DEPTH
        if row.table == table
    ]
    for method, values in ours.items():
        if f"abs_rel_{rule}" not in values:
            raise ValueError(f"ours[{method!r}] must have numbers under the rule {rule}, got {', '.join(values)}")
        own = {name: float(values[f"{name}_{rule}"]) for name in METRICS}
        rows.append({"by": f"ours, {rule}", "data": ours_on, "method": method} | own)
    return rows
