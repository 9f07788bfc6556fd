"""Models of transformers under programs of several kernels, on a GPU or, with a small model, on the emulation: what each layer
attends is asked of the pattern's definition on that layer's own tensors; budgets for all keys are causal attention.

HEDDLE_CASES: the folder of artefacts that test/torch-cases.ts wrote (default: out/torch-cases of the repository).
"""

from __future__ import annotations

import json
import unittest
import warnings

try:
    import pytest
    import subject
    import transformers
except ImportError as e:
    raise unittest.SkipTest(str(e)) from e

import torch
from subject import DEVICE, UNIT

if int(transformers.__version__.split(".")[0]) < 5:
    raise unittest.SkipTest("transformers is older than 5")

from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache, LlamaConfig, LlamaForCausalLM  # noqa: E402
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS  # noqa: E402
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS  # noqa: E402

import heddle_torch as ht  # noqa: E402
from heddle_torch import layer  # noqa: E402

PATTERN = "minference-vertical-slash"
# Its consts.
BLOCK, LAST, FIRST_KEYS, NEAREST = 64, 64, 30, 100
ALL = {"vertical": 2**20, "slash": 2**20}
ROWS = 200


def small() -> LlamaForCausalLM:
    sizes = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 2, "vocab_size": 1000}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}
    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, max_position_embeddings=4096))


def llama8b_shaped() -> LlamaForCausalLM:
    """Heads as Llama 8B has them."""
    sizes = {"hidden_size": 4096, "intermediate_size": 2048, "num_hidden_layers": 2, "vocab_size": 1000}
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, max_position_embeddings=4096))


MODELS = {"small-f16": (small, torch.float16), "llama8b-bf16": (llama8b_shaped, torch.bfloat16)}


@pytest.fixture(scope="module", params=MODELS if DEVICE == "cuda" else ["small-f16"])
def model(request):
    for name in (PATTERN, "minference"):
        subject.load(name)
    names = ht.register()
    for name in names:
        AttentionInterface.register(f"spied-{name}", spied(name))
        AttentionMaskInterface.register(f"spied-{name}", ALL_MASK_ATTENTION_FUNCTIONS[name])
    make, dtype = MODELS[request.param]
    return make().to(DEVICE, dtype).eval()


@pytest.fixture(autouse=True)
def strict():
    """No layer goes dense unless a test says so."""
    layer._said.clear()
    seen.clear()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("error", message="heddle.*dense attention")
        yield


# What layers were given and gave since a test began.
seen = []


def spied(name):
    attend = ALL_ATTENTION_FUNCTIONS[name]

    def spy(module, query, key, value, mask, **more):
        out, weights = attend(module, query, key, value, mask, **more)
        seen.append((query, key, value, out.transpose(1, 2)))
        return out, weights

    return spy


def under(model, name, profile=None):
    model.set_attn_implementation(f"spied-heddle:{name}")
    ht.configure(model, profile or {})
    return model


def tokens(batch, length=ROWS):
    g = torch.Generator().manual_seed(5)
    return torch.randint(5, 700, (batch, length), generator=g).to(DEVICE)


def padded(first, length=ROWS):
    mask = (torch.arange(length, device=DEVICE) >= torch.tensor(first, device=DEVICE)[:, None]).long()
    return {"attention_mask": mask, "position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}


# Of the choices of one head how far, as a part of it, the last that is chosen is above the first that is not.
gaps = []


def greatest(scores, budget, forced):
    """Bool: the forced ones and, as far as the budget goes, the greatest of the others."""
    ranked, order = scores.masked_fill(forced, torch.inf).sort(descending=True)
    count = min(max(budget, int(forced.sum())), len(scores))
    if count < len(scores):
        gaps.append(float((ranked[count - 1] - ranked[count]) / ranked[count]))
    kept = torch.zeros_like(forced)
    kept[order[:count]] = True
    return kept


def chosen(q, k, vertical, slash):
    """Bool [rows, keys] of one head by its definition, in f64: q [rows, dim] stand at the end of k [keys, dim]."""
    rows, keys = len(q), len(k)
    at, key = torch.arange(rows, device=q.device)[:, None] + keys - rows, torch.arange(keys, device=q.device)
    s = (q.double() @ k.double().T * q.shape[1] ** -0.5).masked_fill(key > at, -torch.inf)[-LAST:]
    p = torch.softmax(s, -1)
    distance = at[-LAST:] - key
    by_distance = torch.zeros(keys, dtype=p.dtype, device=q.device)
    by_distance.index_add_(0, distance.clamp(min=0).flatten(), p.flatten())
    verticals = greatest(p.sum(0), vertical, key < FIRST_KEYS)
    slashes = greatest(by_distance, slash, key < NEAREST)
    own = at - key
    near = slashes[own.clamp(min=0)] & (own >= 0)
    of_block = (at // BLOCK == at.T // BLOCK).double() @ near.double() > 0
    return (of_block | verticals) & (key <= at)


def check(first, kept_of):
    """Every layer's output on its real rows, against attention under `kept_of(q, k, head)`, but for heads of which a choice
    hangs on what f32 rounds away."""
    judged = []
    for query, key, value, out in seen:
        group = query.shape[1] // key.shape[1]
        for b, start in enumerate(first):
            q, got = query[b : b + 1, :, start:], out[b : b + 1, :, start:]
            k, v = key[b : b + 1, :, start:], value[b : b + 1, :, start:]
            masks, clear = [], []
            for h in range(q.shape[1]):
                gaps.clear()
                masks.append(kept_of(q[0, h], k[0, h // group], h))
                clear.append(min(gaps, default=1) > 4e-6)
            judged += clear
            mask = torch.stack(masks)[None]
            want, _ = subject.attend(q, k, v, mask, q.shape[3] ** -0.5)
            plain, _ = subject.attend(q, k, v, mask, q.shape[3] ** -0.5, q.dtype)
            allowed = 2 * (plain - want).abs().max() + UNIT[q.dtype] * want.abs().max()
            error = (got.double() - want)[:, torch.tensor(clear, device=DEVICE)].abs().max()
            assert error <= allowed, f"entry {b}: error {error:.2e}, allowed {allowed:.2e}"
    assert sum(judged) >= 0.75 * len(judged)


def causal(q, k, head):
    return torch.ones(len(q), len(k), dtype=torch.bool, device=q.device).tril(len(k) - len(q))


PADDINGS = {"one": [0], "two": [0, 0], "left-padded": [0, 37, 110]}


@pytest.mark.parametrize("first", PADDINGS.values(), ids=PADDINGS.keys())
def test_budgets_for_all_keys_are_causal_attention(model, first):
    under(model, PATTERN, {"params": ALL})(input_ids=tokens(len(first)), use_cache=False, **padded(first))
    assert len(seen) == 2
    check(first, causal)


@pytest.mark.parametrize("first", PADDINGS.values(), ids=PADDINGS.keys())
def test_prefill(model, first):
    heads = model.config.num_attention_heads
    budgets = {"vertical": [31 + 3 * h % 20 for h in range(heads)], "slash": [101 + 2 * h % 9 for h in range(heads)]}
    under(model, PATTERN, {"params": budgets})(input_ids=tokens(len(first)), use_cache=False, **padded(first))
    check(first, lambda q, k, h: chosen(q, k, budgets["vertical"][h], budgets["slash"][h]))


def test_a_chunk_chooses_anew(model):
    cache, ids = DynamicCache(config=model.config), tokens(1, 260)
    under(model, PATTERN, {"params": {"vertical": 33, "slash": 103}})
    for part in (ids[:, :180], ids[:, 180:]):
        seen.clear()
        model(input_ids=part, past_key_values=cache)
        check([0], lambda q, k, h: chosen(q, k, 33, 103))


def test_steps_are_dense(model):
    given = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    asked = {"attention_mask": padded([0, 21])["attention_mask"], **given}
    with pytest.warns(UserWarning, match="chooses for the queries of a prompt") as caught:
        made = under(model, PATTERN, {"params": ALL}).generate(tokens(2), **asked)
    assert made.shape == (2, ROWS + 4)
    assert sum("dense attention" in str(w.message) for w in caught) == 1
    check_steps = [x for x in seen if x[0].shape[2] == 1]
    assert len(check_steps) == 2 * 3
    seen[:] = check_steps
    for query, key, value, out in seen:
        for b, start in enumerate((0, 21)):
            want, _ = subject.attend(query[b : b + 1], key[b : b + 1, :, start:], value[b : b + 1, :, start:],
                                     torch.ones((), dtype=torch.bool, device=DEVICE), query.shape[3] ** -0.5)  # fmt: skip
            torch.testing.assert_close(out[b : b + 1].double(), want, atol=4 * UNIT[query.dtype], rtol=4 * UNIT[query.dtype])
    again = under(model, PATTERN, {"params": ALL, "decode": "dense"}).generate(tokens(2), **asked)
    assert torch.equal(again, made)


def test_a_static_cache_without_padding(model):
    under(model, PATTERN, {"params": {"vertical": 33, "slash": 103}, "decode": "dense"})
    model.generate(tokens(1), max_new_tokens=2, do_sample=False, cache_implementation="static")
    for i, (query, key, value, out) in enumerate(seen):
        seen[i] = (query, key[:, :, :ROWS], value[:, :, :ROWS], out)
    seen[:] = [x for x in seen if x[0].shape[2] > 1]
    assert len(seen) == 2
    check([0], lambda q, k, h: chosen(q, k, 33, 103))


def test_a_profile_of_the_search(model, tmp_path):
    """Heads in turn by columns and diagonals for all keys, and by position."""
    heads = model.config.num_attention_heads
    kinds = (["vertical_and_slash", 1000, 6096, 1.0], ["stream_llm", 6, 40, 1.0])
    path = tmp_path / "searched.json"
    path.write_text(json.dumps([{str(h): kinds[h % 2] for h in range(heads)}] * model.config.num_hidden_layers))
    under(model, "minference", path)(input_ids=tokens(2), use_cache=False, **padded([0, 50]))

    def kept(q, k, h):
        own = torch.arange(len(q), device=q.device)[:, None] + len(k) - len(q) - torch.arange(len(k), device=q.device)
        return (own >= 0) & ((own < 40) | (torch.arange(len(k), device=q.device) < 6)) if h % 2 else causal(q, k, h)

    check([0, 50], kept)


def test_compiled_prefill(model):
    """Where nothing is padded the mask is none, in a graph too; without a cache transformers' mask would be that of packed texts.
    What inductor makes for the CPU takes long."""
    backend = "inductor" if DEVICE == "cuda" else "aot_eager"
    ids = tokens(1)
    asked = lambda: {"input_ids": ids, "past_key_values": DynamicCache(config=model.config)}
    model.set_attn_implementation(f"heddle:{PATTERN}")
    compiled = torch.compile(model.forward, fullgraph=True, backend=backend)

    def both(params):
        ht.configure(model, {"params": params})
        torch.compiler.reset()
        return model(**asked()).logits, compiled(**asked()).logits

    apart = lambda a, b: ((a - b).abs().amax(-1) > 0.02 * b.abs().max()).sum().item()
    dense, got = both(ALL)
    assert apart(got, dense) == 0
    # What is forced alone: graphs round otherwise, and a choice may hang on that.
    few, got = both({"vertical": FIRST_KEYS, "slash": NEAREST})
    assert apart(got, few) == 0 and apart(few, dense) > 0
