"""Expressions of an artefact (grids, workspaces, derived uniforms) and values of their leaves in, numbers out.

The meaning is JavaScript's: every number is a double, and bit operations act on its low 32 bits. So all arithmetic here is on
Python floats, and what Python raises for (a division by zero, an overflow) gives the infinity or NaN of IEEE 754.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Callable, Dict, List, Mapping, Set, Union

Value = Union[float, bool]
INF, NAN = math.inf, math.nan


def to_int32(x: float) -> int:
    """The low 32 bits of a number, signed; 0 for NaN and infinities."""
    if x != x or x in (INF, -INF):
        return 0
    n = int(x) & 0xFFFFFFFF
    return n - 0x100000000 if n >= 0x80000000 else n


def to_uint32(x: float) -> int:
    return to_int32(x) & 0xFFFFFFFF


def imul(a: float, b: float) -> float:
    return float(to_int32(float(to_uint32(a) * to_uint32(b) & 0xFFFFFFFF)))


def _floor(x: float) -> float:
    # Zero keeps its sign, as in JavaScript.
    return float(math.floor(x)) if math.isfinite(x) and x != 0.0 else x


def _trunc(x: float) -> float:
    return float(math.trunc(x)) if math.isfinite(x) else x


def divide(a: float, b: float) -> float:
    if b != 0.0:
        return a / b
    if a == 0.0 or a != a:
        return NAN
    return math.copysign(INF, a) * math.copysign(1.0, b)


def _mod(a: float, b: float) -> float:
    return a - b * _floor(divide(a, b))


def _rem(a: float, b: float) -> float:
    if b == 0.0 or not math.isfinite(a) or b != b:
        return NAN
    return math.fmod(a, b) + 0.0


def _least(a: float, b: float) -> float:
    if a != a or b != b:
        return NAN
    return a if a < b or (a == b and math.copysign(1.0, a) < 0) else b


def _greatest(a: float, b: float) -> float:
    return -_least(-a, -b)


def _power(a: float, b: float) -> float:
    if b != b or (abs(a) == 1.0 and math.isinf(b)):
        return NAN
    try:
        return math.pow(a, b)
    except OverflowError:
        return -INF if a < 0 and b % 2 == 1 else INF
    except ValueError:  # a root of a negative number, or a division by zero
        if a != 0.0:
            return NAN
        return math.copysign(INF, a) if b % 2 == 1 else INF


def _total(f: Callable[[float], float], at_overflow: float = INF) -> Callable[[float], float]:
    def g(x: float) -> float:
        try:
            return f(x)
        except OverflowError:
            return at_overflow
        except ValueError:
            return NAN

    return g


def _log_of(f: Callable[[float], float]) -> Callable[[float], float]:
    return _total(lambda x: -INF if x == 0.0 else f(x))


def _popcount(x: float) -> float:
    return float(bin(to_uint32(x)).count("1"))


def _log2_floor(x: float) -> float:
    # A NaN passes the comparison, as in JavaScript, and has 32 leading zeros.
    return -1.0 if x < 1 else float(to_uint32(x).bit_length() - 1)


def _is_pow2(x: float) -> bool:
    return x > 0 and to_int32(x) & to_int32(x - 1) == 0


def _hash2(h: float, x: float) -> float:
    v = to_int32(imul(float(to_int32(h) ^ to_int32(x)), 0x7FEB352D))
    v ^= (v & 0xFFFFFFFF) >> 15
    v = to_int32(imul(float(v), 0x2C1B3C6D))
    v ^= (v & 0xFFFFFFFF) >> 12
    return float((to_int32(imul(float(v), 0x297A2D39)) ^ ((v & 0xFFFFFFFF) >> 16)) & 0x7FFFFFFF)


EVALUATE: Dict[str, Callable[..., Value]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "neg": lambda a: -a,
    "min": _least,
    "max": _greatest,
    "abs": abs,
    "floorDiv": lambda a, b: _floor(divide(a, b)) + 0.0,
    "mod": _mod,
    "alignDown": lambda x, m: x - _mod(x, m),
    "rem": _rem,
    "bitAnd": lambda a, b: float(to_int32(a) & to_int32(b)),
    "bitOr": lambda a, b: float(to_int32(a) | to_int32(b)),
    "bitXor": lambda a, b: float(to_int32(a) ^ to_int32(b)),
    "bitNot": lambda a: float(~to_int32(a)),
    "shl": lambda a, b: a * _power(2.0, b),
    "shr": lambda a, b: float(to_int32(a) >> (to_uint32(b) & 31)),
    "ushr": lambda a, b: float(to_uint32(a) >> (to_uint32(b) & 31)),
    "popcount": _popcount,
    "log2Floor": _log2_floor,
    "isPow2": _is_pow2,
    "hash": _hash2,
    "imul": imul,
    "div": divide,
    "exp": _total(math.exp),
    "exp2": lambda a: _power(2.0, a),
    "log": _log_of(math.log),
    "log2": _log_of(math.log2),
    "sqrt": _total(math.sqrt),
    "tanh": math.tanh,
    "sin": _total(math.sin),
    "cos": _total(math.cos),
    "pow": _power,
    "floor": _floor,
    "ceil": lambda a: -_floor(-a),
    "toF32": lambda a: a,
    "toI32": lambda a: _trunc(a) + 0.0,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "eq": lambda a, b: a == b,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "not": lambda a: not a,
    "select": lambda c, a, b: a if c else b,
}

DERIVED_VARS = ("batch", "head", "kvHead", "qLen", "kvLen", "qHeads", "kvHeads", "headDim")
SIZE_VARS = ("batch", "qHeads", "kvHeads", "group", "qRows", "kvRows", "headDim", "valueDim", "multiprocessors", "splits")


def evaluate(e: Any, variables: Mapping[str, float], param: Callable[[str], float]) -> Value:
    if isinstance(e, bool):
        return e
    if isinstance(e, (int, float)):
        return float(e)
    if "var" in e:
        return float(variables[e["var"]])
    if "param" in e:
        return float(param(e["param"]))
    args = [evaluate(s, variables, param) for s in e["src"]]
    if "pick" in e:
        at = args[0]
        inside = math.isfinite(at) and at == math.floor(at) and 0 <= at < len(e["pick"])
        return float(e["pick"][int(at)]) if inside else 0.0
    return EVALUATE[e["op"]](*args)


def _no_param(name: str) -> float:
    raise KeyError(name)


def size(e: Any, variables: Mapping[str, float], param: Callable[[str], float] = _no_param) -> int:
    """A rule of sizes, and of scalar params where there are some, as a whole number."""
    return int(evaluate(e, variables, param))


def unknown_names(e: Any, params: Set[str], known_vars: tuple = DERIVED_VARS) -> List[str]:
    """The names that an expression uses and this package does not know; empty for a well-formed one."""
    if isinstance(e, (bool, int, float)):
        return []
    if not isinstance(e, dict):
        return [repr(e)]
    if "var" in e:
        return [] if e["var"] in known_vars else [f"var {e['var']}"]
    if "param" in e:
        return [] if e["param"] in params else [f"param {e['param']}"]
    src = e.get("src")
    below = [n for s in src for n in unknown_names(s, params, known_vars)] if isinstance(src, list) else ["no src"]
    if "pick" in e:
        return below if isinstance(e["pick"], list) else ["pick"]
    return below if e.get("op") in EVALUATE else [f"op {e.get('op')}", *below]


def leaves_of(e: Any) -> Set[str]:
    """The variables and params that an expression reads, as `var x` and `param x`."""
    if not isinstance(e, dict):
        return set()
    if "var" in e:
        return {f"var {e['var']}"}
    if "param" in e:
        return {f"param {e['param']}"}
    return {name for s in e["src"] for name in leaves_of(s)}


def fround(x: float) -> float:
    """A double rounded to the nearest f32."""
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return math.copysign(INF, x)


def float_bits(x: float) -> int:
    """A number's f32 bits as an int32."""
    if x != x:
        return 0x7FC00000
    return struct.unpack("<i", struct.pack("<f", fround(x)))[0]


def derived_bits(kind: str, value: Value) -> int:
    """The 32 bits that the kernel reads of a derived uniform."""
    x = float(value)
    if kind == "i32":
        return to_int32(_greatest(-(2.0**31), _least(2.0**31 - 1, x)))
    return float_bits(x)
