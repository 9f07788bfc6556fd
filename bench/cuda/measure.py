"""Callables in; their times on the GPU out: warmed up, in rounds that take turns, so that a drifting clock hits all alike."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Callable, List, Optional, Sequence

import torch

# An idle GPU runs at a fraction of its clock.
WARM_SECONDS = 0.4
# A slice is one contender's share of a round.
SLICE_MS = 3.0
ROUNDS = (5, 40)
# Lets the host queue a slice before the GPU starts on it, so that no launch is waited for; cycles.
HEAD_START = 600_000
GRAPHED_CALLS = 64


@dataclass
class Contender:
    name: str
    # Runs once, on the input set of that index.
    call: Callable[[int], object]
    sets: int
    # Entered around a slice: a choice of backend, say.
    within: Callable[[], AbstractContextManager[object]] = nullcontext
    # A call that is shorter than its launch on the host is timed as a graph of many.
    graphed: bool = False
    estimate: float = 0.0
    times: List[float] = field(default_factory=list)
    _next: int = 0
    _graph: Optional[torch.cuda.CUDAGraph] = None

    def run(self, count: int) -> None:
        with self.within():
            for _ in range(count):
                self.call(self._next % self.sets)
                self._next += 1

    def capture(self) -> bool:
        """True if a graph of GRAPHED_CALLS calls could be made; without it calls are timed one by one."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.stream(stream):
                self.run(3)
            torch.cuda.synchronize()
            with torch.cuda.graph(graph):
                self.run(GRAPHED_CALLS)
        except Exception as error:  # noqa: BLE001: whatever refuses to be captured is timed without
            torch.cuda.synchronize()
            print(f"    {self.name}: no graph ({str(error).splitlines()[0]})", flush=True)
            return False
        self._graph = graph
        return True

    def slice(self) -> tuple[torch.cuda.Event, torch.cuda.Event, int]:
        """Queues one slice between two events; nothing is waited for."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(HEAD_START)
        if self._graph is not None:
            replays = max(1, round(SLICE_MS / (self.estimate * GRAPHED_CALLS)))
            start.record()
            for _ in range(replays):
                self._graph.replay()
            end.record()
            return start, end, replays * GRAPHED_CALLS
        count = max(1, round(SLICE_MS / self.estimate))
        with self.within():
            start.record()
            for _ in range(count):
                self.call(self._next % self.sets)
                self._next += 1
            end.record()
        return start, end, count


def estimate(contender: Contender) -> float:
    """Milliseconds of a call: the best of a few, after one that may compile."""
    contender.run(1)
    torch.cuda.synchronize()
    best = float("inf")
    for _ in range(3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(HEAD_START)
        start.record()
        contender.run(1)
        end.record()
        end.synchronize()
        best = min(best, start.elapsed_time(end))
    contender.estimate = max(best, 1e-3)
    return contender.estimate


def warm_up(contenders: Sequence[Contender]) -> None:
    began = time.monotonic()
    while time.monotonic() - began < WARM_SECONDS:
        for contender in contenders:
            contender.run(1)
        torch.cuda.synchronize()


def rounds(contenders: Sequence[Contender], seconds: float) -> None:
    """Fills `times`, in ms a call: as many rounds as fit, each of them a slice of every contender, another one first each time."""
    for contender in contenders:
        estimate(contender)
        if contender.graphed:
            contender.capture()
    warm_up(contenders)
    for contender in contenders:
        # Of a warm GPU, so that slices have the length meant.
        estimate(contender)
    whole = sum(max(SLICE_MS, contender.estimate) for contender in contenders) / 1000
    least, most = ROUNDS
    for turn in range(max(least, min(most, int(seconds / whole)))):
        order = [contenders[(i + turn) % len(contenders)] for i in range(len(contenders))]
        queued = [(contender, contender.slice()) for contender in order]
        torch.cuda.synchronize()
        for contender, (start, end, count) in queued:
            contender.times.append(start.elapsed_time(end) / count)


def once(call: Callable[[], object]) -> float:
    """Milliseconds of host and GPU together, of what is done once before a first call."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - began)
