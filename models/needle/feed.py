"""Training batches made by worker processes ahead of their use: (seed, workers) -> an iterator of numpy batches, of a
stage of growing lengths that the trainer sets."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import numpy as np
from tasks import training_batch

# Each stage's lengths and how often they come: its main one first, and shorter ones so that they are not forgotten.
STAGES = [
    {256: 1.0},
    {1024: 0.8, 256: 0.2},
    {4096: 0.7, 1024: 0.2, 256: 0.1},
    {8192: 0.6, 4096: 0.15, 1024: 0.1, 256: 0.05, 16384: 0.1},
]


def work(seed: int, worker: int, tokens: int, stage, queue) -> None:  # noqa: ANN001
    rng = np.random.default_rng([seed, worker])
    while True:
        lengths = STAGES[stage.value]
        length = int(rng.choice(list(lengths), p=list(lengths.values())))
        queue.put((length, *training_batch(rng, length, tokens)))


class Feed:
    """Start it before CUDA is touched: its processes are forks."""

    def __init__(self, seed: int, workers: int, tokens: int) -> None:
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
