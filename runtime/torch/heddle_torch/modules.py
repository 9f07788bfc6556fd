"""Texts of an artefact in; the functions of their entries out, compiled or read when first asked for and loaded once a device."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from .artifact import Artifact
from .compiler import machine_code
from .debug import debugging
from .driver import driver
from .errors import HeddleError
from .gpu import gpu

COMPILED_TOGETHER = min(8, os.cpu_count() or 1)


class Modules:
    """Of variants, and of a program's kernels in the form of variants. Kernels of one program may have one name, so a text goes
    by its hash too."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._loaded: Dict[Tuple[str, str, int, bool], List[Any]] = {}
        self._lock = threading.Lock()

    def functions(self, text: Mapping[str, Any], index: int, capability: int) -> List[Any]:
        """Of each entry, in order."""
        self.load([text], index, capability)
        return self._loaded[(text["id"], text["hash"], index, debugging())]

    def load(self, texts: Sequence[Mapping[str, Any]], index: int, capability: int) -> None:
        """Compiles side by side what is not there yet."""
        debug = debugging()
        with self._lock:
            wanted = {(t["id"], t["hash"], index, debug): t for t in texts}
            missing = {key: t for key, t in wanted.items() if key not in self._loaded}
            new = list(missing.values())
            if not new:
                return
            if gpu.capturing():
                raise HeddleError("capture", pattern=self._artifact.pattern, what=f"{new[0]['id']} would be loaded")
            make = lambda text: machine_code(self._artifact, text, capability, debug=debug)
            if len(new) == 1:
                codes = [make(new[0])]
            else:
                with ThreadPoolExecutor(COMPILED_TOGETHER) as pool:
                    codes = list(pool.map(make, new))
            driver().use_device(index)
            for (key, text), code in zip(missing.items(), codes):
                where = f"{self._artifact.pattern}, variant {text['id']}"
                module = driver().load(code, where)
                found = [driver().function(module, e["name"], e["sharedBytes"], where) for e in text["entries"]]
                self._loaded[key] = found
