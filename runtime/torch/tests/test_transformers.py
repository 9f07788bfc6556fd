"""Models of transformers on a GPU under `heddle:<pattern>`: logits against sdpa under the same mask in f32, with padding, with
growing and static caches, compiled, and generating.

HEDDLE_CASES: the folder of artefacts that test/torch-cases.ts wrote (default: out/torch-cases of the repository).
"""

from __future__ import annotations

import copy
import unittest
import warnings
from pathlib import Path

try:
    import pytest
    import subject
    import transformers
except ImportError as e:
    raise unittest.SkipTest(str(e)) from e

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, StaticCache

import heddle_torch as ht
from heddle_torch import layer
from heddle_torch.padding import lengths_of
from heddle_torch.profile import layer_of

if subject.DEVICE != "cuda" or int(transformers.__version__.split(".")[0]) < 5:
    raise unittest.SkipTest("there is no CUDA device, or transformers is older than 5")

NEEDLE = Path(__file__).resolve().parents[3] / "models/needle/model"
WINDOW, SINKS = 40, 6
PROFILE = {"params": {"window": WINDOW, "sinkTokens": SINKS}}


def llama8b_shaped() -> LlamaForCausalLM:
    """Heads as Llama 8B has them; two layers, and little else."""
    sizes = {"hidden_size": 4096, "intermediate_size": 2048, "num_hidden_layers": 2, "vocab_size": 1000}
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
    rope = {"rope_type": "default", "rope_theta": 500000.0}
    config = LlamaConfig(**sizes, **heads, max_position_embeddings=4096, rope_parameters=rope)
    torch.manual_seed(1)
    return LlamaForCausalLM(config)


def needle() -> LlamaForCausalLM:
    if not NEEDLE.exists():
        pytest.skip("models/needle/model is not there")
    return LlamaForCausalLM.from_pretrained(NEEDLE)


class Pair:
    """A model in 16 bits, and the same weights in f32 under sdpa."""

    def __init__(self, model: LlamaForCausalLM, dtype: torch.dtype) -> None:
        self.half = model.to("cuda", dtype).eval()
        self.exact = copy.deepcopy(self.half).float()
        self.exact.set_attn_implementation("sdpa")

    def under(self, name: str, profile: object = None) -> LlamaForCausalLM:
        self.half.set_attn_implementation(name)
        ht.configure(self.half, profile or {})
        return self.half


MODELS = {"needle-f16": (needle, torch.float16), "llama8b-bf16": (llama8b_shaped, torch.bfloat16)}


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS.keys())
def pair(request):
    for name in ("a-shape", "causal", "moa-span", "streaming-heads"):
        subject.load(name)
    ht.register()
    make, dtype = request.param
    return Pair(make(), dtype)


@pytest.fixture(autouse=True)
def strict():
    """No layer goes dense unless a test says so."""
    layer._said.clear()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("error", message="heddle.*dense attention")
        yield


def tokens(pair, batch, length):
    g = torch.Generator("cuda").manual_seed(5)
    return torch.randint(5, 700, (batch, length), generator=g, device="cuda")


def kept(first, length, window=WINDOW, sinks=SINKS):
    """Bool [batch, 1, length, length]: the pattern from each entry's first real token on; padding sees itself."""
    first = torch.tensor(first, device="cuda").view(-1, 1, 1, 1)
    at = torch.arange(length, device="cuda")
    q, kv = at.view(1, 1, -1, 1) - first, at.view(1, 1, 1, -1) - first
    seen = (kv >= 0) & (kv <= q) & ((q - kv < window) | (kv < sinks))
    return seen | (at.view(1, 1, -1, 1) == at.view(1, 1, 1, -1))


def padded(first, length):
    """The 2-D mask and the positions of texts that begin at `first`."""
    mask = (torch.arange(length, device="cuda") >= torch.tensor(first, device="cuda")[:, None]).long()
    return mask, (mask.cumsum(-1) - 1).clamp(min=0)


def logits(model, ids, mask=None, positions=None, **more):
    more["use_cache"] = "past_key_values" in more
    return model(input_ids=ids, attention_mask=mask, position_ids=positions, **more).logits.float()


def check(pair, got, ids, first, positions, rows=slice(None), seen=None):
    """Not more than twice as far from f32 as sdpa in 16 bits is, and a little; real rows only."""
    length = ids.shape[1]
    seen = kept(first, length) if seen is None else seen
    want = logits(pair.exact, ids, seen, positions)
    pair.half.set_attn_implementation("sdpa")
    plain = logits(pair.half, ids, seen, positions)
    real = padded(first, length)[0].bool()[:, rows]
    error = lambda x: (x[real] - want[:, rows][real]).abs().max().item()
    mine, theirs = error(got), error(plain[:, rows])
    print(f"  error {mine:.3e}, sdpa {theirs:.3e}, largest logit {want.abs().max().item():.2f}")
    assert mine <= 2 * theirs + 1e-4 * want.abs().max().item()


@pytest.mark.parametrize("first", [[0], [0, 0], [0, 37, 199]], ids=["one", "two", "left-padded"])
def test_prefill(pair, first):
    ids = tokens(pair, len(first), 256)
    mask, positions = padded(first, 256)
    got = logits(pair.under("heddle:a-shape", PROFILE), ids, mask, positions)
    check(pair, got, ids, first, positions)


def test_right_padding(pair):
    ids = tokens(pair, 2, 256)
    mask = torch.ones_like(ids)
    mask[1, 150:] = 0
    got = logits(pair.under("heddle:a-shape", PROFILE), ids, mask)
    check(pair, got[1:, :150], ids[1:, :150], [0], None)
    check(pair, got[:1], ids[:1], [0], None)


def stepped(model, cache, ids, mask, positions, start, chunk=None):
    """Logits from `start` on: a prefill, a chunk where one is asked for, then a token at a time."""
    cuts = [0, start, *([start + chunk] if chunk else [])]
    cuts += range(cuts[-1] + 1, ids.shape[1] + 1)
    parts = []
    for a, b in zip(cuts, cuts[1:]):
        parts.append(logits(model, ids[:, a:b], mask[:, :b], positions[:, a:b], past_key_values=cache))
    return torch.cat(parts[1:], 1)


@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.parametrize("first", [[0], [0, 37, 150]], ids=["one", "left-padded"])
@pytest.mark.parametrize("chunk", [None, 30])
def test_decode(pair, kind, first, chunk):
    ids = tokens(pair, len(first), 256)
    mask, positions = padded(first, 256)
    model = pair.under("heddle:a-shape", PROFILE)
    cache = DynamicCache(config=model.config) if kind == "dynamic" else StaticCache(config=model.config, max_cache_len=512)
    got = stepped(model, cache, ids, mask, positions, 200, chunk)
    check(pair, got, ids, first, positions, slice(200, None))


def test_compiled_decode(pair):
    """Static cache, CUDA graphs; then another window, which a compiled model has to notice."""
    ids = tokens(pair, 2, 224)
    mask, positions = padded([0, 30], 224)
    wide = torch.nn.functional.pad(mask, (0, 288), value=1)
    for window in (WINDOW, 9):
        model = pair.under("heddle:a-shape", {"params": {"window": window, "sinkTokens": SINKS}})
        cache = StaticCache(config=model.config, max_cache_len=512)
        logits(model, ids[:, :200], wide, positions[:, :200], past_key_values=cache)
        step = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True, dynamic=False)
        parts = []
        for at in range(200, 224):
            torch.compiler.cudagraph_mark_step_begin()
            out = step(
                input_ids=ids[:, at : at + 1].clone(), attention_mask=wide, position_ids=positions[:, at : at + 1].clone(),
                past_key_values=cache, use_cache=True,
            )  # fmt: skip
            parts.append(out.logits.float().clone())
        seen = kept([0, 30], 224, window)
        check(pair, torch.cat(parts, 1), ids, [0, 30], positions, slice(200, None), seen)


def test_captured_layer(pair):
    """Lengths and attention of a decode step in one CUDA graph, replayed further on."""
    sizes = pair.half.config
    shape = (sizes.num_key_value_heads, 512, sizes.head_dim)
    g = torch.Generator("cuda").manual_seed(2)
    draw = lambda *n: torch.randn(*n, generator=g, device="cuda").to(pair.half.dtype)
    q, k, v = draw(2, sizes.num_attention_heads, 1, sizes.head_dim), draw(2, *shape), draw(2, *shape)
    at, first = torch.tensor([100], device="cuda"), [0, 30]
    mask = padded(first, 512)[0].bool()
    own = layer_of({"pattern": "a-shape", **PROFILE}, 0, 1, q.shape[1], k.shape[1])
    step = lambda: layer.attend("heddle:a-shape", own, q, k, v, lengths_of(mask, 2, 1, at, "cuda")[0])
    step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = step()
    for place in (100, 101, 35, 511):
        at.fill_(place)
        graph.replay()
        seen = kept(first, 512)[:, :, place : place + 1]
        want = subject.attend(q, k, v, seen, sizes.head_dim**-0.5)[0]
        unit = 4 * subject.UNIT[q.dtype]
        torch.testing.assert_close(out.transpose(1, 2).double(), want, atol=unit, rtol=unit)


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_generate(pair, kind):
    """The tokens that greedy decoding finds are, at each step, as likely as the likeliest, to within the error of the dtype."""
    ids = tokens(pair, 2, 180)
    first = [0, 23]
    mask, _ = padded(first, 180)
    model = pair.under("heddle:a-shape", PROFILE)
    made = model.generate(
        ids, attention_mask=mask, max_new_tokens=20, min_new_tokens=20, do_sample=False,
        cache_implementation=None if kind == "dynamic" else "static",
    )  # fmt: skip
    assert made.shape == (2, 200)
    _, positions = padded(first, 200)
    want = logits(pair.exact, made, kept(first, 200), positions)[:, 179:199]
    want[..., [i for i in ends(model) if i < want.shape[-1]]] = -torch.inf  # not taken before the twentieth
    chosen = want.gather(-1, made[:, 180:, None])[..., 0]
    slack = 0.02 * want[want.isfinite()].abs().max()
    assert (chosen >= want.amax(-1) - slack).all()


def ends(model):
    found = model.generation_config.eos_token_id
    return found if isinstance(found, list) else [] if found is None else [found]


def test_layers_and_heads(pair):
    """A dense layer, then heads of two windows; and decoding dense."""
    config = pair.half.config
    group = config.num_attention_heads // config.num_key_value_heads
    own = {"heads": [{"heads": f"0-{group}", "pattern": "a-shape", "params": {"window": 4096}}]}
    wide = {"params": {"window": 4096, "sinkTokens": 0}, "layers": {"0": {"pattern": "dense"}, "1": own}}
    ids = tokens(pair, 2, 256)
    _, positions = padded([0, 0], 256)
    seen = kept([0, 0], 256, 4096)
    check(pair, logits(pair.under("heddle:a-shape", wide), ids), ids, [0, 0], positions, seen=seen)
    model = pair.under("heddle:causal", {"decode": "dense"})
    got = stepped(model, DynamicCache(config=model.config), ids, torch.ones_like(ids), positions, 250)
    check(pair, got, ids, [0, 0], positions, slice(250, None), seen)


def test_one_value_a_head(pair):
    """streaming-heads: all heads of retrieval see all, so the window of the rest does not matter."""
    heads = pair.half.config.num_attention_heads
    ids = tokens(pair, 1, 256)
    model = pair.under("heddle:streaming-heads", {"params": {"retrieval": [1] * heads, "recent": 1, "sinkTokens": 0}})
    check(pair, logits(model, ids), ids, [0], None, seen=kept([0], 256, 4096))
    model = pair.under("heddle:streaming-heads", {"params": {"retrieval": [0] * heads, "recent": WINDOW, "sinkTokens": SINKS}})
    check(pair, logits(model, ids), ids, [0], None)


def test_dense_where_it_must_be(pair):
    ids = tokens(pair, 2, 64)
    holes = torch.ones_like(ids)
    holes[1, 20] = 0
    model = pair.under("heddle:a-shape", PROFILE)
    with pytest.warns(UserWarning, match="mask is more than causal"):
        got = logits(model, ids, holes)
    check(pair, got[:1], ids[:1], [0], None, seen=kept([0], 64, 4096))
    model = pair.under("heddle:moa-span")
    mask, positions = padded([0, 9], 64)
    with pytest.warns(UserWarning, match="lengths on the host"):
        got = logits(model, ids, mask, positions)
    check(pair, got, ids, [0, 9], positions, seen=kept([0, 9], 64, 4096))
