"""Profiles of layers whose heads several processes share, without torch: each part has what the whole says of its heads."""

from __future__ import annotations

import unittest

from handmade import manifest  # noqa: F401 - puts the package on the path
from heddle_torch.errors import HeddleError
from heddle_torch.profile import layer_of

PROFILE = {
    "pattern": "streaming-heads",
    "params": {"retrieval": [1, 0, 0, 1, 1, 1, 0, 0], "recent": 20},
    "heads": [{"heads": "5", "pattern": "a-shape", "params": {"window": 9}}],
}
Q_HEADS, KV_HEADS = 8, 4


def heads_of(parts: int, index: int):
    """Of each head of the layer: its pattern, its own value, its window; with the key-value head that it reads."""
    found = {}
    for run in layer_of(PROFILE, 0, 1, Q_HEADS, KV_HEADS, (index, parts)).runs:
        first, kv_first = run.part or (0, 0)
        for place, head in enumerate(range(*run.heads)):
            values = run.params.get("retrieval")
            value = values[place] if isinstance(values, list) else values
            group = (run.heads[1] - run.heads[0]) // (run.kv_heads[1] - run.kv_heads[0])
            kv = kv_first + run.kv_heads[0] + place // group
            found[first + head] = (run.pattern, value, run.params.get("window"), kv)
    return found


class Parts(unittest.TestCase):
    def test_parts_are_the_whole(self):
        whole = heads_of(1, 0)
        self.assertEqual(sorted(whole), list(range(Q_HEADS)))
        self.assertEqual(whole[5], ("a-shape", None, 9, 2))
        for parts in (2, 4):
            together = {}
            for index in range(parts):
                own = heads_of(parts, index)
                self.assertEqual(sorted(own), list(range(index * Q_HEADS // parts, (index + 1) * Q_HEADS // parts)))
                together.update(own)
            self.assertEqual(together, whole)

    def test_the_least_of_keys(self):
        profile = {**PROFILE, "min_tokens": 100, "layers": {"1": {"min_tokens": 0}}}
        self.assertEqual([layer_of(profile, i, 2, Q_HEADS, KV_HEADS).min_tokens for i in range(2)], [100, 0])
        for wrong in (-1, 1.5, True, "8"):
            with self.assertRaisesRegex(HeddleError, "min_tokens.*expected a whole number of at least 0"):
                layer_of({**PROFILE, "min_tokens": wrong}, 0, 1, Q_HEADS, KV_HEADS)

    def test_one_process_has_no_part(self):
        self.assertTrue(all(run.part is None for run in layer_of(PROFILE, 0, 1, Q_HEADS, KV_HEADS).runs))


if __name__ == "__main__":
    unittest.main()
