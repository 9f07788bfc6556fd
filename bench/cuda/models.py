"""Models of 8B shapes with random weights, whole prompts: Heddle's patterns in transformers beside sdpa (cuDNN) and
flex_attention, in turns; transformers.json out.

python3 bench/cuda/models.py --artifacts out/models --out bench/results
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "runtime" / "torch"))

import torch  # noqa: E402
import transformers  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.nn.attention.flex_attention import create_block_mask  # noqa: E402
from transformers import AttentionInterface, AutoModelForCausalLM, LlamaConfig, Qwen3Config  # noqa: E402
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS  # noqa: E402

import heddle_torch  # noqa: E402
from masks import MASKS  # noqa: E402
from suite import head_of, machine, write_rows  # noqa: E402

GROUPED = {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
SHAPES: Dict[str, Callable[[], Any]] = {
    "Llama-3-8B": lambda: LlamaConfig(
        **GROUPED, intermediate_size=14336, num_hidden_layers=32, vocab_size=128256, max_position_embeddings=131072,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
    ),
    "Qwen3-8B": lambda: Qwen3Config(
        **GROUPED, intermediate_size=12288, num_hidden_layers=36, vocab_size=151936, max_position_embeddings=131072,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
    ),
}  # fmt: skip
# Length to timed runs; one more warms up, with as many tokens as that takes.
RUNS = {4096: 5, 32768: 3, 131072: 1}
WARM_UP = 32768
WINDOW = {"window": 4096, "sinkTokens": 1024}
SMALL, SMALL_WINDOW = 2048, {"window": 256, "sinkTokens": 64}
PEER = "sdpa (cuDNN)"


class Contender(NamedTuple):
    name: str
    implementation: str
    profile: Optional[Dict[str, Any]] = None
    # Of FlexAttention: the pattern whose block mask it is given.
    mask: Optional[str] = None


def contenders(programs: Sequence[str]) -> List[Contender]:
    found = [
        Contender(PEER, "sdpa"),
        Contender("flex_attention, causal", "flex_attention", mask="causal"),
        Contender("flex_attention, a-shape 1024 + 4096", "flex_attention", mask="a-shape"),
        Contender("heddle a-shape 1024 + 4096", "heddle:a-shape", {"params": WINDOW}),
        Contender("heddle causal", "heddle:causal", {}),
    ]
    if "heddle:minference-vertical-slash" in programs:
        params = {"vertical": 1000, "slash": 280}
        own = {"params": params, "decode": "dense"}
        found.append(Contender("heddle minference-vertical-slash", "heddle:minference-vertical-slash", own))
    return found


class Clock:
    """Events around every call of an attention implementation, which is found by its name."""

    def __init__(self) -> None:
        self.pairs: List[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def watch(self, name: str) -> None:
        plain = ALL_ATTENTION_FUNCTIONS[name]

        def timed(*args: Any, **named: Any) -> Any:
            pair = (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            pair[0].record()
            out = plain(*args, **named)
            pair[1].record()
            self.pairs.append(pair)
            return out

        AttentionInterface.register(name, timed)

    def take(self) -> float:
        """Milliseconds since the last take; the device has to be idle."""
        total = sum(a.elapsed_time(b) for a, b in self.pairs)
        self.pairs.clear()
        return total


class Bench:
    def __init__(self, config: Any, clock: Clock) -> None:
        torch.manual_seed(1)
        with torch.device("cuda"):
            self.model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
        self.vocabulary = config.vocab_size
        self.clock = clock

    def tokens(self, length: int) -> torch.Tensor:
        generator = torch.Generator("cuda").manual_seed(5)
        return torch.randint(5, self.vocabulary, (1, length), generator=generator, device="cuda")

    def logits(self, who: Contender, ids: torch.Tensor, mask: Any = None, keep: int = 1) -> torch.Tensor:
        backend = sdpa_kernel([SDPBackend.CUDNN_ATTENTION]) if who.name == PEER else nullcontext()
        with backend:
            return self.model(input_ids=ids, attention_mask=mask, use_cache=True, logits_to_keep=keep).logits

    def choose(self, who: Contender) -> None:
        self.model.set_attn_implementation(who.implementation)
        if who.profile is not None:
            heddle_torch.configure(self.model, who.profile)

    def prefill(self, who: Contender, ids: torch.Tensor, mask: Any) -> tuple[float, float]:
        """Whole and attention, in ms."""
        self.choose(who)
        self.clock.take()
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        events[0].record()
        self.logits(who, ids, mask)
        events[1].record()
        torch.cuda.synchronize()
        return events[0].elapsed_time(events[1]), self.clock.take()

    def differences(self) -> Dict[str, float]:
        """Largest differences of logits from sdpa's under the same mask: the pattern's, and eager attention's."""
        ids = self.tokens(SMALL)
        at = torch.arange(SMALL, device="cuda")
        q, kv = at[:, None], at[None]
        near = (q - kv < SMALL_WINDOW["window"]) | (kv < SMALL_WINDOW["sinkTokens"])
        seen = ((kv <= q) & near)[None, None]
        bias = torch.zeros(seen.shape, device="cuda", dtype=torch.bfloat16).masked_fill(~seen, -torch.inf)
        found = {}
        for name, implementation, mask in (
            ("sdpa", "sdpa", seen),
            ("eager", "eager", bias),
            ("a-shape", "heddle:a-shape", None),
        ):
            who = Contender(name, implementation, {"params": SMALL_WINDOW} if mask is None else None)
            self.choose(who)
            found[name] = self.logits(who, ids, mask, SMALL).float()
        most = lambda x: (x - found["sdpa"]).abs().max().item()
        return {
            "largest logit": found["sdpa"].abs().max().item(),
            "a-shape from sdpa": most(found["a-shape"]),
            "eager from sdpa": most(found["eager"]),
        }


def block_mask(who: Contender, length: int) -> Any:
    """FlexAttention's, of the pattern; transformers takes it as it is."""
    if who.mask is None:
        return None
    mod = MASKS[who.mask](WINDOW, {}, 1)
    return torch.compile(create_block_mask, dynamic=False)(mod, None, None, length, length, device="cuda")


def median(x: Sequence[float]) -> float:
    return sorted(x)[len(x) // 2]


def measure(bench: Bench, shape: str, length: int, who: Sequence[Contender], failures: List[str]) -> List[Dict[str, Any]]:
    ids = bench.tokens(length)
    times: Dict[str, List[tuple[float, float]]] = {}
    masks: Dict[str, Any] = {}
    for turn in range(RUNS[length] + 1):
        for one in who:
            if one.name in times and len(times[one.name]) < turn:
                continue
            try:
                if turn == 0:
                    masks[one.name] = block_mask(one, length)
                short = turn == 0 and length > WARM_UP and one.mask is None
                took = bench.prefill(one, ids[:, :WARM_UP] if short else ids, masks[one.name])
                times.setdefault(one.name, []).append(took)
            except Exception as error:  # noqa: BLE001: one contender must not take the others with it
                failures.append(f"{shape} {length} {one.name}: {type(error).__name__}: {str(error)[:400]}")
                times.setdefault(one.name, [])
                torch.cuda.empty_cache()
    middle = {n: [median(x) for x in zip(*t[1:])] for n, t in times.items() if len(t) > 1}
    for name, (whole, attention) in middle.items():
        print(f"{shape} {length} {name}: {whole:.1f} ms, attention {attention:.1f} ms", flush=True)
    return [row_of(shape, length, name, middle) for name in middle if name.startswith("heddle")]


def row_of(shape: str, length: int, name: str, middle: Dict[str, List[float]]) -> Dict[str, Any]:
    """Beside sdpa, and what the other peers took of the same run."""
    whole, attention = middle[name]
    row: Dict[str, Any] = {
        "case": f"{shape} shape, prompt of {length // 1024}k: {name.removeprefix('heddle ')}",
        "target": "cuda d128-bf16",
        "ours": {"ms": round(whole, 2)},
    }
    more = {"attention ms": round(attention, 2)}
    if PEER in middle:
        peer, theirs = middle[PEER]
        row["peer"] = {"name": PEER, "ms": round(peer, 2)}
        row["ratio"] = round(peer / whole, 3)
        more[f"attention of {PEER} ms"] = round(theirs, 2)
        more["attention, times faster"] = round(theirs / attention, 2)
    others = [(n, t) for n, t in middle.items() if n.startswith("flex")]
    return {**row, "more": {**more, **{f"{n} ms": round(t[0], 2) for n, t in others}}}


def main() -> int:
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, required=True, help="folder of <pattern>.cuda.json and cubins")
    parser.add_argument("--out", type=Path, required=True, help="folder for transformers.json")
    parser.add_argument("--only", default="", help="a word in the shape's name")
    parser.add_argument("--who", default="", help="a regular expression: contenders whose name holds it; sdpa always")
    parser.add_argument("--lengths", default=",".join(map(str, RUNS)))
    parser.add_argument("--minutes", type=float, default=6, help="after these no other length is begun")
    given = parser.parse_args()
    registered = heddle_torch.register(given.artifacts)
    chosen = [c for c in contenders(registered) if c.name == PEER or re.search(given.who, c.name)]
    clock = Clock()
    for name in {c.implementation for c in chosen}:
        clock.watch(name)
    asked = [f"--{flag} {value}" for flag, value in (("only", given.only), ("who", given.who)) if value]
    command = " ".join(["python3 bench/cuda/models.py --artifacts out/models --out bench/results", *asked])
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    head = head_of("transformers", f"{command} --lengths {given.lengths}", versions, machine())
    rows: List[Dict[str, Any]] = []
    failures: List[str] = []
    differences: Dict[str, Dict[str, float]] = {}
    for shape, config in SHAPES.items():
        if given.only not in shape:
            continue
        with torch.inference_mode():
            bench = Bench(config(), clock)
            differences[shape] = {name: round(x, 4) for name, x in bench.differences().items()}
            print(f"{time.monotonic() - began:.0f} s {shape}: {differences[shape]}", flush=True)
            for length in map(int, given.lengths.split(",")):
                if time.monotonic() - began > 60 * given.minutes:
                    failures.append(f"{shape} {length}: left out, the time is up")
                    continue
                rows += measure(bench, shape, length, chosen, failures)
                write_rows(given.out, head, rows, differences=differences, failures=failures)
                print(f"{time.monotonic() - began:.0f} s", flush=True)
        del bench
        gc.collect()
        torch.cuda.empty_cache()
    for failure in failures:
        print(f"FAILED {failure}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
