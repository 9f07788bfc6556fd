"""Tensor parallelism of transformers over two GPUs (torchrun, NCCL): each process attends with its own part of the heads, and the
logits are those of one GPU. Skipped where there are not two."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

try:
    import pytest
    import subject
    import torch
    import transformers
except ImportError as e:
    raise unittest.SkipTest(str(e)) from e

if subject.DEVICE != "cuda" or int(transformers.__version__.split(".")[0]) < 5:
    raise unittest.SkipTest("there is no CUDA device, or transformers is older than 5")

import heddle_torch as ht

GPUS = 2
HEADS, LENGTH = 8, 192
# A window for all heads; and one of a value for each head, of which each process takes its own.
PROFILES = {
    "heddle:a-shape": {"params": {"window": 40, "sinkTokens": 6}},
    "heddle:streaming-heads": {"params": {"retrieval": [1, 0, 0, 1, 0, 0, 1, 0], "recent": 24, "sinkTokens": 4}},
}


def logits(folder: str, name: str, **placed):
    """Of the model in the folder under a pattern, in bf16; [1, LENGTH, vocabulary] in f32."""
    for pattern in ("a-shape", "streaming-heads"):
        subject.load(pattern)
    ht.register()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, attn_implementation=name, **placed
    ).eval()  # fmt: skip
    ht.configure(model, PROFILES[name])
    ids = torch.randint(5, 900, (1, LENGTH), generator=torch.Generator().manual_seed(3)).to(model.device)
    with torch.no_grad():
        return model(input_ids=ids).logits.float()


@pytest.mark.skipif(torch.cuda.device_count() < GPUS, reason=f"needs {GPUS} GPUs")
@pytest.mark.parametrize("name", PROFILES)
def test_two_processes_are_one(name):
    sizes = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 3, "vocab_size": 1000}
    heads = {"num_attention_heads": HEADS, "num_key_value_heads": HEADS // 2, "head_dim": 64}
    torch.manual_seed(1)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads))
    with tempfile.TemporaryDirectory() as folder:
        model.to(torch.bfloat16).save_pretrained(folder)
        want = logits(folder, name, device_map="cuda:0")
        dense = logits_of_dense(folder)
        out = Path(folder) / "logits.pt"
        command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={GPUS}", __file__, folder, name, str(out)]
        env = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
        run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
        assert run.returncode == 0, run.stderr[-3000:]
        got = torch.load(out, weights_only=True).to(want.device)
    # Sums over processes are rounded otherwise than sums within one; another mask would differ by far more.
    error, scale = (got - want).abs().max().item(), want.abs().max().item()
    assert error <= 0.03 * scale, (error, scale)
    assert (want - dense).abs().max().item() > 0.1 * scale


def logits_of_dense(folder: str):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, attn_implementation="sdpa", device_map="cuda:0"
    ).eval()  # fmt: skip
    ids = torch.randint(5, 900, (1, LENGTH), generator=torch.Generator().manual_seed(3)).to(model.device)
    with torch.no_grad():
        return model(input_ids=ids).logits.float()


def worker(folder: str, name: str, out: str) -> None:
    got = logits(folder, name, tp_plan="auto")
    if torch.distributed.get_rank() == 0:
        torch.save((got.full_tensor() if hasattr(got, "full_tensor") else got).cpu(), out)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    worker(*sys.argv[1:])
