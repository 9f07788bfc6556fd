"""The folders of write-families.ts in; what transformers makes of each, in f32 on the CPU, out: the logits behind the prompt, and the
tokens that follow greedily.

python3 test/runtime/model/transformers_logits.py FOLDER test/fixtures/transformers-logits.json
"""

import json
import re
import sys
from pathlib import Path

import torch
import transformers

STEPS = 200


def recorded(place: Path) -> dict:
    case = json.loads((place / "case.json").read_text())
    model = transformers.AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, attn_implementation="eager").eval()
    prompt = torch.tensor([case["prompt"]])
    with torch.no_grad():
        logits = model(prompt).logits[0, -1]
        tokens, margins = case["prompt"][:], []
        # Each step anew, without a cache: a dynamic rope has other keys at other lengths.
        steps = case.pop("steps", 0 if model.config.rope_parameters["rope_type"] == "dynamic" else STEPS)
        for _ in range(steps):
            found = model(torch.tensor([tokens])).logits[0, -1]
            best = found.topk(2).values
            margins.append(((best[0] - best[1]) / found.abs().max()).item())
            tokens.append(int(found.argmax()))
    greedy = tokens[len(case["prompt"]) :]
    print(case["name"], "least margin", min(margins, default=None))
    return {**case, "logits": [float(f"{x:.7g}") for x in logits.tolist()], "greedy": greedy}


def main(folder: str, out: str) -> None:
    places = sorted(Path(folder).iterdir())
    made = {"transformers": transformers.__version__, "torch": torch.__version__, "models": [recorded(p) for p in places]}
    text = json.dumps(made, indent=1)
    # A list to a line.
    text = re.sub(r"\[\s+([-\d.,e\s]+?)\s+\]", lambda m: "[" + ", ".join(m[1].replace(",", " ").split()) + "]", text)
    Path(out).write_text(text + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
