"""Weights and language -> a Hugging Face folder: config, f16 safetensors, a word-level tokenizer, generation settings.
A later export replaces an earlier one file by file, so that a run cut off leaves a whole model."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from model import Config, Llama
from safetensors.torch import save_file
from tasks import BOS, CLASSES, EOS, ID, PAD

SPECIAL = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), CLASSES["special"], strict=True))


def vocabulary(size: int) -> dict[str, int]:
    """Words by id. Rows of the embedding that have no word are named, since loaders ask that the two agree."""
    return ID | {f"<unused{place}>": place for place in range(len(ID), size)}


def tokenizer(size: int) -> dict[str, object]:
    added = [
        {"id": ID[word], "content": word, "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False, "special": True}
        for word in CLASSES["special"]
    ]
    first = {"SpecialToken": {"id": "<bos>", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [first, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [BOS], "tokens": ["<bos>"]}},
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary(size), "unk_token": "<unk>"},
    }


def files(config: Config) -> dict[str, object]:
    """Every JSON file of the folder by name."""
    return {
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": config.vocab_size,
            "hidden_size": config.hidden_size,
            "intermediate_size": config.intermediate_size,
            "num_hidden_layers": config.num_hidden_layers,
            "num_attention_heads": config.num_attention_heads,
            "num_key_value_heads": config.num_key_value_heads,
            "head_dim": config.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": config.max_position_embeddings,
            "rms_norm_eps": config.rms_norm_eps,
            # The same number twice: transformers reads the second from version 5 on.
            "rope_theta": config.rope_theta,
            "rope_parameters": {
                "rope_theta": config.rope_theta,
                "rope_type": "dynamic",
                "factor": config.rope_factor,
            },
            "attention_bias": False,
            "attention_dropout": 0.0,
            "mlp_bias": False,
            "tie_word_embeddings": True,
            "initializer_range": 0.02,
            "use_cache": True,
            "bos_token_id": BOS,
            "eos_token_id": EOS,
            "pad_token_id": PAD,
            "torch_dtype": "float16",
        },
        # An answer ends with its full stop or semicolon; what follows would be the next question.
        "generation_config.json": {
            "bos_token_id": BOS,
            "eos_token_id": [EOS, ID["."], ID[";"]],
            "pad_token_id": PAD,
            "do_sample": False,
        },
        "tokenizer.json": tokenizer(config.vocab_size),
        "tokenizer_config.json": SPECIAL
        | {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": int(config.max_position_embeddings * config.rope_factor),
            "clean_up_tokenization_spaces": False,
            "chat_template": "{{ bos_token }} {% for message in messages %}{{ message['content'] }} {% endfor %}",
        },
    }


def write_text(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text + "\n")
    os.replace(partial, path)


def export(model: Llama, folder: Path) -> dict[str, torch.Tensor]:
    """Writes the folder and returns the weights as written."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files(model.config).items():
        write_text(folder / name, json.dumps(value, indent=1))
    weights = {name: value.detach().half().cpu().contiguous() for name, value in model.state_dict().items()}
    partial = folder / "model.safetensors.partial"
    save_file(weights, partial, metadata={"format": "pt"})
    os.replace(partial, folder / "model.safetensors")
    return weights


def write_log(folder: Path, log: dict) -> None:
    """Indented, with a row of the curve to a line."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in log["curve"])
    text = json.dumps({**log, "curve": "CURVE"}, indent=1).replace('"CURVE"', f"[\n{rows}\n ]" if rows else "[]")
    write_text(folder / "training.json", text)
