"""Who runs the jobs of a batch: threads of this process, or the workers of a dask.distributed cluster.

Every notebook has a kernel process of its own, so threads are enough on one machine.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from onescene.pipeline.batch import BatchJob, BatchResult, run_job


def run_on_threads(jobs: Sequence[BatchJob], workers: int, fresh: bool = False) -> Iterator[BatchResult]:
    """Yields results as they come, in any order.

    The threads are daemons: after Ctrl-C the process ends at once, and each kernel follows the process that made it.

    Raises:
        ValueError: ``workers`` is below 1.
    """
    if workers < 1:
        raise ValueError(f"--workers must be >= 1, got {workers}")
    waiting: queue.SimpleQueue[BatchJob] = queue.SimpleQueue()
    done: queue.SimpleQueue[BatchResult] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)

    def work() -> None:
        while True:
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            done.put(run_job(job, fresh))

    with _threads_per_kernel(workers):
        for _ in range(min(workers, len(jobs))):
            threading.Thread(target=work, daemon=True).start()
        for _ in jobs:
            yield done.get()


@contextmanager
def _threads_per_kernel(workers: int) -> Iterator[None]:
    """Shares the cores among kernels unless the user has said how; kernels inherit the environment."""
    name = "OMP_NUM_THREADS"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(max(1, (os.cpu_count() or 1) // workers))
    try:
        yield
    finally:
        del os.environ[name]


def run_on_cluster(jobs: Sequence[BatchJob], scheduler: str, fresh: bool = False) -> Iterator[BatchResult]:
    """Yields results of jobs run by the workers of a dask scheduler; they must see the same folders.

    Where workers offer ``GPU`` as a resource (``dask worker --resources GPU=1``), each job takes one. A job whose
    worker dies is given to another.

    Raises:
        ValueError: dask.distributed is not installed, or the address is none.
        ConnectionError: no scheduler answers at the address, or it has no workers.
    """
    try:
        from distributed import Client, as_completed
        from distributed.comm import get_address_host_port
    except ImportError as error:
        raise ValueError("--scheduler needs dask.distributed: pip install 'onescene[cluster]'") from error
    address = scheduler if "://" in scheduler else f"tcp://{scheduler}"
    try:
        get_address_host_port(address, strict=True)  # a client that is given none complains for ten seconds more
    except ValueError as error:
        raise ValueError(f"--scheduler must be an address such as tcp://HOST:PORT, got {scheduler!r}") from error
    try:
        client = Client(address, timeout="5s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(f"--scheduler: no dask scheduler answers at {scheduler}") from error
    with client:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        if not workers:
            raise ConnectionError(f"--scheduler: the scheduler at {scheduler} has no workers")
        gpu = any((w.get("resources") or {}).get("GPU") for w in workers)
        options = {"resources": {"GPU": 1}} if gpu else {}
        futures = {client.submit(run_job, job, fresh, pure=False, **options): job for job in jobs}
        for future in as_completed(futures, loop=client.loop):
            if future.status == "finished":
                yield future.result()
            else:
                yield BatchResult(futures[future].label, "failed", 0.0, f"its workers died: {future.exception()}")
