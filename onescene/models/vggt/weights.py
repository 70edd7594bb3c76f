"""The public checkpoint into a network that may read less of it, or have more beside it (a fusion, Gaussian heads)."""

from __future__ import annotations

from pathlib import Path

from onescene.models.loading import KeyReport, compare_keys, read_state_dict
from onescene.models.vggt.network import UNUSED_PREFIXES, VGGT


def load_public(network: VGGT, path: str | Path) -> tuple[str, ...]:
    """Loads VGGT's public weights; what is ours keeps the start it has, heads that the network lacks are left out.

    Args:
        network: At the size of the file.
        path: ``model.pt``, or the same as safetensors.

    Returns:
        The keys of the file that were not read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another key is missing or unknown, or a shape differs; the sentence names the first of each.
    """
    tensors = read_state_dict(path)
    report = compare_keys(network, tensors)
    heads = [f"{head}." for head in ("point_head", "camera_head") if not hasattr(network, head)]
    optional = (*UNUSED_PREFIXES, *heads)
    missing = tuple(k for k in report.missing if not k.startswith(network.NEW_PREFIXES))
    unexpected = tuple(k for k in report.unexpected if not k.startswith(optional))
    KeyReport(missing, unexpected, report.wrong_shape).refuse_misfit("VGGT", path)
    unread = set(report.unexpected)
    network.load_state_dict({k: v for k, v in tensors.items() if k not in unread}, strict=False)
    return report.unexpected
