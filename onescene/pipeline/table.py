"""The results table: one row per run of a notebook, its parameters that differ and its metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from onescene.io.atomic import atomic_write_text
from onescene.pipeline.parameters import OUT_KEY


def results_table(folder: str | Path) -> pd.DataFrame:
    """Gathers ``*/metrics.json`` and ``*/params.yaml`` below a notebook's folder of results.

    Returns:
        Rows indexed by the run's name; columns are the parameters whose values differ between runs, then the metrics
        (nested ones with dots, lists left out), then how many checks held.
    """
    metrics, params = {}, {}
    for path in sorted(Path(folder).glob("*/metrics.json")):
        metrics[path.parent.name] = _row(json.loads(path.read_text("utf-8")))
        params[path.parent.name] = yaml.safe_load((path.parent / "params.yaml").read_text("utf-8")) or {}
    keys = list(dict.fromkeys(k for p in params.values() for k in p if k != OUT_KEY))
    differing = [k for k in keys if len({json.dumps(p.get(k), default=str) for p in params.values()}) > 1]
    rows = {
        name: {k: params[name].get(k) for k in differing}
        | {f"{k}_metric" if k in differing else k: v for k, v in values.items()}
        for name, values in metrics.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")


def _row(content: dict[str, Any]) -> dict[str, Any]:
    """A run's metrics.json, flat: numbers lie under ``metrics``, what was checked under ``checks``."""
    checks = content.pop("checks", None)
    flat = pd.json_normalize(content.pop("metrics", {}) | content).iloc[0].to_dict()
    row = {k: v for k, v in flat.items() if not isinstance(v, list)}
    return row if checks is None else row | {"checks": f"{sum(map(bool, checks.values()))} of {len(checks)}"}


def write_table(folder: str | Path) -> pd.DataFrame:
    """Writes ``table.csv`` beside the runs, and returns the table."""
    table = results_table(folder)
    if len(table):
        atomic_write_text(Path(folder) / "table.csv", table.to_csv(lineterminator="\n"))
    return table
