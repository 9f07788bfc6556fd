"""A case and the folder of artefacts in; ours and the peers of the case, checked once and timed in turns, out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import torch

from cases import Case, Ours
from figures import Measured, Timed, median
from inputs import sets_of
from kernels import Kernel
from measure import Contender, estimate, rounds, warm_up
from peers import FLEX_OPTIONS, flex, prepare_flex, repeated, sdpa
from verify import Reference, is_right, mask_differs

# Beyond this no further setting of FlexAttention is compiled for a case.
FLEX_SECONDS = 40.0


class Contest:
    def __init__(self, case: Case, artifacts: Path) -> None:
        self.case = case
        self.refused: List[str] = []
        # What a reader of the rows must know.
        self.notes: List[str] = []
        self._artifacts = artifacts
        self._sets = sets_of(case)
        first = case.ours[0]
        for ours in case.ours:
            wrong = mask_differs(case, ours)
            if wrong is not None:
                raise ValueError(f"the peers' mask is not that of {ours.pattern}: {wrong}")
        self._reference = Reference(case, first, self._sets[0])
        self._ours: List[Tuple[Ours, Kernel, Contender, Optional[Contender], float]] = []
        self._peers: List[Tuple[Contender, float, Dict[str, float]]] = []

    def enter_ours(self, ours: Ours) -> None:
        try:
            kernel = Kernel(self._artifacts, self.case, ours)
            contender = kernel.contender(self._sets)
            error = self._check(contender)
            floor = None if ours.floor is None else kernel.contender(self._sets, ours.floor)
        except Exception as problem:  # noqa: BLE001: the peers are worth their rows of a later run
            self.refused.append(f"{ours.pattern} {ours.skeleton or ''}: {type(problem).__name__}: {str(problem)[:500]}")
            return
        if not is_right(error):
            self.refused.append(f"{kernel.variant} of {ours.pattern} is wrong: error {error:.2g} against f32")
            return
        self._ours.append((ours, kernel, contender, floor, error))

    def enter_peer(self, name: str) -> None:
        try:
            contender, preparation = self._flex() if name == "FlexAttention" else (self._sdpa(name), {})
            self._peers.append((contender, self._check(contender), preparation))
        except Exception as problem:  # noqa: BLE001: a peer that cannot is a row less
            self.refused.append(f"{name}: {type(problem).__name__}: {str(problem)[:300]}")

    def _check(self, contender: Contender) -> float:
        with contender.within():
            out = contender.call(0)
        assert isinstance(out, torch.Tensor)
        return self._reference.error(out)

    def _sdpa(self, name: str) -> Contender:
        contender = sdpa(name, self.case, self._sets)
        try:
            contender.run(1)
        except RuntimeError:
            contender = sdpa(name, self.case, repeated(self.case, self._sets))
            contender.name = f"{name} (keys and values repeated)"
            contender.run(1)
        return contender

    def _flex(self) -> Tuple[Contender, Dict[str, float]]:
        mask, preparation = prepare_flex(self.case, timed=True)
        tried: List[Contender] = []
        began = time.monotonic()
        for name, given in FLEX_OPTIONS.items():
            if tried and time.monotonic() - began > FLEX_SECONDS:
                print(f"    FlexAttention, {name}: not tried, compiling took too long", flush=True)
                self.notes.append(f"FlexAttention was not tried with {name}")
                continue
            contender = flex(self.case, self._sets, mask, given, name)
            try:
                contender.run(1)
                torch.cuda.synchronize()
            except Exception as problem:  # noqa: BLE001: some shapes need more than the GPU has
                print(f"    FlexAttention, {name}: {str(problem).splitlines()[0]}", flush=True)
                continue
            tried.append(contender)
        warm_up(tried)
        for contender in tried:
            print(f"    {contender.name}: {estimate(contender):.3f} ms", flush=True)
        return min(tried, key=lambda c: c.estimate), preparation

    def time(self, seconds: float) -> None:
        floors = [floor for _, _, _, floor, _ in self._ours if floor is not None]
        mine = [contender for _, _, contender, _, _ in self._ours]
        everyone = [*mine, *floors, *(contender for contender, _, _ in self._peers)]
        if everyone:
            rounds(everyone, seconds)

    def timed_peers(self) -> List[Timed]:
        for contender, error, _ in self._peers:
            if not is_right(error):
                self.refused.append(f"{contender.name} is wrong: error {error:.2g} against f32")
        return [Timed(c.name, c.times, e, preparation) for c, e, preparation in self._peers if is_right(e)]

    def measured(self) -> List[Measured]:
        return [
            Measured(
                self.case,
                ours,
                kernel.variant,
                kernel.tile,
                Timed(contender.name, contender.times, error),
                None if floor is None else median(floor.times),
            )
            for ours, kernel, contender, floor, error in self._ours
        ]
