"""The readable form of what ``splatting.py`` measured."""

from __future__ import annotations

METHODS = ("numba", "cpp", "torch", "gsplat")


def table(report: dict) -> str:
    """A Markdown page of the report, as far as it has come."""
    machine = report["machine"]
    lines = [
        "# Splatting on a CPU",
        "",
        f"`{report['command']}`: {machine['processor']}, {machine['threads']} threads, torch {machine['torch']}, load "
        f"average {machine['load_average_before']} before the run, niceness {machine['niceness']} "
        "(other programs shared the cores, which lengthens "
        "wall time by as much as they take; CPU time, all threads added up, is steadier). All methods interleaved in "
        "one process. Ratios: the method's CPU time by that of the Numba backend, medians.",
        "The torch methods ran "
        + " and ".join(sorted({str(r["methods"]["torch"]["runs"]) for r in report["rows"]}))
        + " times after a first call that is not counted, the others as often as the command says.",
        "",
        *(f"- {name}: {title}" for name, title in report["methods"].items()),
        "",
        "| task | Gaussians | px | " + " | ".join(f"{m} wall ms (min), CPU ms (min)" for m in METHODS) + " | "
        "numba to C++ | gsplat to numba | twin to numba |",
        "| --- " * (3 + len(METHODS) + 3) + "|",
        *(_row(row) for row in report["rows"]),
    ]
    return "\n".join(lines + _checks(report))


def _row(row: dict) -> str:
    found = row["methods"]
    cells = [row["task"], row["scene"], str(row["px"])]
    for name in METHODS:
        if name not in found:
            cells.append("absent")
            continue
        wall, cpu = found[name]["wall_ms"], found[name]["cpu_ms"]
        cells.append(f"{wall['median']:.0f} ({wall['min']:.0f}), {cpu['median']:.1f} ({cpu['min']:.1f})")
    for above, below in (("numba", "cpp"), ("gsplat", "numba"), ("torch", "numba")):
        both = above in found and below in found
        cells.append(f"{found[above]['cpu_ms']['median'] / found[below]['cpu_ms']['median']:.2f}" if both else "absent")
    return "| " + " | ".join(cells) + " |"


def _checks(report: dict) -> list[str]:
    if "first_call" not in report:
        return []
    lines = ["", "Against gsplat (images: pixels of all that differ by more than 1/255; gradients: relative L2):", ""]
    for row in report["rows"]:
        for name, found in row.get("against_gsplat", {}).items():
            grads = [f"{k.split('_')[1]} {v:.0e}" for k, v in found.items() if k.startswith("grad_")]
            lines.append(
                f"- {row['task']} {row['scene']} {row['px']} px, {name}: {found['pixels_off_by_1/255']} of "
                f"{found['pixels']} pixels, largest difference {found['max_abs']:.1e}"
                + (f"; gradients {', '.join(grads)}" if grads else "")
            )
    first, cached = report["first_call"], report["cached_call"]
    lines += [
        "",
        f"First forward and backward of a process: {first['seconds']:.1f} s ({first['cpu_seconds']:.1f} s of CPU) when "
        f"the kernels are compiled, {cached['seconds']:.2f} s ({cached['cpu_seconds']:.2f} s of CPU) from the cache.",
        f"Same bits for 1, 2, 3 and 5 threads: {'yes' if report['same_bits_for_1_2_3_5_threads'] else 'NO'}.",
        "Memory above the inputs, 300 k, forward and backward, 512 px: "
        + ", ".join(f"{m} {v['extra_mib']:.0f} MiB" for m, v in report["memory_f+b_300k_512"].items())
        + ".",
        f"5 M Gaussians, forward, 512 px: {report['memory_forward_5M_512']['numba']['extra_mib']:.0f} MiB above the "
        f"inputs, the whole process {report['memory_forward_5M_512']['numba']['process_peak_mib'] / 1024:.2f} GiB.",
    ]
    return lines
