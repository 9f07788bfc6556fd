"""Long-context tasks in the small language of language.json: (random generator, task, length) -> a text of exactly
that many tokens that hides facts in prose and asks for them at its end, and the places of the answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

CLASSES: dict[str, list[str]] = json.loads((Path(__file__).parent / "language.json").read_text())
WORDS = [word for words in CLASSES.values() for word in words]
ID = {word: place for place, word in enumerate(WORDS)}
PAD, BOS, EOS = ID["<pad>"], ID["<bos>"], ID["<eos>"]

# What a token is to the loss: not to be foretold (a name that is drawn), ordinary text, an answer, a copied word.
FREE, TEXT, ANSWER, COPIED = 0, 1, 2, 3


def of_class(name: str) -> np.ndarray:
    return np.array([ID[word] for word in CLASSES[name]])


NOUN, VERB, ADJECTIVE, ADVERB, PREPOSITION = map(of_class, ("noun", "verb", "adjective", "adverb", "preposition"))
FIRST, LAST, NUMBER, VARIABLE, LABEL = map(of_class, ("first", "last", "number", "variable", "label"))
NAME, KEYS = np.concatenate([FIRST, LAST]), len(FIRST) * len(LAST)


@dataclass(frozen=True)
class Piece:
    """Tokens that stay together, each with its kind; `answer` bounds the asked part of a question."""

    tokens: list[int]
    kinds: list[int]
    answer: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Text:
    tokens: np.ndarray
    kinds: np.ndarray
    answers: list[tuple[int, int]]  # half-open; tokens before the first bound are the prompt


@lru_cache(maxsize=None)
def form(text: str) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of a phrase and the places in it of what is drawn, written `_`."""
    words = text.split()
    return np.array([ID.get(word, PAD) for word in words]), np.array([i for i, w in enumerate(words) if w == "_"])


def phrases(text: str, drawn: np.ndarray, kinds: tuple[int, ...], answer: tuple[int, int] = (0, 0)) -> list[Piece]:
    """A piece for each row of `drawn`, which fills the blanks of the text; `kinds` are those of the blanks."""
    tokens, blanks = form(text)
    rows, row_kinds = np.tile(tokens, (len(drawn), 1)), np.full(len(tokens), TEXT)
    rows[:, blanks], row_kinds[blanks] = drawn, kinds
    shared = row_kinds.tolist()
    return [Piece(row, shared, answer) for row in rows.tolist()]


def names_and_numbers(rng: np.random.Generator, count: int) -> np.ndarray:
    """`count` keys of two names, no two alike (either name alone may recur), and for each two numbers."""
    keys = rng.choice(KEYS, count, replace=False)
    numbers = NUMBER[rng.integers(len(NUMBER), size=(count, 2))]
    return np.column_stack([FIRST[keys // len(LAST)], LAST[keys % len(LAST)], numbers])


def codes(rng: np.random.Generator, count: int, _size: int) -> tuple[list[Piece], list[Piece]]:
    rows, asked = names_and_numbers(rng, count), (FREE, FREE, ANSWER, ANSWER)
    facts = phrases("the code of _ _ is _ _ .", rows, (FREE,) * 4)
    return facts, phrases("ask the code of _ _ is _ _ .", rows, asked, (7, 9))


def pairs(rng: np.random.Generator, count: int, _size: int) -> tuple[list[Piece], list[Piece]]:
    rows, asked = names_and_numbers(rng, count), (FREE, FREE, ANSWER, ANSWER)
    return phrases("_ _ : _ _ ;", rows, (FREE,) * 4), phrases("ask _ _ : _ _ ;", rows, asked, (4, 6))


def chains(rng: np.random.Generator, count: int, hops: int) -> tuple[list[Piece], list[Piece]]:
    """Each chain sets a variable to a number and `hops` times another to the last one; the question names the last
    and its answer walks back, so every step of the answer is one look-up at another place."""
    variables = VARIABLE[rng.permutation(len(VARIABLE))[: count * (hops + 1)]].reshape(count, hops + 1)
    numbers = NUMBER[rng.integers(len(NUMBER), size=(count, 2))]
    links = [phrases("set _ = _ _ .", np.column_stack([variables[:, 0], numbers]), (FREE,) * 3)]
    for link in range(1, hops + 1):
        links.append(phrases("set _ = _ .", variables[:, [link, link - 1]], (FREE,) * 2))
    facts, done = [], [0] * count
    for chain in rng.permutation(np.repeat(np.arange(count), hops + 1)).tolist():
        facts.append(links[done[chain]][chain])
        done[chain] += 1
    asked = np.column_stack([variables[:, ::-1], numbers])
    kinds = (FREE, *(ANSWER,) * (hops + 2))
    return facts, phrases("ask" + " _ =" * (hops + 1) + " _ _ .", asked, kinds, (3, 2 * hops + 5))


def spans(rng: np.random.Generator, count: int, size: int) -> tuple[list[Piece], list[Piece]]:
    """Labelled spans of names. No two neighbours stand together twice in a text (the colon counts as a neighbour), so
    that two tokens always tell the next; a single one does not."""
    words = rng.integers(len(NAME), size=(count, size))
    while True:
        before = np.column_stack([np.full(count, len(NAME)), words[:, :-1]])
        codes_of = (before * (len(NAME) + 1) + words).ravel()
        repeated = np.ones(len(codes_of), bool)
        repeated[np.unique(codes_of, return_index=True)[1]] = False
        if not repeated.any():
            break
        words.ravel()[repeated] = rng.integers(len(NAME), size=int(repeated.sum()))
    labels = LABEL[rng.permutation(len(LABEL))[:count]]
    rows, blanks = np.column_stack([labels, NAME[words]]), " _" * size
    questions = phrases(f"ask span _ :{blanks} .", rows, (FREE, *(COPIED,) * size), (4, size + 5))
    for question in questions[:1]:
        question.kinds[-1] = COPIED  # of all of them, since they share it: where a span ends is a part of the answer
    return phrases(f"span _ :{blanks} .", rows, (FREE,) * (size + 1)), questions


@dataclass(frozen=True)
class Task:
    """`build(rng, needles, size)` gives the facts in their order and one question a needle; a needle's facts and its
    question take `fact(size)` and `question(size)` tokens."""

    build: Callable[[np.random.Generator, int, int], tuple[list[Piece], list[Piece]]]
    sizes: tuple[int, int]
    fact: Callable[[int], int]
    question: Callable[[int], int]
    supply: Callable[[int], int]  # most needles of one text
    share: float  # of the training texts
    test_size: int
    test_needles: Callable[[int], int]  # by length; cut to what fits
    test_questions: int


TASKS = {
    "single": Task(codes, (0, 0), lambda s: 9, lambda s: 10, lambda s: 1, 0.05, 0, lambda n: 1, 1),
    "multi": Task(codes, (0, 0), lambda s: 9, lambda s: 10, lambda s: KEYS, 0.25, 0, lambda n: n // 64, 8),
    "recall": Task(pairs, (0, 0), lambda s: 6, lambda s: 7, lambda s: KEYS, 0.25, 0, lambda n: n, 8),
    "track": Task(
        chains, (1, 4), lambda s: 6 + 5 * s, lambda s: 6 + 2 * s, lambda s: len(VARIABLE) // (s + 1), 0.25, 4,
        lambda n: n // 256, 4,
    ),
    "copy": Task(
        spans, (8, 24), lambda s: s + 4, lambda s: s + 5, lambda s: len(LABEL), 0.15, 16, lambda n: n // 128, 4
    ),
    "prose": Task(lambda *_: ([], []), (0, 0), lambda s: 0, lambda s: 0, lambda s: 0, 0.05, 0, lambda n: 0, 0),
}  # fmt: skip
ASKING = [name for name, task in TASKS.items() if task.test_questions]


SENTENCES = [
    "the adjective noun verb the other .",
    "a noun verb preposition the adjective other .",
    "adverb the noun verb a other and verb the third .",
    "while the noun verb the other a adjective third verb .",
]
LONGEST = max(len(sentence.split()) for sentence in SENTENCES)


def sentences(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of so many sentences and the end of each. A noun mostly does what it mostly does, and an adjective
    and a preposition go with theirs, so that there is something to learn."""
    noun, other, third = rng.integers(len(NOUN), size=(3, count))

    def mostly(usual: np.ndarray, words: np.ndarray) -> np.ndarray:
        return words[np.where(rng.random(count) < 0.75, usual, rng.integers(1 << 20, size=count)) % len(words)]

    slots = {
        "noun": NOUN[noun], "other": NOUN[other], "third": NOUN[third], "verb": mostly(5 * noun + 3, VERB),
        "adjective": mostly(7 * noun + 1, ADJECTIVE), "preposition": mostly(3 * noun + 2, PREPOSITION),
        "adverb": mostly(noun, ADVERB),
    }  # fmt: skip
    rows, which = np.full((count, LONGEST), -1), rng.integers(len(SENTENCES), size=count)
    for number, sentence in enumerate(SENTENCES):
        chosen = which == number
        for column, word in enumerate(sentence.split()):
            rows[chosen, column] = slots[word][chosen] if word in slots else ID[word]
    used = rows >= 0
    return rows[used], np.cumsum(used.sum(axis=1))


class Prose:
    """Hands out stretches of prose of any length that end with a sentence; made in large pieces, which is faster."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.tokens, self.ends, self.used = np.zeros(0, np.int64), np.zeros(0, np.int64), 0

    def take(self, room: int) -> tuple[list[int], np.ndarray]:
        """`room` tokens, and the places in them where a sentence may be put in."""
        if self.used + room + LONGEST > len(self.tokens):
            self.tokens, self.ends = sentences(self.rng, max(4096, room))
            self.used = 0
        last = np.searchsorted(self.ends, self.used + room)
        start, self.used = self.ends[last] - room, self.ends[last]
        first = np.searchsorted(self.ends, start)
        return self.tokens[start : self.used].tolist(), self.ends[first : last + 1] - start


def assemble(rng: np.random.Generator, prose: Prose, length: int, facts: list[Piece], questions: list[Piece]) -> Text:
    """Bos, prose with the facts between its sentences at random depths in their order, the questions, eos. The prose
    begins within a sentence, so that any length is met exactly."""
    room = length - 2 - sum(len(piece.tokens) for piece in [*facts, *questions])
    if room < 0:
        raise ValueError(f"facts and questions need {-room} tokens more than the {length} there are")
    words, ends = prose.take(room)
    depths = np.sort(ends[rng.integers(len(ends), size=len(facts))]).tolist()
    tokens: list[int] = [BOS]
    kinds: list[int] = [FREE]
    done = 0
    for fact, depth in zip(facts, depths):
        tokens += words[done:depth]
        kinds += [TEXT] * (depth - done)
        tokens += fact.tokens
        kinds += fact.kinds
        done = depth
    tokens += words[done:]
    kinds += [TEXT] * (room - done)
    answers = []
    for question in questions:
        answers.append((len(tokens) + question.answer[0], len(tokens) + question.answer[1]))
        tokens += question.tokens
        kinds += question.kinds
    return Text(np.array([*tokens, EOS], np.uint16), np.array([*kinds, TEXT], np.uint8), answers)


def make(
    rng: np.random.Generator, prose: Prose, name: str, length: int, needles: int, questions: int, size: int
) -> Text:
    """`needles` facts, of which `questions` are asked, in random order."""
    facts, asked = TASKS[name].build(rng, needles, size)
    order = rng.permutation(len(asked))[:questions].tolist()
    return assemble(rng, prose, length, facts, [asked[place] for place in order])


def test_text(rng: np.random.Generator, prose: Prose, name: str, length: int) -> Text:
    task = TASKS[name]
    size = task.test_size
    fits = (length - 2 - task.test_questions * task.question(size)) // task.fact(size)
    needles = min(task.test_needles(length), fits, task.supply(size))
    return make(rng, prose, name, length, needles, min(task.test_questions, needles), size)


def training_text(rng: np.random.Generator, prose: Prose, name: str, length: int) -> Text:
    """Mostly as many questions as needles (the most that a text can teach), sometimes few in a full haystack (what a
    test looks like); from one needle to as many as fit, and often just that many."""
    task = TASKS[name]
    if name == "prose":
        return make(rng, prose, name, length, 0, 0, 0)
    size = int(rng.integers(task.sizes[0], task.sizes[1] + 1))
    fact, question, room = task.fact(size), task.question(size), length - 2
    if few := rng.random() < 0.3:
        asked = min(int(rng.integers(1, 9)), room // (fact + question))
        fits = (room - asked * question) // fact
    else:
        fits = room // (fact + question)
    most = min(fits, task.supply(size))
    needles = most if rng.random() < 0.4 else int(rng.integers(1, most + 1))
    return make(rng, prose, name, length, needles, min(asked, needles) if few else needles, size)


def training_batch(rng: np.random.Generator, length: int, tokens: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texts of `length` + 1 tokens (inputs and, one on, targets), `tokens` inputs in all: tokens, kinds, tasks."""
    names, prose = list(TASKS), Prose(rng)
    drawn = rng.choice(len(names), size=max(1, tokens // length), p=[task.share for task in TASKS.values()])
    texts = [training_text(rng, prose, names[task], length + 1) for task in drawn]
    return np.stack([text.tokens for text in texts]), np.stack([text.kinds for text in texts]), drawn.astype(np.uint8)
