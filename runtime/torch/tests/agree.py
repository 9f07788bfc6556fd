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
from heddle_torch.minference import read_profile  # noqa: E402
from heddle_torch.powers import Powers  # noqa: E402
from heddle_torch.program import FasterLaunch, Header, keys_of, plan_program  # noqa: E402
from heddle_torch.program_call import program_call  # noqa: E402
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


def launches_of(a: Any, r: Any) -> Any:
    """Of a program's call, in the form that test/torch-programs.ts has them in, and bytes of its stored values."""
    s, addresses = Sizes(*r["sizes"]), r["addresses"]
    params = resolve_params(a, r["params"], s.q_heads)
    rows = resolve_lengths(None, s.batch, s.q_rows, s.kv_rows)
    words = value_words(a, params, s.batch, s.q_heads, s.kv_heads, s.head_dim, rows)
    per_head = words[sum(not p["perHead"] for p in a.params) :]
    dims = {"q": (s.q_heads, s.q_rows, s.head_dim), "k": (s.kv_heads, s.kv_rows, s.head_dim)}
    dims = {**dims, "v": (s.kv_heads, s.kv_rows, s.value_dim), "out": (s.q_heads, s.q_rows, s.value_dim)}
    shapes = {name: (s.batch, *rest) for name, rest in dims.items()}
    strides = {name: (h * n * d, n * d, d) for name, (_, h, n, d) in shapes.items()}
    axes = {"batch": s.batch, "head": s.q_heads, "kvHead": s.kv_heads, "indexHead": r["indexHeads"], "qLen": s.q_rows}
    axes = {**axes, "kvLen": s.kv_rows, "headDim": s.head_dim}
    tables = {t["name"]: math.prod(axes.get(d, d) for d in t["dims"]) for t in a.tables}
    meta = len(rows) + len(per_head)
    call = program_call(s, r["indexHeads"], r["scale"], params, shapes, strides, meta, tables, r["rows"])
    # A Hopper device, or one that takes no other form than the kernels' own.
    powers = Powers(90, 232448, r["faster"]) if r["faster"] else Powers(80, 0, False)
    made = plan_program(powers.dressed(a.programs[0], call.size()), call, powers.takes_faster)
    found = []
    for work in made.launches:
        if isinstance(work, Header):
            found.append({"header": work.name, "at": made.stored.offsets[work.name], "units": work.units})
        elif isinstance(work, FasterLaunch):
            halves = None
            if work.key_rows is not None:
                keys = keys_of(work.faster["keys"], work.sizes(s))
                halves = [[keys.offsets[n], keys.shapes[n], list(keys.strides[n])] for n in ("k", "v")]
            told = {"faster": work.faster["variant"]["hash"], "stride": work.stride, "listBytes": work.list_bytes}
            found.append({**told, "halves": halves})
        else:
            block, stored = bytearray(work.block), []
            for at, (role, name) in work.addresses:
                if role in ("stored", "meta"):
                    stored.append([at, None if role == "meta" else made.stored.offsets[name]])
                else:
                    struct.pack_into("<Q", block, at, addresses[name or role])
            found.append({"text": work.kernel["hash"], "blocks": work.blocks, "block": block.hex(), "stored": stored})
    return found, made.stored.bytes


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
    for r in given["programs"]:
        a = parse_artifact(r["artifact"])
        for call in r["programs"]:
            got, size = launches_of(a, call)
            about = f"{a.pattern} {call['sizes']}, faster {call['faster']}"
            if size != call["bytes"] or len(got) != len(call["launches"]):
                wrong.append(f"{about}: {len(got)} launches over {size} bytes, not {len(call['launches'])} over {call['bytes']}")
            wrong += [f"{about}: {x}, not {y}"[:2000] for x, y in zip(got, call["launches"]) if x != y][:1]
    for r in given["profiles"]:
        got = [layer["params"] for layer in read_profile(r["source"], **r["options"])["layers"].values()]
        if got != r["params"]:
            wrong.append(f"profile {r['source']}: params are {got}, not {r['params']}"[:2000])
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
