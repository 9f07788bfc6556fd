"""Every error of this package as data: a code and values in, one exception with a sentence that names both out."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, Tuple


def _names(xs: Iterable[Any]) -> str:
    return ", ".join(str(x) for x in xs) or "none"


def _sizes(xs: Iterable[Any]) -> str:
    return f"[{', '.join(str(x) for x in xs)}]"


# Who has to act (caller: the call or the file is wrong; machine: the GPU, its driver, its compiler; heddle: our bug), and the
# sentence.
MESSAGES: Dict[str, Tuple[str, Callable[..., str]]] = {
    # Artefacts
    "no-file": ("caller", lambda path, detail: f"{path}: cannot be read: {detail}"),
    "not-an-artifact": ("caller", lambda path, what: f"{path}: not a Heddle artefact for CUDA: {what}"),
    "lists": (
        "caller",
        lambda pattern, expected, got: f"{pattern} was built over {expected} lists, the call gives {got}",
    ),
    "artifact-version": (
        "caller",
        lambda path, expected, got: f"{path}: this package reads artefacts of version {expected}, got version {got}: build it again",
    ),
    "artifact-target": (
        "caller",
        lambda path, got: f"{path}: built for {got}, expected one built with --target cuda",
    ),
    "artifact-hash": (
        "caller",
        lambda path, expected, got: f"{path}: says hash {expected}, its content has {got}: it was changed or cut off after the build",
    ),
    "pattern-unknown": (
        "caller",
        lambda name, known: f"pattern: no artefact called {name!r} is loaded; loaded are {_names(known)}",
    ),
    # Tensors
    "tensor": ("caller", lambda tensor, got: f"{tensor}: expected a tensor, got {got}"),
    "device": (
        "caller",
        lambda tensor, got, expected="a CUDA device": f"{tensor}: expected it on {expected}, got {got}",
    ),
    "dtype": ("caller", lambda tensor, expected, got: f"{tensor}: expected {expected}, got {got}"),
    "shape": (
        "caller",
        lambda tensor, axes, expected, got: f"{tensor}: expected {_sizes(axes)} = {_sizes(expected)}, got {_sizes(got)}",
    ),
    "size-limit": ("caller", lambda what, most, got: f"{what}: at most {most}, got {got}"),
    "heads-group": (
        "caller",
        lambda q_heads, kv_heads: f"q has {q_heads} heads, which is no multiple of the {kv_heads} heads of k and v",
    ),
    "last-stride": (
        "caller",
        lambda tensor, got: f"{tensor}: its last dimension must be contiguous (stride 1), got stride {got}",
    ),
    "grad": (
        "caller",
        lambda tensor: f"{tensor} requires grad, and these kernels have no backward pass: call under torch.no_grad(), or detach it",
    ),
    "scale": ("caller", lambda got: f"scale: expected a finite number, got {got!r}"),
    # Lengths and pages
    "lengths-count": ("caller", lambda expected, got: f"lengths: expected one entry per batch = {expected}, got {got}"),
    "length": (
        "caller",
        lambda field, batch, least, most, got: f"lengths[{batch}].{field}: expected a whole number from {least} to {most}, got {got!r}",
    ),
    "length-unknown": (
        "caller",
        lambda field, batch: f"lengths[{batch}] has a field {field!r}; there are qRow, qStart, qLen, kvStart and kvLen",
    ),
    "negative-start": (
        "caller",
        lambda batch, q_len, kv_len: f"batch {batch} has {q_len} queries and {kv_len} keys, so its first query would stand at "
        f"{kv_len - q_len}; pass lengths with the qStart that is meant (qStart={kv_len - q_len} or qStart=0)",
    ),
    "lengths-derived": (
        "caller",
        lambda pattern, uniform: f"lengths: {pattern} computes {uniform} from the lengths on the host, so they cannot come as a CUDA "
        "tensor: pass them as numbers, or to State.update",
    ),
    "pages-variant": ("caller", lambda pattern: f"pages: {pattern} was built without a variant that reads pages"),
    "page": (
        "caller",
        lambda batch, entry, most, got: f"pages[{batch}][{entry}]: expected a page from 0 to {most}, got {got}",
    ),
    # Params and tables
    "name-unknown": (
        "caller",
        lambda name, pattern, params, tables: f"there is no {name!r}; {pattern} has the params {_names(params)} and the tables {_names(tables)}",
    ),
    "param-count": (
        "caller",
        lambda name, expected, got: f"{name}: expected one number or one per query head = {expected}, got {got}",
    ),
    "param-scalar": (
        "caller",
        lambda name: f"{name}: expected one number, got a list; only a perHead param has one value per head",
    ),
    "param-value": (
        "caller",
        lambda name, type, min, max, got: f"{name}: expected {'a whole' if type == 'i32' else 'a finite'} number from {min} to {max}, got {got!r}",
    ),
    "table-missing": (
        "caller",
        lambda name, dims: f"{name} is missing: expected a CUDA tensor {_sizes(dims)}",
    ),
    "table-axis": (
        "caller",
        lambda name, axis: f"{name}: the axis {axis} belongs to selection stages, which this artefact has none of",
    ),
    "table-value": (
        "caller",
        lambda name, at, min, max, got: f"{name}: expected values from {min} to {max}, got {got} at element {at}",
    ),
    "table-monotone": (
        "caller",
        lambda name, at: f"{name} is declared monotone, but falls at element {at}",
    ),
    "state-pattern": ("caller", lambda expected, got: f"state: made for {expected}, the call is of {got}"),
    "state-sizes": ("caller", lambda what, expected, got: f"state: made for {what} = {expected}, the call has {got}"),
    "state-params": ("caller", lambda names: f"{_names(names)}: given beside a State, which holds them: call state.update instead"),
    "state-capture": ("caller", lambda: "State.update copies from the host: call it before a replay, outside of the capture"),
    # Profiles of MInference's search
    "profile-file": ("caller", lambda what: f"profile: {what}"),
    "profile-head": (
        "caller",
        lambda layer, head, got: f"profile: layer {layer} has the heads {_names(got)}, and so no head {head}",
    ),
    "profile-type": (
        "caller",
        lambda layer, head, got, known: f"profile: layer {layer}, head {head} is of the type {got!r}; there are {_names(known)}",
    ),
    "profile-number": (
        "caller",
        lambda layer, head, type, name, least, most, got: f"profile: layer {layer}, head {head} ({type}): {name} must be a whole number from "
        f"{least} to {most}, got {got!r}",
    ),
    "profile-size": ("caller", lambda what, expected, got: f"profile: it has {got} {what}, the model has {expected}"),
    # Models of transformers
    "profile": ("caller", lambda where, what: f"{where}: {what}"),
    "dense-sinks": (
        "caller",
        lambda name: f"{name}: the model has a sink logit a head, which the dense fallback lacks: give its layers a pattern that runs on them",
    ),
    "softcap": ("caller", lambda name: f"{name}: the model caps its scores, which neither these patterns nor the dense fallback do"),
    # Programs of several kernels
    "program-lengths": (
        "caller",
        lambda pattern: f"lengths: {pattern} is a program of several kernels, launched for each batch entry cut to its real rows: they "
        "cannot come as a CUDA tensor, pass them as numbers",
    ),
    "program-start": (
        "caller",
        lambda pattern, batch, expected, got: f"lengths[{batch}].qStart: {pattern} is a program, whose last query stands at the last key: "
        f"expected {expected}, got {got}",
    ),
    "program-pages": ("caller", lambda pattern: f"pages: {pattern} is a program of several kernels, which read no pages"),
    "program-state": (
        "caller",
        lambda pattern: f"state: {pattern} is a program of several kernels, whose launches and memory hang on its params: give them to the call",
    ),
    "program-rows": (
        "caller",
        lambda name, pattern, rows: f"{name}: {pattern} needs {_names(rows)} beside q, k and v, which models do not hand to their attention: "
        "call heddle_torch.attention with them as keywords",
    ),
    "alignment": ("caller", lambda tensor, what, multiple, got: f"{tensor}: {what} must be a multiple of {multiple}, got {got}"),
    "stored-limit": (
        "caller",
        lambda program, name, bytes, most: f"{program}: {name}, which its kernels hand on, would have {bytes} bytes in this call; at most {most}",
    ),
    "workspace": (
        "machine",
        lambda where, bytes, name, own, detail: f"{where}: its kernels hand on {bytes} bytes in one workspace ({name} alone has {own}), which the "
        f"GPU has not free: {detail}",
    ),
    # Variants and launches
    "no-variant": (
        "caller",
        lambda pattern, wanted, reasons: f"{pattern}: no variant for {wanted}: {'; '.join(reasons) if reasons else 'the artefact has none'}",
    ),
    "old-gpu": ("machine", lambda got: f"the GPU has compute capability {got[0]}.{got[1]}; these kernels need 8.0 or newer"),
    "grid": ("caller", lambda entry, grid, call: f"{entry}: its grid {_sizes(grid)} is beyond what a GPU launches ({call})"),
    "capture": (
        "caller",
        lambda pattern, what: f"{pattern}: {what} while a CUDA graph is being captured; call once with the same shapes and params before "
        "capturing, or hold params and lengths in a State",
    ),
    "no-driver": ("machine", lambda detail: f"the CUDA driver's library cannot be opened: {detail}"),
    "driver": (
        "machine",
        lambda call, name, text, where="": f"{call} failed with {name}: {text}{f' ({where})' if where else ''}",
    ),
    # Compiling
    "no-nvrtc": (
        "machine",
        lambda pattern, variant, arch, cubins, detail: f"{pattern}, variant {variant}: there is no cubin for {arch} (the build has {_names(cubins)}) "
        f"and NVRTC was not found: {detail}",
    ),
    "nvrtc": (
        "machine",
        lambda pattern, variant, arch, status, log: f"{pattern}, variant {variant}: NVRTC failed for {arch} ({status})\n{log}",
    ),
    "cubin": ("machine", lambda path, detail: f"{path}: {detail}: build the artefact again"),
}


class HeddleError(RuntimeError):
    """What every function of this package raises: `code` to branch on, `args_` with the values, and who has to act in `blame`."""

    def __init__(self, code: str, **args: Any) -> None:
        self.code = code
        self.args_ = args
        self.blame, text = MESSAGES[code]
        super().__init__(text(**args))

    def __reduce__(self):  # so that an error crosses processes
        return (_rebuild, (self.code, self.args_))


def _rebuild(code: str, args: Dict[str, Any]) -> HeddleError:
    return HeddleError(code, **args)
