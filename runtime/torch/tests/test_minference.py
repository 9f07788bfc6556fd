"""Files of MInference's search on their way in: what is refused, with which code, and which layer and head it names."""

from __future__ import annotations

import unittest

import handmade  # noqa: F401, finds the package

from heddle_torch.errors import HeddleError
from heddle_torch.minference import profile_of, read_profile


class SearchFiles(unittest.TestCase):
    def raises(self, code, f, *args):
        with self.assertRaises(HeddleError) as caught:
            f(*args)
        self.assertEqual(caught.exception.code, code)
        return str(caught.exception)

    def test_refused(self):
        good = ["stream_llm", 1, 1, 0.5]
        for given, code in (
            ("no-such-file", "profile-file"),
            ([[good]], "profile-file"),
            ([{"0": good[:3]}], "profile-file"),
            ([{"0": [*good[:3], "much"]}], "profile-file"),
            ([{"1": good}], "profile-head"),
            ([{"0": ["flex_vertical_and_slash", 1, 1, 0.5]}], "profile-type"),
            ([{"0": ["stream_llm", 1, 0, 0.5]}], "profile-number"),
            ([{"0": ["block_sparse", 1.5, 0, 0.5]}], "profile-number"),
        ):
            self.raises(code, read_profile, given)
        self.assertIn("layer 1, head 2", self.raises("profile-number", read_profile, [{}, {"0": good, "1": good, "2": ["block_sparse", -1, 0, 1]}]))

    def test_sizes_of_the_model(self):
        good = {"0": ["stream_llm", 1, 2, 0.5], "1": ["block_sparse", 1, 2, 0.5]}
        made = profile_of([good] * 3, 3, 2)
        self.assertEqual(made["layers"]["2"]["params"]["window"], [2, 0])
        self.assertIs(profile_of(made, 5, 5), made)
        self.assertIn("3 layers", self.raises("profile-size", profile_of, [good] * 3, 4, 2))
        self.assertIn("2 heads in layer 0", self.raises("profile-size", profile_of, [good] * 3, 3, 4))


if __name__ == "__main__":
    unittest.main()
