"""The file that MInference's search writes for a model in; a profile of the pattern minference, a record a layer, out.

A list over layers of {"<head>": [type, v, s, score]}, read as heddle/runtime's readProfile and paramsOf read it (docs/profiles.md):
which head is what are numbers of the pattern's params, 0 for kinds that a head is not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Union

from .errors import HeddleError
from .schema import is_number, is_whole

PATTERN = "minference"
TYPES = ("vertical_and_slash", "block_sparse", "stream_llm")
PARAMS = ("vertical", "slash", "k", "window", "sinkTokens")
# The greatest budget of the pattern's params, and more keys than any call has.
MOST = 2**22
# Of a block_sparse head: MInference's kernel takes as many whatever stands in the entry.
BLOCKS = 100


def read_profile(source: Union[str, Path, List[Any]], blocks: int = BLOCKS) -> Dict[str, Any]:
    """A record as configure() takes it. `source`: the file, or what json.load made of it; `blocks`: of keys for each block of
    queries of a block_sparse head."""
    layers = source if isinstance(source, list) else _parsed(source)
    if not isinstance(layers, list):
        raise HeddleError("profile-file", what="it is no list of layers")
    own = {str(i): {"params": _params_of(heads, i, blocks)} for i, heads in enumerate(layers)}
    return {"pattern": PATTERN, "layers": own}


def profile_of(given: Any, layers: Optional[int] = None, heads: Optional[int] = None) -> Any:
    """What the search wrote, as a file or parsed, becomes a record; a record stays what it is. `layers`, `heads`: the model's."""
    if not isinstance(given, (str, Path, list)):
        return given
    made = read_profile(given)
    if layers is not None and len(made["layers"]) != layers:
        raise HeddleError("profile-size", what="layers", expected=layers, got=len(made["layers"]))
    for number, layer in made["layers"].items():
        got = len(layer["params"][PARAMS[0]])
        if heads is not None and got != heads:
            raise HeddleError("profile-size", what=f"heads in layer {number}", expected=heads, got=got)
    return made


def _parsed(source: Union[str, Path]) -> Any:
    try:
        return json.loads(Path(source).read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise HeddleError("profile-file", what=f"{source}: {e}") from e


def _params_of(heads: Any, layer: int, blocks: int) -> Dict[str, List[int]]:
    """Of each head in turn."""
    if not isinstance(heads, Mapping):
        raise HeddleError("profile-file", what=f"layer {layer} is no record of heads")
    rows = []
    for head in range(len(heads)):
        # A record of n heads that has each of 0 to n - 1 has no other.
        if str(head) not in heads:
            raise HeddleError("profile-head", layer=layer, head=head, got=list(heads))
        rows.append(_numbers_of(heads[str(head)], layer, head, blocks))
    return {name: [row.get(name, 0) for row in rows] for name in PARAMS}


def _numbers_of(entry: Any, layer: int, head: int, blocks: int) -> Dict[str, int]:
    if not isinstance(entry, (list, tuple)) or len(entry) != 4:
        raise HeddleError("profile-file", what=f"layer {layer}, head {head} is no list [type, v, s, score]")
    kind, v, s, score = entry
    if kind not in TYPES:
        raise HeddleError("profile-type", layer=layer, head=head, got=kind, known=TYPES)
    # Without a window a query of the A-shape would not see itself.
    for name, got, least in (("v", v, 0), ("s", s, int(kind == "stream_llm"))):
        if not is_whole(got) or not least <= got <= MOST:
            raise HeddleError("profile-number", layer=layer, head=head, type=kind, name=name, least=least, most=MOST, got=got)
    if not is_number(score):
        raise HeddleError("profile-file", what=f"layer {layer}, head {head}: its score is {score!r}, no number")
    if kind == "vertical_and_slash":
        # MInference raises small budgets. What the pattern forces is as much, unless 0 switches it off.
        return {"vertical": max(1, int(v)), "slash": max(1, int(s))}
    return {"k": blocks} if kind == "block_sparse" else {"window": int(s), "sinkTokens": int(v)}
