"""The parts of bench/cuda that need no GPU: `python3 -m unittest discover -s test/bench -p '*_test.py'`."""

import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench" / "cuda"))

from cases import Case, Counts, Ours  # noqa: E402
from figures import Measured, Timed, median, rounded, rows_of, spread  # noqa: E402
from roofline import points_of  # noqa: E402
from sanitize import noise, table_words  # noqa: E402


def case(name="causal, N 1k", ours=(), q_len=1024, **other):
    sizes = {"batch": 1, "q_heads": 32, "kv_heads": 8, "q_len": q_len, "kv_len": 1024, "head_dim": 128}
    return Case(**{**sizes, "name": name, "peers": [], "ours": ours, "note": None, **other})


def ours(pattern="causal", kept=1_000_000, keys=32 * 1024, visited=100, goals=()):
    counts = Counts(kept, keys, {"128x64": {"needed": 90, "visited": visited}}, [])
    return Ours(pattern, None, {}, {}, list(goals), None, counts)


def measured(ms, mine=None, **about):
    mine = mine or ours()
    return Measured(about.pop("case", case(ours=[mine])), mine, "d128-bf16-hopper", (128, 64), Timed("x", [ms]), **about)


class Numbers(unittest.TestCase):
    def test_medians_of_odd_and_even_counts(self):
        self.assertEqual(median([3.0, 1.0, 2.0]), 2.0)
        self.assertEqual(median([4.0, 1.0, 2.0, 3.0]), 2.5)

    def test_spread_leaves_out_the_ends(self):
        times = [1.0] * 2 + [10.0] * 18 + [100.0] * 1
        self.assertEqual(spread(times), 0.0)
        self.assertAlmostEqual(spread([9.0, 10.0, 11.0]), 0.2)

    def test_four_digits_at_every_depth_and_no_more_zeros(self):
        self.assertEqual(rounded({"a": [1.23456, 2.0], "b": 131072}), {"a": [1.235, 2], "b": 131072})

    def test_a_rate_counts_both_products(self):
        # 4 * 128 * 1e6 operations in one millisecond.
        self.assertAlmostEqual(measured(1.0).kept_rate, 0.512)

    def test_visited_pairs_are_those_of_whole_tiles_and_real_rows(self):
        mine = ours()
        self.assertEqual(case().visited_pairs(mine, (128, 64)), 100 * 128 * 64)
        self.assertEqual(case(q_len=1).visited_pairs(mine, (128, 64)), 100 * 64)
        self.assertIsNone(case().visited_pairs(mine, (64, 64)))

    def test_bytes_count_keys_once_a_kv_head(self):
        # 32 query heads that read 1024 keys each share 8 kv heads; queries and outputs once each.
        self.assertEqual(case().bytes(ours()), 2 * 128 * 2 * (8 * 1024 + 32 * 1024))


class Rows(unittest.TestCase):
    def test_one_row_a_peer_with_ratio_and_goal(self):
        mine = ours(goals=[{"kind": "peer", "peer": "cuDNN", "least": 0.97}])
        rows = rows_of(measured(2.0, mine), [Timed("cuDNN", [1.9]), Timed("FlashAttention-2", [4.0])], {})
        self.assertEqual([row["ratio"] for row in rows], [0.95, 2])
        self.assertEqual(rows[0]["limit"], "0.97 x cuDNN")
        self.assertIs(rows[0]["ok"], False)
        self.assertNotIn("limit", rows[1])
        self.assertEqual(rows[0]["tiles"], {"needed": 2.812, "visited": 3.125})
        self.assertEqual(rows[0]["target"], "cuda d128-bf16-hopper")

    def test_a_flex_setting_is_still_flex(self):
        mine = ours(goals=[{"kind": "peer", "peer": "FlexAttention", "least": 1.5}])
        [row] = rows_of(measured(2.0, mine), [Timed("FlexAttention (USE_TMA)", [3.0], None, {"block mask": 5.5})], {})
        self.assertIs(row["ok"], True)
        self.assertEqual(row["more"]["peer's block mask ms"], 5.5)

    def test_a_goal_of_no_peer_stands_in_the_first_row(self):
        dense = measured(1.0)
        goals = [{"kind": "visited rate", "of": "dense", "least": 0.85}]
        slow = measured(1.2, ours("power", goals=goals))
        peers = [Timed("cuDNN", [1.0]), Timed("FlexAttention (default)", [1.0])]
        first, second = rows_of(slow, peers, {"dense": dense})
        self.assertIs(first["ok"], False)
        self.assertNotIn("ok", second)
        fast = measured(1.1, ours("power", goals=goals))
        self.assertIs(rows_of(fast, [], {"dense": dense})[0]["ok"], True)
        # Not measured in this run: nothing is claimed.
        self.assertNotIn("ok", rows_of(fast, [], {})[0])

    def test_kept_rates_are_compared_on_kept_pairs(self):
        dense = measured(1.0)
        goals = [{"kind": "kept rate", "of": "dense", "least": 0.5}]
        half = measured(1.0, ours("strided", kept=500_000, goals=goals))
        self.assertIs(rows_of(half, [], {"dense": dense})[0]["ok"], True)
        less = measured(1.0, ours("strided", kept=490_000, goals=goals))
        self.assertIs(rows_of(less, [], {"dense": dense})[0]["ok"], False)

    def test_time_over_bytes_leaves_the_launch_floor_aside(self):
        goals = [{"kind": "bytes", "of": "dense", "most": 1.3}]
        mine = ours("a-shape", keys=32 * 128, goals=goals)
        dense = measured(1.0, ours(keys=32 * 1024), case=case(q_len=1))
        about = {"case": case("sparse", q_len=1), "floor_ms": 0.1}
        # An eighth of the bytes, but for queries and outputs.
        good = rows_of(measured(0.1 + 0.9 / 8, mine, **about), [], {"dense": dense})[0]
        self.assertIs(good["ok"], True)
        self.assertAlmostEqual(good["more"]["time / bytes"], 1.0, delta=0.05)
        about = {"case": case("sparse", q_len=1), "floor_ms": 0.1}
        self.assertIs(rows_of(measured(0.3, mine, **about), [], {"dense": dense})[0]["ok"], False)

    def test_patterns_that_share_a_case_are_named(self):
        both = case("documents", ours=[ours("document"), ours("document-starts")])
        names = [rows_of(measured(1.0, o, case=both), [], {})[0]["case"] for o in both.ours]
        self.assertEqual(names, ["documents: document", "documents: document-starts"])


class Roofline(unittest.TestCase):
    def test_one_point_a_kernel_with_the_rates_of_its_peers(self):
        peers = [Timed("cuDNN", [1.0]), Timed("FlexAttention (128x64, 8 warps)", [2.0])]
        rows = rows_of(measured(1.0), peers, {})
        [point] = points_of(rows)
        self.assertEqual(set(point.peers), {"cuDNN", "FlexAttention"})
        self.assertAlmostEqual(point.peers["FlexAttention"], 0.256)
        self.assertAlmostEqual(point.intensity, rows[0]["more"]["FLOP/byte"])

    def test_decoding_lies_at_the_ratio_of_its_rates(self):
        rows = rows_of(measured(0.001, case=case(q_len=1)), [], {})
        [point] = points_of(rows)
        mine = case(q_len=1)
        self.assertAlmostEqual(point.intensity, mine.flops(1_000_000) / mine.bytes(ours()), delta=point.intensity / 500)


class Sanitizer(unittest.TestCase):
    def test_noise_is_finite_and_of_both_signs(self):
        import random

        for dtype, bits in (("bf16", 7), ("f16", 10)):
            made = noise(200, dtype, random.Random(1))
            exponents = {(x & 0x7FFF) >> bits for x in made}
            self.assertLess(max(exponents), (1 << (15 - bits)) - 1)
            self.assertEqual({x >> 15 for x in made}, {0, 1})

    def test_tables_of_starts_do_not_fall(self):
        from heddle_torch.call import Sizes

        info = {"name": "docStart", "dims": ["batch", "kvLen"], "type": "i32", "monotone": True}
        row = list(table_words(info, Sizes(1, 1, 1, 120, 120, 64, 64)))
        self.assertEqual(row, sorted(row))
        self.assertTrue(all(start <= i for i, start in enumerate(row)))


if __name__ == "__main__":
    unittest.main()
