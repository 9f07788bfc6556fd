"""A built artefact and a case in; our contender out: the kernel that the loader chooses, or the first of a skeleton forced."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Tuple

import heddle_torch
import torch
from heddle_torch.call import Sizes, choose_variant, scalars_of

from cases import Case, Ours
from inputs import Inputs, tables_of
from measure import Contender


class Kernel:
    def __init__(self, artifacts: Path, case: Case, ours: Ours) -> None:
        self._case, self._ours = case, ours
        self._pattern = heddle_torch.load(artifacts / f"{ours.pattern}.cuda.json")
        self._tables = tables_of(ours)
        chosen = self._choose()
        self.variant: str = chosen["id"]
        self.tile: Tuple[int, int] = (chosen["tile"]["q"], chosen["tile"]["kv"])

    def _choose(self) -> Mapping[str, Any]:
        case, artifact = self._case, self._pattern.artifact
        sizes = Sizes(
            case.batch, case.q_heads, case.kv_heads, case.q_len, case.kv_len, case.head_dim, case.head_dim
        )
        major, minor = torch.cuda.get_device_capability()
        if self._ours.skeleton is None:
            param = scalars_of(artifact, self._ours.params)
            return choose_variant(artifact, "bf16", sizes, 10 * major + minor, param=param)
        for variant in artifact.variants:
            fits = variant["dtype"] == "bf16" and variant["headDim"] == variant["valueDim"] == case.head_dim
            if fits and variant["skeleton"] == self._ours.skeleton:
                param = scalars_of(artifact, self._ours.params)
                return choose_variant(artifact, "bf16", sizes, 10 * major + minor, only=variant["id"], param=param)
        raise ValueError(f"{artifact.pattern} has no {self._ours.skeleton} kernel for head dim {case.head_dim}")

    def contender(self, sets: Sequence[Inputs], params: Optional[Mapping[str, Any]] = None) -> Contender:
        named = {**self._ours.params, **(params or {}), **self._tables}

        def call(i: int) -> torch.Tensor:
            x = sets[i]
            return heddle_torch.attention(x.q, x.k, x.v, self._pattern, params=named, variant=self.variant)

        return Contender(self.variant, call, len(sets), graphed=self._case.decodes)
