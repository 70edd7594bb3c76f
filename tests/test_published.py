"""The papers' depth tables: read right, beside one's own under the same rule."""

import csv
from pathlib import Path

import pytest

from onescene.metrics.published import METRICS, PUBLISHED_DEPTH, WHAT_IS_COMPARABLE, beside_published

NAMES = {"One2Scene fine-tuned": "One2Scene finetuned", "fine-tuned without fusion": "without fusion"}
NAMES |= {"fine-tuned with fusion": "with fusion"}
FILE = Path(__file__).resolve().parents[2] / "shared" / "reference" / "published.csv"


def test_a_row_of_each_table_by_hand():
    """Sec. 4.2.2 and A.3 of One2Scene."""
    rows = {(r.table, r.data, r.method): r[3:] for r in PUBLISHED_DEPTH}
    assert rows["3", "Stanford2D3D", "One2Scene zero-shot"] == pytest.approx((0.0675, 0.9520, 0.9853, 0.9930))
    assert rows["A2", "Matterport3D", "without fusion"] == pytest.approx((0.1204, 0.8628, 0.9536, 0.9745))
    assert rows["3", "Matterport3D", "BiFuse++"][0] is None
    assert len(rows) == len(PUBLISHED_DEPTH) == 2 * (12 + 3)
    zero_shot = [rows["3", d, "One2Scene zero-shot"] for d in ("Matterport3D", "Stanford2D3D")]
    assert zero_shot == [rows["A2", d, "with fusion"] for d in ("Matterport3D", "Stanford2D3D")]


def test_every_number_is_the_papers():
    if not FILE.is_file():
        pytest.skip("no published.csv beside the checkout")
    printed = {}
    for row in csv.DictReader(FILE.open()):
        if row["paper"] == "One2Scene" and row["table"] in ("3", "A2"):
            key = row["table"], row["dataset"], row["method"]
            name = row["metric"].replace("AbsRel", "abs_rel")
            printed.setdefault(key, {})[name] = float(row["value"]) / (1 if name == "abs_rel" else 100)
    ours = {
        (r.table, r.data, r.method): {n: getattr(r, n) for n in METRICS if getattr(r, n) is not None}
        for r in PUBLISHED_DEPTH
    }
    found = {(t, d, NAMES.get(m, m)): v for (t, d, m), v in printed.items()}
    assert set(found) == set(ours)
    for key, values in found.items():
        assert values == pytest.approx(ours[key]), key


def test_ours_stand_below_under_their_rule():
    ours = {"fused": {f"{m}_{r}": 0.5 for m in METRICS for r in ("da2", "one2scene_release")}}
    rows = beside_published(ours, "game maps", "A2")
    assert [r["method"] for r in rows[-3:]] == ["with fusion", "with fusion", "fused"]
    assert rows[-1] == {"by": "ours, one2scene_release", "data": "game maps", "method": "fused"} | dict.fromkeys(
        METRICS, 0.5
    )
    assert "one2scene-release" in WHAT_IS_COMPARABLE
    with pytest.raises(ValueError, match="must have numbers under the rule metric"):
        beside_published(ours, "game maps", rule="metric")
    with pytest.raises(ValueError, match="table must be 3 or A2, got '7'"):
        beside_published(ours, "game maps", "7")
