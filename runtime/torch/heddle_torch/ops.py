"""An artefact's file in; its custom op `heddle::<pattern>`, known to torch.compile, and a Pattern to call it by, out."""

from __future__ import annotations

import keyword
import threading
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple, Union

import torch

from .artifact import Artifact, read_artifact
from .errors import HeddleError
from .gpu import gpu
from .launch import TAIL, Runner
from .plan import out_strides
from .program_runner import ProgramRunner
from .rules import fround
from .values import check_param, unknown_name

_library = torch.library.Library("heddle", "FRAGMENT")
_by_hash: Dict[str, "Pattern"] = {}
_by_name: Dict[str, "Pattern"] = {}
_op_names: Dict[str, str] = {}
_lock = threading.Lock()
_FIXED = {"q", "k", "v", "self"} | {declared.split(" ")[1] for declared, _ in TAIL}


def argument(name: str) -> str:
    """A param or table as an argument of the op: its own name, with an underscore where that is taken."""
    return f"{name}_" if name in _FIXED or keyword.iskeyword(name) else name


def _number(kind: str, x: float) -> str:
    return repr(float(x)) if kind == "f32" else str(int(x))


def _param_argument(spec: Mapping[str, Any]) -> str:
    kind = "float" if spec["type"] == "f32" else "SymInt"
    default = _number(spec["type"], spec["default"])
    name = argument(spec["name"])
    return f"{kind}[] {name}=[{default}]" if spec["perHead"] else f"{kind} {name}={default}"


def schema_of(artifact: Artifact, name: str) -> str:
    args = ["Tensor q", "Tensor k", "Tensor v"]
    args += [f"Tensor {argument(n)}" for n in artifact.table_names + artifact.row_names]
    args += [_param_argument(p) for p in artifact.params]
    args += [f"{declared}={default}" for declared, default in TAIL]
    return f"{name}({', '.join(args)}) -> (Tensor, Tensor)"


class Pattern:
    """A loaded artefact. `op` is its torch op; heddle_torch.attention takes the Pattern or its name."""

    def __init__(self, artifact: Artifact, op_name: str) -> None:
        self.artifact = artifact
        self.name = artifact.pattern
        self.op_name = f"heddle::{op_name}"
        self.runner: Union[Runner, ProgramRunner] = (ProgramRunner if artifact.is_program else Runner)(artifact)
        # What a call gives by name beside params: of a program its rows too.
        self.tables = artifact.table_names + artifact.row_names
        self.params = artifact.param_names
        self.names = frozenset(self.tables + self.params)
        self._specs: Tuple[Tuple[str, bool, bool, Any, Mapping[str, Any]], ...] = tuple(
            (p["name"], p["type"] == "f32", p["perHead"], self._default(p), p) for p in artifact.params
        )
        self._defaults = [self._default(p) for p in artifact.params]
        defaults = (*self._defaults, *(d for _, d in TAIL))
        required = len(self.tables)

        def fill(rest: Tuple[Any, ...]) -> Tuple[Any, ...]:
            # The dispatcher leaves out trailing arguments that equal their defaults.
            return rest + defaults[len(rest) - required :]

        def kernel(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *rest: Any) -> Tuple[torch.Tensor, torch.Tensor]:
            check_no_grad(q, k, v)
            return self.runner.run(q, k, v, fill(rest))

        def fake(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *rest: Any) -> Tuple[torch.Tensor, torch.Tensor]:
            shape = (q.shape[0], q.shape[1], q.shape[2], v.shape[3])
            out = q.new_empty_strided(shape, out_strides(shape, q.stride(2) > q.stride(1)))
            return out, q.new_empty(shape[:3], dtype=torch.float32)

        tags = (torch.Tag.pt2_compliant_tag, torch.Tag.needs_fixed_stride_order)
        _library.define(schema_of(artifact, op_name), tags=tags)
        _library.impl(op_name, kernel, "CUDA")
        _library.impl(op_name, kernel if gpu.kind == "cpu" else _on_cpu, "CPU")
        torch.library.register_fake(self.op_name, fake, lib=_library)
        self.op = getattr(torch.ops.heddle, op_name).default

    @staticmethod
    def _default(spec: Mapping[str, Any]) -> Any:
        value = fround(spec["default"]) if spec["type"] == "f32" else int(spec["default"])
        return [value] if spec["perHead"] else value

    def __repr__(self) -> str:
        built = self.artifact.variants + self.artifact.programs
        return f"<heddle pattern {self.name}: {', '.join(v['id'] for v in built)}>"

    def bind(self, named: Mapping[str, Any]) -> List[Any]:
        """Tables and params by name, as the op takes them; defaults for params that are not there."""
        for name in named:
            if name not in self.names:
                raise unknown_name(self.artifact, name)
        if not named and not self.tables:
            return self._defaults
        args: List[Any] = []
        for i, name in enumerate(self.tables):
            table = named.get(name)
            if table is None:
                infos = self.artifact.tables + self.artifact.rows
                dims = infos[i].get("dims") or ["batch", infos[i]["share"], "tokens", "channels"]
                raise HeddleError("table-missing", name=name, dims=dims)
            if not isinstance(table, torch.Tensor):
                raise HeddleError("tensor", tensor=name, got=type(table).__name__)
            args.append(table)
        for name, is_float, per_head, default, spec in self._specs:
            given = named.get(name)
            args.append(default if given is None else _argument_value(given, is_float, per_head, spec))
        return args


def _argument_value(given: Any, is_float: bool, per_head: bool, spec: Mapping[str, Any]) -> Any:
    """Of the op's type; whether it lies in the param's range is seen when the call is planned."""
    if per_head:
        if hasattr(given, "tolist"):
            given = given.tolist()
        items = given if isinstance(given, (list, tuple)) else (given,)
        return [_argument_value(x, is_float, False, spec) for x in items]
    if isinstance(given, bool) or not isinstance(given, (int, float, torch.SymInt)):
        if isinstance(given, (list, tuple)) or getattr(given, "ndim", 0) > 0:
            raise HeddleError("param-scalar", name=spec["name"])
        given = given.item() if hasattr(given, "item") else given
        return check_param(spec, given)
    if is_float:
        return float(given)
    return check_param(spec, given) if isinstance(given, float) else given


def check_no_grad(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    if torch.is_grad_enabled():
        for name, t in (("q", q), ("k", k), ("v", v)):
            if t.requires_grad:
                raise HeddleError("grad", tensor=name)


def _on_cpu(q: torch.Tensor, *rest: Any) -> Any:
    raise HeddleError("device", tensor="q", got=q.device)


def _op_name(artifact: Artifact) -> str:
    """`heddle::a_shape`; a further artefact of that name (other consts, another build) gets its hash behind it."""
    name = artifact.pattern.replace("-", "_")
    if keyword.iskeyword(name):
        name += "_"
    first = _op_names.setdefault(name, artifact.hash)
    return name if first == artifact.hash else f"{name}_{artifact.hash[:12]}"


def load(path: Union[str, Path]) -> Pattern:
    """Reads a manifest. The same content gives the same Pattern; its name then stands for the one loaded last."""
    artifact = read_artifact(path)
    with _lock:
        found = _by_hash.get(artifact.hash)
        if found is None:
            found = _by_hash[artifact.hash] = Pattern(artifact, _op_name(artifact))
        _by_name[artifact.pattern] = found
    return found


def pattern(name: str) -> Pattern:
    """A loaded artefact by its pattern's name."""
    found = _by_name.get(name)
    if found is None:
        raise HeddleError("pattern-unknown", name=name, known=sorted(_by_name))
    return found


def known() -> List[str]:
    """The names of the loaded artefacts."""
    return sorted(_by_name)
