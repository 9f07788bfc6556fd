"""A counts file of short cases in; a line for every mask_mod of bench/cuda that keeps other pairs than the pattern, out."""

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench" / "cuda"))

from cases import expand, read_cases  # noqa: E402
from masks import MASKS  # noqa: E402

checked = 0
for case in read_cases(Path(sys.argv[1]))[0]:
    start = case.kv_len - case.q_len
    for ours in case.ours:
        tables = {name: expand(runs) for name, runs in ours.tables.items()}
        keeps = MASKS[ours.pattern](ours.params, tables, case.group)
        for sample in ours.counts.samples:
            for row, kept, total in zip(sample["rows"], sample["kept"], sample["sums"]):
                keys = [kv for kv in range(case.kv_len) if keeps(0, sample["head"], start + row, kv)]
                checked += 1
                if (len(keys), sum(keys)) != (kept, total):
                    print(f"{case.name}, {ours.pattern}, head {sample['head']}, row {row}: {len(keys)} keys, not {kept}")
print(f"{checked} rows")
