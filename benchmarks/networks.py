"""What the large networks cost on this machine: seconds, memory, and how far that is from the machine's limit.

    python benchmarks/networks.py [vggt one2scene seva] [--size paper|small] [--rounds 5] [--steps 50] [--compile]

writes results/benchmarks/networks-SIZE-DEVICE.json, a row per network as soon as it is measured; rows of networks that
are not named stay. Weights are random: speed does not depend on them. ``paper`` is VGGT-1B on six faces of 518 pixels
and SEVA on a chunk of 21 frames of 576; it wants a GPU.

- ``ours``: as the stages call it, in the precision that they choose. ``compiled``: through ``torch.compile``.
- ``plain``: the same network in the precision of its weights, attention as softmax(q k) v with all of its matrix; for
  SEVA with the unconditional half of each step that the public sampler runs even where the guidance's scale is 1.
- ``limit_s``: the operations of one call by what this machine's own product of two square matrices reaches.

All of them interleaved in one process, medians. ``difference`` is the largest one between ``ours`` and ``plain``, over
the standard deviation of ``plain``.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: its idle threads would spin on the cores we use

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from onescene.geometry.trajectories.seva import seva_poses
from onescene.io.atomic import atomic_write_json
from onescene.models import one2scene, seva, vggt
from onescene.models.arithmetic import best_device, processor_has_bfloat16, quick_arithmetic
from onescene.models.scaffolds import as_scaffold
from onescene.models.seva.conditioning import ChunkViews, Conditions, PosedLatents, assemble
from onescene.models.seva.sampling import SamplerConfig, sample

OUT = Path(__file__).resolve().parents[1] / "results" / "benchmarks"
SCAFFOLDS: dict[str, dict[str, Callable[[], nn.Module]]] = {
    "vggt": {
        "paper": lambda: vggt.VGGT(replace(vggt.PAPER, camera_head=False)),
        "small": lambda: vggt.VGGT(replace(vggt.SMALL, camera_head=False)),
    },
    "one2scene": {
        "paper": lambda: one2scene.One2Scene(one2scene.PAPER),
        "small": lambda: one2scene.One2Scene(one2scene.SMALL),
    },
}
DENOISERS = {"paper": seva.RELEASE, "small": replace(seva.SMALL, lora_rank=8)}
LATENT_PX = {"paper": 576 // 8, "small": 256 // 8}
CLEAN = {"paper": 3, "small": 2}  # frames of a chunk that are anchors or memory; half of the rest are targets
NETWORKS = (*SCAFFOLDS, "seva")
Variants = dict[str, Callable[[], Tensor]]


def scaffold_variants(name: str, args: argparse.Namespace) -> tuple[Variants, Callable[[], object], int]:
    """Six faces to log distance by each variant, a call whose operations count, and how many of it a call is."""
    ours = as_scaffold(SCAFFOLDS[name][args.size]().eval().requires_grad_(False).to(args.device))
    plain = as_scaffold(ours.network)
    plain.large = False
    faces = torch.rand(6, 3, ours.face_px, ours.face_px, generator=torch.Generator().manual_seed(0))
    views = {"ours": ours, "plain": plain}
    if args.compile:
        views["compiled"] = as_scaffold(copy.deepcopy(ours.network))
        views["compiled"].network.compile()
    calls = {name: lambda view=view: view.see(faces).face_log_distance for name, view in views.items()}
    calls["plain"] = in_full(calls["plain"])
    return calls, calls["plain"], 1


def seva_variants(name: str, args: argparse.Namespace) -> tuple[Variants, Callable[[], object], int]:
    """A chunk sampled by each variant; as :func:`scaffold_variants`."""
    config = DENOISERS[args.size]
    dtype = torch.float16 if args.device.type == "cuda" else torch.float32  # as load_bundle
    network = seva.SevaUNet(config).eval().requires_grad_(False).to(args.device, dtype)
    for parameter in network.parameters():  # fresh ones of its last layers are zero
        torch.nn.init.normal_(parameter, std=0.02)
    given = chunk(config, LATENT_PX[args.size], CLEAN[args.size], args.device)

    def run(denoiser: nn.Module, sampler: SamplerConfig) -> Tensor:
        return sample(denoiser, given, sampler, torch.Generator().manual_seed(0)).cpu()

    def ours(denoiser: nn.Module = network) -> Tensor:
        with quick_arithmetic(args.device):
            return run(denoiser, SamplerConfig(steps=args.steps))

    both = SamplerConfig(steps=args.steps, guidance="multiview", scale=1.0, minimal=1.0)
    calls: Variants = {"ours": ours, "plain": in_full(lambda: run(network, both))}
    if args.compile:
        quick = copy.deepcopy(network)
        quick.compile()
        calls["compiled"] = lambda: ours(quick)
    return calls, in_full(lambda: run(network, SamplerConfig(steps=1))), args.steps


def chunk(config: seva.SevaConfig, latent_px: int, clean: int, device: torch.device) -> Conditions:
    """A chunk of noise: renders, clean frames and targets on an orbit."""
    targets, draw = (config.num_frames - clean) // 2, torch.Generator().manual_seed(0)

    def posed(count: int, start: int) -> PosedLatents:
        return PosedLatents(
            latents=torch.randn(count, config.out_channels, latent_px, latent_px, generator=draw).to(device),
            embeddings=torch.randn(count, config.context_dim, generator=draw).to(device),
            world_from_cam=seva_poses("orbit", config.num_frames)[start : start + count].float().to(device),
            K_normalised=torch.tensor([[0.9, 0, 0.5], [0, 0.9, 0.5], [0, 0, 1]]).repeat(count, 1, 1).to(device),
        )

    return assemble("renders", ChunkViews(anchors=posed(clean, 0), renders=posed(targets, clean)))


def in_full(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """With attention as two products and a softmax."""

    def plain() -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return call()

    return plain


def operations(call: Callable[[], object]) -> int:
    """Multiplications and additions of matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter, torch.enable_grad():  # without gradients some are of a fused kind
        call()
    return counter.get_total_flops()


@torch.no_grad()
def best_rate(device: torch.device) -> tuple[float, str]:
    """What a product of two square matrices reaches here [operations/s], and in which precision."""
    half = device.type == "cuda" or processor_has_bfloat16()
    side, dtype = (8192 if device.type == "cuda" else 2048), torch.bfloat16 if half else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    seconds = [timed(lambda: a @ b, device)[0] for _ in range(10)]
    return 2 * side**3 / min(seconds), str(dtype).removeprefix("torch.")


def timed(call: Callable[[], Tensor], device: torch.device) -> tuple[float, Tensor]:
    """Seconds of a call, until the device is done with it, and what it gave."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    out = call()
    wait()
    return time.perf_counter() - start, out


@torch.no_grad()
def measure(name: str, args: argparse.Namespace, rate: float) -> dict:
    """A row of the report."""
    variants, counted, times = (seva_variants if name == "seva" else scaffold_variants)(name, args)
    results = {variant: timed(call, args.device)[1] for variant, call in variants.items()}  # not counted: warms up
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    gpu_gb = {}
    for _ in range(args.rounds):
        for variant, call in variants.items():
            if args.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            seconds[variant].append(timed(call, args.device)[0])
            if args.device.type == "cuda":
                gpu_gb[variant] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    medians = {variant: statistics.median(values) for variant, values in seconds.items()}
    flops = operations(counted) * times
    away = (results["ours"] - results["plain"]).abs().max() / results["plain"].std()
    return {
        "seconds": {variant: round(value, 4) for variant, value in medians.items()},
        "ratio_to_plain": {variant: round(value / medians["plain"], 3) for variant, value in medians.items()},
        "operations": flops,
        "limit_s": round(flops / rate, 4),
        "share_of_limit": round(flops / rate / medians["ours"], 3),
        "gpu_gb": gpu_gb,
        "difference": float(f"{float(away):.1e}"),
        "steps": args.steps if name == "seva" else None,
    }


def main() -> None:
    """Measures what is named, and keeps the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(NETWORKS)}; default: all")
    parser.add_argument("--size", choices=("paper", "small"), default="paper")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", type=torch.device, default=best_device())
    args = parser.parse_args()
    if unknown := set(args.networks) - set(NETWORKS):
        parser.error(f"networks are {', '.join(NETWORKS)}, got {unknown.pop()!r}")
    out = OUT / f"networks-{args.size}-{args.device.type}.json"
    report = json.loads(out.read_text()) if out.is_file() else {"networks": {}}
    on_gpu = args.device.type == "cuda"
    rate, precision = best_rate(args.device)
    report["machine"] = {
        "device": torch.cuda.get_device_name(args.device) if on_gpu else platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "product_tflops": round(rate / 1e12, 3),
        "product_precision": precision,
        "load_average_before": [round(x, 2) for x in os.getloadavg()],
    }
    for name in args.networks or NETWORKS:
        report["networks"][name] = measure(name, args, rate)
        print(name, json.dumps(report["networks"][name]), flush=True)
        atomic_write_json(out, report)


if __name__ == "__main__":
    main()
