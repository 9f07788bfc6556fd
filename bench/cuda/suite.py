"""Rows in; bench/results' cuda.json out, whole after every case, with where and by what it was measured."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

COMMAND = "python3 bench/cuda/run.py --artifacts out/cuda --counts out/cuda-counts.json --out bench/results"


def machine() -> Dict[str, str]:
    """The GPU and its driver, as nvidia-smi names them."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader", "--id=0"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return {"device": "unknown GPU", "driver": "unknown"}
    name, driver = (part.strip() for part in found.strip().split(",")[:2])
    return {"device": name, "driver": driver}


def head_of(suite: str, command: str, versions: Mapping[str, str], place: Mapping[str, str]) -> Dict[str, Any]:
    """What a result file begins with."""
    return {
        "suite": suite,
        "command": command,
        "date": datetime.date.today().isoformat(),
        "device": place["device"],
        "driver": place["driver"],
        "versions": dict(versions),
    }


def write_rows(folder: Path, head: Mapping[str, Any], rows: Sequence[Dict[str, Any]], **more: Any) -> None:
    """Whole file or none: a run that is cut off leaves what it had."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{head['suite']}.json"
    part = file.with_suffix(".json.part")
    part.write_text(json.dumps({**head, **more, "rows": list(rows)}, indent=1) + "\n")
    os.replace(part, file)


class Suite:
    def __init__(self, folder: Path, versions: Mapping[str, str], place: Mapping[str, str]) -> None:
        self.rows: List[Dict[str, Any]] = []
        # Ceilings measured in the same run: what the roofline is drawn from.
        self.roofs: Dict[str, float] = {}
        self.file = folder / "cuda.json"
        self._head = head_of("cuda", COMMAND, versions, place)

    def add(self, rows: Sequence[Dict[str, Any]]) -> None:
        self.rows.extend(rows)
        write_rows(self.file.parent, self._head, self.rows, roofs=self.roofs)
