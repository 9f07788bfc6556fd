"""Trains the needle model and writes it as a Hugging Face folder: python3 models/needle/train.py --minutes 8 --out DIR.
One GPU; `--minutes` bounds the whole run, start to end: start-up, training, export and tests."""

from __future__ import annotations

import argparse
import math
import os
import time
import traceback
from pathlib import Path

STARTED = time.monotonic()

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from evaluate import accuracies, agreement  # noqa: E402
from export import export, write_log  # noqa: E402
from feed import STAGES, Feed  # noqa: E402
from model import Config, Llama  # noqa: E402
from muon import Muon  # noqa: E402
from tasks import ANSWER, ASKING, COPIED, TASKS, TEXT, WORDS  # noqa: E402

# By kind of token. Looking up is found first in copies, of which a text gives most; at a quarter it is found later.
ANSWER_WEIGHTS = {ANSWER: 1.0, COPIED: 1.0}
TEXT_WEIGHT = 0.1
# A stage ends when the answers in texts of its main length are this good, or when this much of the training is over.
GOOD_ENOUGH = 0.95
STAGE_ENDS = [0.3, 0.42, 0.54, 0.66]
# Below this at the end of the first stage the rest of the time is not spent.
HOPELESS = 0.5
WARMUP_STEPS = 100
LAST_RATE = 0.01
LOG_STEPS = 100
EXPORT_SECONDS = 60
TEST_SECONDS = 75


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--minutes", type=float, default=8, help="of wall clock, for everything")
    parser.add_argument("--steps", type=int, help="train so many steps instead of as many as the minutes allow")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--tokens", type=int, help="a step, instead of as many as the stage says")
    parser.add_argument("--workers", type=int, default=max(1, min(15, (os.cpu_count() or 2) - 1)))
    parser.add_argument("--test-texts", type=int, default=128, help="of each task and length")
    parser.add_argument("--compile", action="store_true", help="compile the layers")
    return parser.parse_args()


def optimizers_of(model: Llama, rate: float, device: torch.device) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for the embedding and the norms."""
    matrices = [p for p in model.model.layers.parameters() if p.dim() == 2]
    inside = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in inside]
    adam = torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=device.type == "cuda")
    return [Muon(matrices, rate), adam]


def main_length(stage: int) -> int:
    return next(iter(STAGES[stage]))


class Tally:
    """Sums on the device, read only when a log line is due, so that no step waits for the GPU."""

    def __init__(self, device: torch.device) -> None:
        weights = torch.zeros(2, 4, device=device)
        weights[0, list(ANSWER_WEIGHTS)] = torch.tensor(list(ANSWER_WEIGHTS.values()), device=device)
        weights[1, TEXT] = 1
        self.answer_weights, self.text_weights = weights
        self.losses = torch.zeros(2, device=device)
        self.hits, self.asked = torch.zeros(2, len(TASKS), device=device)
        self.steps = self.counted = 0

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        entropy = F.cross_entropy(logits.float(), targets, reduction="none")
        answer, text = self.answer_weights[kinds], self.text_weights[kinds]
        answer_loss = (entropy * answer).sum() / answer.sum().clamp(min=1)
        text_loss = (entropy * text).sum() / text.sum().clamp(min=1)
        self.losses += torch.stack([answer_loss.detach(), text_loss.detach()])
        self.steps += 1
        return answer_loss + TEXT_WEIGHT * text_loss

    @torch.no_grad()
    def count(self, logits: torch.Tensor, targets: torch.Tensor, kinds: torch.Tensor, tasks: torch.Tensor) -> None:
        """Answer tokens by task."""
        asked = (kinds >= ANSWER).float()
        hits = (logits.argmax(-1) == targets).float() * asked
        row_tasks = tasks.repeat_interleave(len(kinds) // len(tasks))
        self.asked.index_add_(0, row_tasks, asked)
        self.hits.index_add_(0, row_tasks, hits)
        self.counted += 1

    def read(self) -> dict[str, object]:
        hits, asked, losses = self.hits.tolist(), self.asked.tolist(), (self.losses / max(self.steps, 1)).tolist()
        known = {name: round(h / a, 4) for name, h, a in zip(TASKS, hits, asked) if a > 0}
        return {"answerLoss": round(losses[0], 4), "textLoss": round(losses[1], 4), "accuracy": known}

    def clear(self) -> None:
        for sums in (self.losses, self.hits, self.asked):
            sums.zero_()
        self.steps = self.counted = 0


def train(args: argparse.Namespace, model: Llama, feed: Feed, device: torch.device, log: dict, until: float) -> None:
    optimizers, tally, start = optimizers_of(model, args.rate, device), Tally(device), time.monotonic()
    last_export, stage, step, curve = start, 0, 0, log["curve"]
    for length, tokens, kinds, names in feed.batches():
        now = time.monotonic()
        part = (now - start) / (until - start) if args.steps is None else step / args.steps
        if part >= 1 or now > until:
            break
        cosine = LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * part)) / 2
        rate = args.rate * min(1, (step + 1) / WARMUP_STEPS) * cosine
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        both = torch.from_numpy(np.stack([tokens, kinds]).astype(np.int32)).to(device).long()
        inputs, targets, kind = both[0, :, :-1], both[0, :, 1:].flatten(), both[1, :, 1:].flatten()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            logits = model.logits(model.hidden(inputs)).flatten(0, 1)
        loss = tally.loss(logits, targets, kind)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if length == main_length(stage):
            tally.count(logits, targets, kind, torch.from_numpy(names.astype(np.int64)).to(device))
        step += 1
        log["tokens"] += inputs.numel()
        log["steps"] = step
        if step % LOG_STEPS:
            continue
        row = {"step": step, "seconds": round(now - start, 1), "stage": stage, "rate": round(rate, 7)} | tally.read()
        curve.append(row)
        print(row, flush=True)
        known = [row["accuracy"][name] for name in ASKING if name in row["accuracy"]]
        share = sum(known) / max(len(known), 1)
        good = tally.counted >= LOG_STEPS // 4 and share >= GOOD_ENOUGH
        tally.clear()
        if stage == 0 and not good and part >= STAGE_ENDS[0] and share < HOPELESS:
            raise SystemExit(f"texts of {main_length(0)} tokens are answered to {share:.0%}: longer ones will not be learnt")
        if stage < len(STAGE_ENDS) and (good or part >= STAGE_ENDS[stage]):
            stage += 1
            feed.stage.value = stage
        if now - last_export > EXPORT_SECONDS:
            last_export = now
            export(model, args.out)
            write_log(args.out, log)
    log["trainingSeconds"] = round(time.monotonic() - start, 1)


def main() -> None:
    args = arguments()
    finish = STARTED + 60 * args.minutes
    feed = Feed(args.seed, args.workers, args.tokens)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(args.seed)
    model = Llama(Config(vocab_size=math.ceil(len(WORDS) / 64) * 64)).to(device)
    log: dict = {
        "command": {name: value for name, value in vars(args).items() if name != "out"},
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if device.type == "cuda" else None,
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": 0,
        "tokens": 0,
        "curve": [],
    }
    print({name: log[name] for name in ("torch", "gpu", "parameters")}, flush=True)
    if args.compile:
        for layer in model.model.layers:
            layer.compile(dynamic=True)
    try:
        train(args, model, feed, device, log, finish - TEST_SECONDS)
    finally:
        feed.stop()
        weights = export(model, args.out)
        write_log(args.out, log)
    # What is tested is what was written: the weights in f16.
    model.load_state_dict({name: weight.float() for name, weight in weights.items()})
    model.eval()
    log["accuracy"] = accuracies(model, device, args.seed, args.test_texts, finish - 25)
    write_log(args.out, log)
    log["agreement"] = {}
    try:
        agreement(model, args.out, device, args.seed, log["agreement"])
    except Exception as error:  # the model is written by then, and the log says what failed
        traceback.print_exc()
        log["agreement"]["error"] = repr(error)
    print(log["agreement"], flush=True)
    log["seconds"] = round(time.monotonic() - STARTED, 1)
    write_log(args.out, log)


if __name__ == "__main__":
    main()
