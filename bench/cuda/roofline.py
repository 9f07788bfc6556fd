"""bench/results/cuda.json in; docs/roofline.svg out: every case under the ceilings measured in the same run. Needs matplotlib.

python3 bench/cuda/roofline.py bench/results/cuda.json docs/roofline.svg
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence


@dataclass
class Point:
    """One case and kernel: intensity in FLOP/byte, ours and the peers' TFLOP/s on kept pairs."""

    label: str
    intensity: float
    ours: float
    peers: Dict[str, float] = field(default_factory=dict)


def intensity_of(row: Mapping[str, Any]) -> float:
    """Operations on kept pairs over the bytes that any kernel must move; of decoding, from the two rates."""
    more = row["more"]
    return more["FLOP/byte"] if "FLOP/byte" in more else row["ours"]["tflops"] / more["TB/s"]


def points_of(rows: Sequence[Mapping[str, Any]]) -> List[Point]:
    found: Dict[tuple[str, str], Point] = {}
    for row in rows:
        key = (row["case"], row["target"])
        label = row["case"] + (", sm_80" if row["target"].endswith("ampere") else "")
        point = found.setdefault(key, Point(label, intensity_of(row), row["ours"]["tflops"]))
        if "peer" in row:
            # One name for all settings of FlexAttention.
            point.peers[row["peer"]["name"].split(" (")[0]] = row["peer"]["tflops"]
    return sorted(found.values(), key=lambda p: (p.intensity, p.label))


def draw(suite: Mapping[str, Any], file: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    # The same bytes for the same figures: identifiers are not random, and no date is written.
    matplotlib.rcParams.update({"svg.hashsalt": "heddle", "svg.fonttype": "none", "font.size": 9})
    import matplotlib.pyplot as plt

    points, roofs = points_of(suite["rows"]), suite["roofs"]
    figure, axes = plt.subplots(figsize=(10, 6.5), layout="constrained")
    low = min(p.intensity for p in points) / 2
    high = max(p.intensity for p in points) * 2
    knee = roofs["tflops"] / roofs["tbps"]
    axes.loglog([low, knee, high], [low * roofs["tbps"], roofs["tflops"], roofs["tflops"]], color="black", lw=1.2)
    axes.annotate(f"copies, {roofs['tbps']:g} TB/s", (low * 2.5, low * 2 * roofs["tbps"]))
    axes.annotate(f"bf16 products of 8192, {roofs['tflops']:g} TFLOP/s", (knee * 1.2, roofs["tflops"] * 1.05))
    styles = {"cuDNN": ("s", "tab:green"), "FlashAttention-2": ("v", "tab:orange"), "FlexAttention": ("^", "tab:red")}
    for name, (marker, colour) in styles.items():
        with_peer = [p for p in points if name in p.peers]
        axes.scatter(
            [p.intensity for p in with_peer],
            [p.peers[name] for p in with_peer],
            marker=marker,
            facecolors="none",
            edgecolors=colour,
            label=name,
        )
    numbers = [f"{i + 1}  {p.label}" for i, p in enumerate(points)]
    axes.scatter([p.intensity for p in points], [p.ours for p in points], color="tab:blue", label="Heddle", zorder=3)
    for i, p in enumerate(points):
        axes.annotate(str(i + 1), (p.intensity, p.ours), xytext=(4, 4), textcoords="offset points", fontsize=7)
    axes.set_xlabel("FLOP on kept pairs / byte that any kernel must move")
    axes.set_ylabel("TFLOP/s on kept pairs")
    axes.set_title(f"{suite['device']}, {suite['date']}", loc="left")
    axes.grid(True, which="major", lw=0.3)
    axes.legend(loc="lower right")
    figure.text(1.01, 0.98, "\n".join(numbers), va="top", fontsize=7, family="monospace")
    figure.savefig(file, metadata={"Date": None}, bbox_inches="tight", facecolor="white")


if __name__ == "__main__":
    source, target = (Path(word) for word in sys.argv[1:3])
    draw(json.loads(source.read_text(encoding="utf-8")), target)
    print(target)
