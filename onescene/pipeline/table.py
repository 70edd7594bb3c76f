"""The results table: one row per run of a notebook, its parameters that differ and its metrics."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from onescene.io.atomic import atomic_write_text, check_parent
from onescene.pipeline.parameters import OUT_KEY

logger = logging.getLogger(__name__)


def results_table(folder: str | Path) -> pd.DataFrame:
    """Gathers ``*/metrics.json`` and ``*/params.yaml`` below a notebook's folder of results.

    Returns:
        Rows indexed by the run's name; columns are the parameters whose values differ between runs, then the metrics
        (nested ones with dots, lists left out), then how many checks held. A damaged run is told of and left out.
    """
    metrics, params = {}, {}
    for path in sorted(Path(folder).glob("*/metrics.json")):
        try:
            row = _row(json.loads(path.read_text("utf-8")))
            asked = dict(yaml.safe_load((path.parent / "params.yaml").read_text("utf-8")) or {})
        except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
            logger.warning("%s is left out of the table: it is damaged (%s)", path.parent, type(error).__name__)
            continue
        metrics[path.parent.name], params[path.parent.name] = row, asked
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


def check_table_file(path: Path | None) -> None:
    """Refuses, before any work is done, where a table can not be written to.

    Raises:
        IsADirectoryError: it is a folder. FileNotFoundError, NotADirectoryError: as :func:`check_parent`.
    """
    if path is not None and path.is_dir():
        raise IsADirectoryError(f"--out must be a CSV file, {path} is a folder")
    if path is not None:
        check_parent(path)
