"""What a device and a call's tensors allow in; which of a program's kernels have something in their place, and a program in the forms
that are taken, out."""

from __future__ import annotations

from typing import Any, Dict, Iterator, Mapping, NamedTuple, Optional

from .stage_schema import in_form, with_kernels
from .stored import Size


class Powers(NamedTuple):
    """What a device has for kernels, and what a call's tensors allow them."""

    capability: int
    shared_bytes: int
    # Everything lies in whole vectors of sixteen bytes.
    vectors: bool

    def has(self, able: Mapping[str, int], shared_bytes: int, vectors: bool) -> bool:
        inside = able["min"] <= self.capability <= able["max"]
        return inside and shared_bytes <= self.shared_bytes and (self.vectors or not vectors)

    def takes_faster(self, kernel: Mapping[str, Any]) -> bool:
        """All that stands in for the kernel."""
        return bool(kernel["faster"]) and all(
            self.has(v["capability"], max(e["sharedBytes"] for e in v["entries"]), v["needs"]["vectors"])
            for v in (f["variant"] for f in kernel["faster"])
        )

    def forms(self, kernel: Mapping[str, Any]) -> Iterator[Optional[Mapping[str, Any]]]:
        """What calls run, best first: forms for some sizes, then the one for all others; None: the kernel's own text."""
        for form in kernel["forms"]:
            if self.has(form["capability"], form["sharedBytes"], form["vectors"]):
                yield form
                if form["when"] is None:
                    return
        yield None

    def dressed(self, program: Mapping[str, Any], size: Size) -> Dict[str, Any]:
        """Each kernel in the first form that can be had and that a call of these sizes takes, or in its own."""

        def change(kernel: Mapping[str, Any]) -> Dict[str, Any]:
            taken = (f for f in self.forms(kernel) if f is None or f["when"] is None or size(f["when"]))
            return in_form(kernel, next(taken))

        return with_kernels(program, change)
