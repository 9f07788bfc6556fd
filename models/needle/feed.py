"""Training batches made by worker processes ahead of their use: (seed, workers) -> an iterator of numpy batches, of a
stage of growing lengths that the trainer sets."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import numpy as np
from tasks import training_batch

# Each stage's lengths and how often they come: its main one first, and shorter ones so that they are not forgotten. The
# first is short because looking up is found where few tokens compete: at 256 it had not begun after a thousand steps.
STAGES = [
    {64: 1.0},
    {256: 0.5, 128: 0.25, 64: 0.25},
    {1024: 0.6, 256: 0.25, 64: 0.15},
    {4096: 0.6, 1024: 0.2, 256: 0.15, 64: 0.05},
    {8192: 0.5, 4096: 0.15, 1024: 0.1, 256: 0.1, 64: 0.05, 16384: 0.1},
]
# Tokens of a step by stage: what is found first takes many steps, not large ones.
TOKENS = [32768, 32768, 65536, 131072, 131072]


def work(seed: int, worker: int, tokens: int | None, stage, queue) -> None:  # noqa: ANN001
    rng = np.random.default_rng([seed, worker])
    while True:
        now = stage.value
        lengths = STAGES[now]
        length = int(rng.choice(list(lengths), p=list(lengths.values())))
        queue.put((length, *training_batch(rng, length, tokens or TOKENS[now])))


class Feed:
    """Start it before CUDA is touched: its processes are forks."""

    def __init__(self, seed: int, workers: int, tokens: int | None) -> None:
        fork = multiprocessing.get_context("fork")
        self.stage = fork.Value("i", 0, lock=False)
        self.queues = [fork.Queue(maxsize=2) for _ in range(workers)]
        self.processes = [
            fork.Process(target=work, args=(seed, worker, tokens, self.stage, queue), daemon=True)
            for worker, queue in enumerate(self.queues)
        ]
        for process in self.processes:
            process.start()

    def batches(self) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """In turn from each worker, so that their order does not hang on which is fastest."""
        while True:
            for queue in self.queues:
                yield queue.get(timeout=120)

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
