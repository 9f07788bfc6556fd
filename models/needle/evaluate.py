"""A trained model -> exact-answer accuracy by task and length, and how far transformers agrees with it.

python3 models/needle/evaluate.py FOLDER asks a stored model anew, and puts what it finds into the folder's training.json."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from model import Config, Llama
from safetensors.torch import load_file
from tasks import ASKING, BOS, WORDS, Prose, Text, test_text

# The last is beyond the positions of the training: the rope stretches.
LENGTHS = [1024, 4096, 8192, 16384, 32768]


def test_texts(name: str, length: int, count: int, seed: int) -> list[Text]:
    # Training draws from [seed, worker]: three numbers cannot meet two.
    rng = np.random.default_rng([seed, length, ASKING.index(name)])
    prose = Prose(rng)
    return [test_text(rng, prose, name, length) for _ in range(count)]


@torch.no_grad()
def accuracy(model: Llama, texts: list[Text], device: torch.device) -> dict[str, int | float]:
    """An answer is right when each of its tokens is the likeliest, given the right ones before it: what greedy
    decoding gives. Later questions of a text see earlier answers; the first sees none and is also counted alone."""
    right: list[bool] = []
    first: list[bool] = []
    length = len(texts[0].tokens)
    group = max(1, 65536 // length)
    for start in range(0, len(texts), group):
        part = texts[start : start + group]
        tokens = torch.from_numpy(np.stack([text.tokens for text in part]).astype(np.int64)).to(device)
        with torch.autocast(device.type, dtype=torch.float16, enabled=device.type == "cuda"):
            hidden = model.hidden(tokens)
            asked = torch.zeros(tokens.shape, dtype=torch.bool)
            for row, text in enumerate(part):
                for begin, end in text.answers:
                    asked[row, begin - 1 : end - 1] = True
            asked = asked.to(device)
            likeliest = torch.full_like(tokens, -1)
            likeliest[asked] = model.logits(hidden[asked]).argmax(-1)
        said = likeliest.cpu().numpy()
        for row, text in enumerate(part):
            hits = [
                bool((said[row, begin - 1 : end - 1] == text.tokens[begin:end]).all()) for begin, end in text.answers
            ]
            right += hits
            first.append(hits[0])
    return {
        "texts": len(texts),
        "answers": len(right),
        "accuracy": round(float(np.mean(right)), 5),
        "first": round(float(np.mean(first)), 5),
    }


def accuracies(model: Llama, device: torch.device, seed: int, texts: int, deadline: float) -> dict[str, dict]:
    """By task and length, the shortest lengths first; what the clock does not leave time for is left out."""
    found: dict[str, dict] = {name: {} for name in ASKING}
    for length in LENGTHS:
        for name in ASKING:
            if time.monotonic() > deadline:
                print(f"no time for {name} at {length}", flush=True)
                continue
            count = texts * (4 if name == "single" else 1) // (4 if length > 8192 else 1)
            found[name][length] = accuracy(model, test_texts(name, length, max(count, 1), seed), device)
            print(f"{name} at {length}: {found[name][length]}", flush=True)
    return found


@torch.no_grad()
def agreement(model: Llama, folder: Path, device: torch.device, seed: int, result: dict[str, object]) -> None:
    """Loads the folder with transformers, in f32, and compares logits, greedy answers and the tokenizer. What is
    found is put into `result` at once, so that a failure keeps what came before it."""
    from transformers import AutoTokenizer, LlamaForCausalLM
    from transformers import __version__ as version

    theirs = LlamaForCausalLM.from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float32)
    theirs = theirs.to(device).eval()
    text = test_texts("recall", 1024, 1, seed)[0]
    tokens = torch.from_numpy(text.tokens.astype(np.int64))[None].to(device)
    ours_logits, their_logits = model.logits(model.hidden(tokens)), theirs(input_ids=tokens).logits
    result["transformers"] = version
    result["largestLogit"] = float(their_logits.abs().max())
    result["largestDifference"] = float((ours_logits - their_logits).abs().max())
    right = 0
    for name in ASKING:
        asked = test_texts(name, 1024, 1, seed)[0]
        begin, end = asked.answers[0]
        prompt = torch.from_numpy(asked.tokens[:begin].astype(np.int64))[None].to(device)
        made = theirs.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=end - begin, do_sample=False
        )
        right += made[0, begin:].tolist() == asked.tokens[begin:end].tolist()
    result["generated"] = f"{right} of {len(ASKING)}"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    written = " ".join(WORDS[token] for token in text.tokens[1:])
    result["tokenizerAgrees"] = bool(text.tokens[0] == BOS) and tokenizer(written)["input_ids"] == text.tokens.tolist()
    result["decoderAgrees"] = tokenizer.decode(text.tokens[1:].tolist()) == written


def stored(folder: Path, device: torch.device) -> Llama:
    raw = json.loads((folder / "config.json").read_text())
    rope = raw["rope_parameters"]
    if rope["rope_type"] != "dynamic":
        raise SystemExit(f"{folder / 'config.json'}: rope_type is {rope['rope_type']}, this model has dynamic")
    known = {field.name for field in fields(Config)}
    model = Llama(Config(**{name: raw[name] for name in raw if name in known}, rope_factor=rope["factor"]))
    model.load_state_dict({name: weight.float() for name, weight in load_file(folder / "model.safetensors").items()})
    return model.to(device).eval()


def main() -> None:
    from export import write_log

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=int, default=128, help="of each task and length")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    log = json.loads((args.folder / "training.json").read_text())
    log["accuracy"] = accuracies(stored(args.folder, device), device, args.seed, args.texts, float("inf"))
    write_log(args.folder, log)


if __name__ == "__main__":
    main()
