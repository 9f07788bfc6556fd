"""What a manifest's program of several kernels looks like: checks of its form, and of the names that its parts use of each other."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional

from .rules import SIZE_VARS, unknown_names
from .schema import Check, anything, boolean, count, digest, list_of, nullable, one_of, place, record_of, string

# What sizes of a program may read: lengths and heads, and how wide rows are.
PROGRAM_VARS = ("batches", "qHeads", "kvHeads", "indexHeads", "qLen", "kvLen", "headDim", "valueDim")
ROLES = ("meta", "q", "k", "v", "out", "lse", "rows", "stored", "table")
# Vectors that are as wide as the call's rows of that name: a name that rules may use as a param's.
CHANNELS = ".channels"

_sharer = one_of("head", "kvHead", "request", "indexHead")


def _by_kind(**checks: Check) -> Check:
    """Of a record that says by its `kind` which it is."""

    def f(x: Any, path: str) -> Optional[str]:
        kind = x.get("kind") if isinstance(x, dict) else None
        return checks[kind](x, path) if kind in checks else f"{path}.kind is none of {', '.join(checks)}"

    return f


def stages_check(cubin: Check, variant: Check) -> Check:
    """`variant`: of a kernel of a mask's own kind."""
    grid = _by_kind(
        units=record_of(
            share=_sharer,
            units=anything,
            inner=anything,
            finer=nullable(record_of(each=count, before=anything)),
            tile=nullable(count),
        ),
        tiles=record_of(
            tile=record_of(q=count, kv=count),
            rows=anything,
            unit=nullable(record_of(tokens=count, packs=anything)),
        ),
    )
    faster = record_of(
        variant=variant,
        lists=list_of(string),
        order=nullable(string),
        before=nullable(string),
        state=nullable(string),
        keys=nullable(record_of(k=string, v=string, rows=anything, parts=count)),
        records=nullable(record_of(stride=anything, count=anything)),
    )
    form = record_of(
        id=string,
        when=anything,
        capability=record_of(min=place, max=place),
        vectors=boolean,
        suffix=one_of("", "a"),
        threads=count,
        sharedBytes=place,
        tile=record_of(q=count, kv=count),
        hash=digest,
        code=string,
        cubins=list_of(cubin),
    )
    kernel = record_of(
        name=string,
        when=anything,
        threads=count,
        sharedBytes=place,
        grid=grid,
        uniforms=list_of(record_of(name=string, type=one_of("i32", "u32", "f32"))),
        buffers=list_of(record_of(role=one_of(*ROLES), name=nullable(string))),
        hash=digest,
        code=string,
        cubins=list_of(cubin),
        forms=list_of(form),
        faster=list_of(faster),
    )
    step = _by_kind(
        once=record_of(kernel=kernel),
        chunks=record_of(rows=anything, count=anything, units=anything, kernels=list_of(kernel)),
    )
    program = record_of(
        id=string,
        headDim=count,
        valueDim=count,
        dtype=one_of("bf16", "f16"),
        capability=record_of(min=count, max=count),
        align=count,
        stored=list_of(record_of(name=string, words=anything, units=anything)),
        steps=list_of(step),
    )
    rows = record_of(name=string, side=one_of("q", "kv"), share=_sharer, grain=one_of("token", "whole"))
    return nullable(record_of(rows=list_of(rows), variants=list_of(program)))


def kernels_in(step: Mapping[str, Any]) -> List[Dict[str, Any]]:
    return [step["kernel"]] if step["kind"] == "once" else step["kernels"]


def kernels_of(program: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """In the order of their first launches."""
    return [kernel for step in program["steps"] for kernel in kernels_in(step)]


def in_form(kernel: Mapping[str, Any], form: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    """The kernel as it is with the text of a form; None: with its own."""
    if form is None:
        return dict(kernel)
    own = {field: form[field] for field in ("suffix", "threads", "sharedBytes", "hash", "code", "cubins")}
    return {**kernel, **own, "grid": {**kernel["grid"], "tile": form["tile"]}}


def with_kernels(program: Mapping[str, Any], change: Callable[[Mapping[str, Any]], Dict[str, Any]]) -> Dict[str, Any]:
    """The program with other kernels."""

    def changed(step: Mapping[str, Any]) -> Dict[str, Any]:
        if step["kind"] == "once":
            return {**step, "kernel": change(step["kernel"])}
        return {**step, "kernels": [change(kernel) for kernel in step["kernels"]]}

    return {**program, "steps": [changed(step) for step in program["steps"]]}


def text_of(kernel: Mapping[str, Any]) -> Dict[str, Any]:
    """A program's own kernel in the form of a variant: a text and its entries."""
    entry = {"name": "launch", "threads": kernel["threads"], "sharedBytes": kernel["sharedBytes"]}
    text = {field: kernel[field] for field in ("hash", "code", "cubins")}
    able = {"min": 80, "max": 2**31}
    return {"id": kernel["name"], "suffix": kernel.get("suffix", ""), "capability": able, "entries": [entry], **text}


def texts_of(record: Mapping[str, Any]) -> Iterator[Dict[str, Any]]:
    """Everything that a manifest has to compile: its variants, or a program's kernels and those that stand in for them."""
    yield from record["variants"]
    for program in [] if record["stages"] is None else record["stages"]["variants"]:
        for kernel in kernels_of(program):
            yield text_of(kernel)
            yield from (text_of(in_form(kernel, form)) for form in kernel["forms"])
            for faster in kernel["faster"]:
                yield faster["variant"]


def _rules_of(program: Mapping[str, Any]) -> Iterator[Any]:
    for stored in program["stored"]:
        yield from (stored["words"], stored["units"])
    for step in program["steps"]:
        if step["kind"] == "chunks":
            yield from (step["rows"], step["count"], step["units"])
    for kernel in kernels_of(program):
        yield kernel["when"]
        yield from (form["when"] for form in kernel["forms"])
        grid = kernel["grid"]
        if grid["kind"] == "units":
            yield from (grid["units"], grid["inner"], grid["finer"] and grid["finer"]["before"])
        else:
            yield grid["rows"]
        for faster in kernel["faster"]:
            if faster["records"] is not None:
                yield from (faster["records"]["stride"], faster["records"]["count"])
            if faster["keys"] is not None:
                yield faster["keys"]["rows"]


def _launch_rules(program: Mapping[str, Any]) -> Iterator[Any]:
    """Of kernels of a mask's own kind: they read what a variant's do."""
    for kernel in kernels_of(program):
        for faster in kernel["faster"]:
            yield from (rule["step"] for entry in faster["variant"]["entries"] for rule in entry["tensorMaps"])


def stage_disagreement(record: Mapping[str, Any]) -> Optional[str]:
    """A name that a program's parts use and nobody declares, in words; None: there is none."""
    if record["stages"] is None:
        return None
    rows = [r["name"] for r in record["stages"]["rows"]]
    known = {p["name"] for p in record["params"]} | {name + CHANNELS for name in rows}
    scalars = {p["name"] for p in record["params"] if not p["perHead"]}
    for program in record["stages"]["variants"]:
        stored = [s["name"] for s in program["stored"]]
        names = {"stored": stored, "rows": rows, "table": [t["name"] for t in record["tables"]]}
        unknown = [n for rule in _rules_of(program) if rule is not None for n in unknown_names(rule, known, PROGRAM_VARS)]
        unknown += [n for rule in _launch_rules(program) if rule is not None for n in unknown_names(rule, scalars, SIZE_VARS)]
        if unknown:
            return f"{program['id']} uses {unknown[0]}, which this package does not know"
        for kernel in kernels_of(program):
            used = [(b["role"], b["name"]) for b in kernel["buffers"] if b["role"] in names]
            for f in kernel["faster"]:
                kept = f["keys"] or {"k": None, "v": None}
                read = (*f["lists"], f["order"], f["before"], f["state"], kept["k"], kept["v"])
                used += [("stored", n) for n in read if n is not None]
            lost = next(((role, name) for role, name in used if name not in names[role]), None)
            if lost is not None:
                return f"{program['id']} reads {lost[0]} {lost[1]}, which there is not"
    return None
