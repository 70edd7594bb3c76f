"""Public panoramas as packed ones: reduced once, in the files that training and evaluation read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from onescene.data.panoramas import INDEX_NAME, check_out_dir, encode_distance, read_index, write_arrays, write_index
from onescene.data.public.sets import PublicSet

Progress = Callable[[str, int, int], None]


def pack_public(data: PublicSet, out_dir: str | Path, progress: Progress | None = None) -> dict:
    """Writes a public set as packed panoramas, a file ``<dataset>__<scene>.npz`` per scene; what is there is kept.

    Panoramas whose files are damaged or missing, or of which no distance is known, are left out and named in the
    index. A call that was interrupted goes on where it stopped.

    Args:
        data: What to pack.
        out_dir: Folder to write to.
        progress: Called with the last scene's name, how many scenes are done, and how many there are.

    Returns:
        The index as written to ``index.json``: for every file the number of ``panoramas`` in it and those ``skipped``,
        with the reason; ``without_depth`` names the pictures whose depth is missing.

    Raises:
        ValueError: ``out_dir`` is a file, or holds panoramas of another set or height; every panorama is damaged.
    """
    out = check_out_dir(out_dir)
    index = _earlier(out, {"dataset": data.source.name, "height": data.height, "cap_m": data.source.cap_m})
    index["without_depth"] = sorted(set(index["without_depth"]) | set(data.without_depth))
    maps, scenes = index["maps"], data.by_scene()
    for done, (scene, indices) in enumerate(scenes.items(), start=1):
        key = f"{data.source.name}__{scene}"
        if not (key in maps and (out / f"{key}.npz").is_file()):
            arrays, skipped = _arrays(data, indices)
            maps[key] = {"panoramas": len(arrays.get("rgb", ())), "skipped": skipped}
            if arrays:
                out.mkdir(parents=True, exist_ok=True)
                write_arrays(out / f"{key}.npz", arrays)
                write_index(out, index)
        if progress is not None:
            progress(key, done, len(scenes))
    if not any(entry["panoramas"] for entry in maps.values()):
        first = next(reason for entry in maps.values() for reason in entry["skipped"].values())
        raise ValueError(f"no panorama of {data.root} can be read; the first: {first}")
    write_index(out, index)
    return index


def _earlier(out: Path, parameters: dict) -> dict:
    """The index of an earlier call with the same parameters, or a new one."""
    if not (out / INDEX_NAME).is_file():
        return {"parameters": parameters, "maps": {}, "without_depth": []}
    index = read_index(out)
    if index.get("parameters") != parameters:
        raise ValueError(f"{out} holds another set ({index.get('parameters')}), expected {parameters}")
    return index


def _arrays(data: PublicSet, indices: list[int]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """One scene's arrays, and why panoramas of it were left out."""
    items, skipped = [], {}
    for index in indices:
        try:
            items.append(data[index])
        except (ValueError, FileNotFoundError) as error:
            skipped[data.name(index)] = str(error)
    if not items:
        return {}, skipped
    rgb, distance = np.stack([item[0] for item in items]), np.stack([item[1] for item in items])
    unknown = np.isnan(distance)
    code = encode_distance(np.where(unknown, np.float32(1.0), distance))
    return {"rgb": rgb, "log_distance": code} | ({"unknown": unknown} if unknown.any() else {}), skipped
