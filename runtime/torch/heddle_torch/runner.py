"""What the runners of kernels and of programs share: plans of an artefact's calls, the right device, and launches that fail."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Sequence, Tuple

import torch

from . import buffers
from .artifact import Artifact
from .call import Layout
from .driver import INVALID_CONTEXT, driver
from .gpu import gpu
from .modules import Modules

KEPT_PLANS = 4096


def about(t: Optional[torch.Tensor]) -> Any:
    return None if t is None else (t.shape, t.dtype, t.device, t.is_contiguous())


class PlannedRunner:
    """All calls of one artefact: `_run` makes a plan for each kind of call once."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self.layout = Layout(artifact.record["call"])
        self._modules = Modules(artifact)
        self._plans: Dict[Any, Any] = {}

    def run(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rest: Sequence[Any]) -> Tuple[torch.Tensor, torch.Tensor]:
        """`rest`: the op's further arguments, in the order that `_run` says."""
        index = q.get_device()
        if index >= 0 and index != gpu.current():
            with gpu.guard(index):
                return self._run(q, k, v, rest)
        return self._run(q, k, v, rest)

    def _run(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rest: Sequence[Any]) -> Tuple[torch.Tensor, torch.Tensor]:
        raise NotImplementedError

    def _keep(self, key: Any, plan: Any) -> None:
        while len(self._plans) >= KEPT_PLANS:
            self._plans.pop(next(iter(self._plans)), None)
        self._plans[key] = plan

    def _counters(self, plan: Any, count: int, stream: int, capturing: bool) -> Tuple[Any, int]:
        """So many bytes of zeros: what holds them until the launch, and their address."""
        if capturing:
            # A graph's own: it may be replayed beside anything, and a replay clears it first.
            zeros = torch.zeros(count, dtype=torch.uint8, device=plan.device)
            return zeros, zeros.data_ptr()
        held = buffers.counters(plan.index, stream, count)
        return held, held.pointer

    def _retry(self, plan: Any, again: Callable[[], int], status: int, what: str) -> None:
        """After a status that is not 0: once more where only the context was missing, else the error."""
        d = driver()
        if status == INVALID_CONTEXT:
            # A thread that has not used CUDA yet has no current context.
            d.use_device(plan.index)
            status = again()
        if status != 0:
            d.check(status, what, plan.where)
