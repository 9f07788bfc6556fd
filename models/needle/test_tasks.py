"""Laws of the generated texts, checked with numpy alone: python3 models/needle/test_tasks.py"""

from __future__ import annotations

import unittest
from collections import defaultdict

import numpy as np
from tasks import (
    ANSWER, ASKING, BOS, CLASSES, COPIED, EOS, FREE, ID, TASKS, TEXT, WORDS, Prose, Text, test_text, training_batch,
    training_text,
)  # fmt: skip

LENGTHS = [256, 1025, 4097, 16384]


def words_of(text: Text, begin: int = 0, end: int | None = None) -> str:
    return " ".join(WORDS[token] for token in text.tokens[begin:end])


def answer_by_reading(body: list[str], question: str) -> str:
    """Finds the answer with string search only, and fails unless the text gives exactly one."""
    if question.startswith("ask span"):
        label = question.split()[2]
        found = [s.split(" : ")[1] + " ." for s in body if s.startswith(f"span {label} :")]
    elif question.endswith(("is", ":")):
        found = [s.removeprefix(question[4:] + " ") for s in body if s.startswith(question[4:] + " ")]
    else:
        said, name = [], question.split()[1]
        while name.startswith("x"):
            (value,) = [s.removeprefix(f"set {name} = ") for s in body if s.startswith(f"set {name} = ")]
            said.append(value)
            name = value
        found = [" = ".join(said)]
    (answer,) = found
    return answer


class Texts(unittest.TestCase):
    def each(self):
        rng = np.random.default_rng(7)
        prose = Prose(rng)
        for length in LENGTHS:
            for name in TASKS:
                for _ in range(6 if length < 16384 else 2):
                    yield name, length, training_text(rng, prose, name, length)
                if name in ASKING:
                    yield name, length, test_text(rng, prose, name, length)

    def test_words_are_distinct_and_few(self):
        self.assertEqual(len(ID), len(WORDS))
        self.assertLess(len(WORDS), 4096)
        self.assertFalse(any(" " in word for word in WORDS))

    def test_length_and_ends(self):
        for _name, length, text in self.each():
            self.assertEqual((len(text.tokens), len(text.kinds)), (length, length))
            self.assertEqual((text.tokens[0], text.tokens[-1]), (BOS, EOS))
            self.assertFalse(np.isin(text.tokens[1:-1], [BOS, EOS]).any())

    def test_each_answer_is_in_the_text_once(self):
        for name, _length, text in self.each():
            if name == "prose":
                self.assertEqual(text.answers, [])
                continue
            self.assertTrue(text.answers)
            asks = np.flatnonzero(text.tokens == ID["ask"])
            self.assertEqual(len(asks), len(text.answers))
            body = f" {words_of(text, 1, asks[0])} ".replace(" ; ", " ;\n").replace(" . ", " .\n").split("\n")
            body = [sentence.strip().removesuffix(" .").removesuffix(" ;") for sentence in body]
            for ask, (begin, end) in zip(asks, text.answers):
                said = words_of(text, begin, end)
                self.assertEqual(answer_by_reading(body, words_of(text, ask, begin)), said)

    def test_kinds_mark_the_answers(self):
        for name, _length, text in self.each():
            marked = np.zeros(len(text.tokens), bool)
            for begin, end in text.answers:
                marked[begin:end] = True
            learnt = text.kinds >= ANSWER
            self.assertFalse((learnt & ~marked).any())
            left = text.tokens[marked & ~learnt]
            self.assertTrue((left == ID["="]).all() and (name == "track" or len(left) == 0))
            self.assertEqual((text.kinds == COPIED).any(), name == "copy")
            classes = ("first", "last", "number", "variable", "label")
            drawn = np.isin(text.tokens, [ID[word] for name_ in classes for word in CLASSES[name_]])
            self.assertFalse((drawn & (text.kinds == TEXT)).any())
            self.assertTrue((drawn | (text.kinds != FREE) | (text.tokens == BOS)).all())

    def test_two_tokens_tell_the_next_of_a_copy(self):
        rng = np.random.default_rng(3)
        for _ in range(20):
            text = training_text(rng, Prose(rng), "copy", 2048)
            follows = defaultdict(set)
            for place in range(2, len(text.tokens)):
                if text.kinds[place] == COPIED and WORDS[text.tokens[place - 1]] != ":":
                    follows[tuple(text.tokens[place - 2 : place])].add(text.tokens[place])
            self.assertTrue(follows and all(len(after) == 1 for after in follows.values()))

    def test_depths_are_spread(self):
        rng = np.random.default_rng(5)
        prose = Prose(rng)
        depths = []
        for _ in range(400):
            text = test_text(rng, prose, "single", 1024)
            depths.append(np.flatnonzero(text.tokens == ID["code"])[0] / 1024)
        counts = np.histogram(depths, bins=4, range=(0, 1))[0]
        self.assertTrue((counts > 70).all(), counts)

    def test_same_seed_same_batch(self):
        one, two, other = (training_batch(np.random.default_rng(seed), 256, 8192) for seed in (1, 1, 2))
        for a, b in zip(one, two):
            np.testing.assert_array_equal(a, b)
        self.assertFalse(np.array_equal(one[0], other[0]))
        self.assertEqual(one[0].shape, (32, 257))


if __name__ == "__main__":
    unittest.main()
