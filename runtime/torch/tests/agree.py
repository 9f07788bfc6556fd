"""Vectors that the TypeScript side made, as JSON on stdin; what differs here, a line each, on stdout. Run by test/torch.test.ts."""

from __future__ import annotations

import json
import math
import struct
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

from heddle_torch.artifact import canonical, parse_artifact  # noqa: E402
from heddle_torch.call import Sizes, shape_of  # noqa: E402
from heddle_torch.rules import EVALUATE, derived_bits, evaluate  # noqa: E402
from heddle_torch.values import resolve_lengths, resolve_params, value_words  # noqa: E402

# The platforms' libraries round these differently in the last place.
LOOSE = {"exp", "exp2", "log", "log2", "tanh", "sin", "cos", "pow"}


def number(x: Any) -> Any:
    """A double from its bits: JSON has no NaN, no infinity and no negative zero."""
    return struct.unpack(">d", bytes.fromhex(x))[0] if isinstance(x, str) else x


def same(a: Any, b: Any, loose: bool) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if a != a or b != b:
        return a != a and b != b
    if loose and math.isfinite(a) and math.isfinite(b):
        return abs(a - b) <= 4 * math.ulp(max(abs(a), abs(b)))
    return a == b and math.copysign(1.0, a) == math.copysign(1.0, b)


def main() -> None:
    given = json.load(sys.stdin)
    wrong = []
    missing = {r["op"] for r in given["ops"]} ^ set(EVALUATE)
    if missing:
        wrong.append(f"ops of one side only: {sorted(missing)}")
    for r in given["ops"]:
        for args, want in r["calls"]:
            got = EVALUATE[r["op"]](*map(number, args))
            if not same(got, number(want), r["op"] in LOOSE):
                wrong.append(f"{r['op']}({', '.join(str(number(a)) for a in args)}) = {got}, not {number(want)}")
    for r in given["expressions"]:
        value = evaluate(r["e"], r["vars"], lambda name: number(r["params"][name]))
        got = [derived_bits("i32", value), derived_bits("f32", value)]
        if value != value and (r["bits"][1] & 0x7F800000) == 0x7F800000:
            continue  # any NaN will do
        if got != r["bits"]:
            wrong.append(f"{json.dumps(r['e'])} gives bits {got}, not {r['bits']}")
    for r in given["texts"]:
        if canonical(r["value"]) != r["text"]:
            wrong.append(f"canonical JSON is {canonical(r['value'])[:200]}, not {r['text'][:200]}")
    for r in given["artifacts"]:
        a = parse_artifact(r["artifact"])
        for call in r["calls"]:
            s = Sizes(*call["sizes"])
            rows = resolve_lengths(call["lengths"], s.batch, s.q_rows, s.kv_rows)
            words = value_words(
                a, resolve_params(a, call["params"], s.q_heads), s.batch, s.q_heads, s.kv_heads, s.head_dim, rows
            )
            if rows != call["rows"]:
                wrong.append(f"{a.pattern}: lengths are {rows}, not {call['rows']}")
            if words != call["words"]:
                wrong.append(f"{a.pattern} {call['params']}: words are {words[:40]}, not {call['words'][:40]}")
            for v in a.variants:
                shape_of(v, s, 132)
    for r in given["tensors"]:
        try:
            from cases import tensor
        except ImportError:
            break
        got = tensor(r["shape"], r["seed"]).reshape(-1).tolist()
        if got != r["data"]:
            wrong.append(f"tensor of seed {r['seed']} begins {got[:4]}, not {r['data'][:4]}")
    print("\n".join(wrong[:40]))


if __name__ == "__main__":
    main()
