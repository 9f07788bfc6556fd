/**
 * A task, a length and a seed in, a test text of the needle model out, and the places of its answers. The tasks are
 * those of models/needle/tasks.py, which the model was trained on; the random numbers, and so the texts, are others.
 */

import language from '../../models/needle/language.json' with { type: 'json' }
import { seededRandom } from '../../runtime/testing/draw.ts'

/** Words by class, in the order of their ids: models/needle/language.json. */
export type WordClasses = Readonly<Record<string, readonly string[]>>

export interface Answer {
  /** Tokens before it are the prompt. */
  readonly begin: number
  readonly end: number
  /** Tokens from the farthest fact that it rests on to its own first one. */
  readonly distance: number
}

export interface NeedleText {
  readonly words: readonly string[]
  readonly tokens: Int32Array
  /** The first sees no other answer in its prompt; greedy decoding of it must give exactly these tokens. */
  readonly answers: readonly Answer[]
}

interface Question {
  readonly prompt: readonly string[]
  readonly answer: readonly string[]
  readonly stop: readonly string[]
  /** Which facts it rests on. */
  readonly facts: readonly number[]
}

interface Needles {
  /** In the order in which the text must have them. */
  readonly facts: readonly (readonly string[])[]
  readonly questions: readonly Question[]
}

/** The language's words. */
export const WORD_CLASSES: WordClasses = language

/** Draws from the words of a class. */
class Drawer {
  readonly #random: () => number
  readonly #classes: WordClasses

  constructor(classes: WordClasses, seed: number) {
    this.#random = seededRandom(seed)
    this.#classes = classes
  }

  below(size: number): number {
    return Math.floor(this.#random() * size)
  }

  one(name: string): string {
    const words = this.#classes[name]!
    return words[this.below(words.length)]!
  }

  number(): string[] {
    return [this.one('number'), this.one('number')]
  }

  shuffled<T>(values: readonly T[]): T[] {
    const order = [...values]
    for (let last = order.length - 1; last > 0; last--) {
      const other = this.below(last + 1)
      ;[order[last], order[other]] = [order[other]!, order[last]!]
    }
    return order
  }

  distinct(name: string, count: number): string[] {
    return this.shuffled(this.#classes[name]!).slice(0, count)
  }

  /** Values of `next` that no other one equals as text. */
  unlike(count: number, next: () => string[]): string[][] {
    const found = new Map<string, string[]>()
    while (found.size < count) {
      const value = next()
      found.set(value.join(' '), value)
    }
    return [...found.values()]
  }

  /** What the noun mostly goes with. */
  mostly(noun: string, name: string, times: number, plus: number): string {
    const words = this.#classes[name]!
    const usual = (times * this.#classes['noun']!.indexOf(noun) + plus) % words.length
    return this.#random() < 0.75 ? words[usual]! : this.one(name)
  }
}

const KEYED: Readonly<Record<'code' | 'pair', readonly [before: string[], after: string]>> = {
  code: [['the', 'code', 'of'], '.'],
  pair: [[], ';'],
}

/** Keys of two names, no two keys alike, and a number of two digits pairs for each. */
function keyed(draw: Drawer, count: number, form: keyof typeof KEYED): Needles {
  const [before, after] = KEYED[form]
  const keys = draw.unlike(count, () => [draw.one('first'), draw.one('last')])
  const rows = keys.map((key) => ({ prompt: [...before, ...key], answer: draw.number() }))
  return {
    facts: rows.map(({ prompt, answer }) => [...prompt, ...answer, after]),
    questions: rows.map(({ prompt, answer }, fact) => ({
      prompt: ['ask', ...prompt],
      answer,
      stop: [after],
      facts: [fact],
    })),
  }
}

const HOPS = 4

/** Chains of assignments, mixed; a question names a chain's last variable, its answer walks back to the number. */
function chains(draw: Drawer, count: number): Needles {
  const names = draw.distinct('variable', count * (HOPS + 1))
  const rows = Array.from({ length: count }, (_, chain) => ({
    variables: names.slice(chain * (HOPS + 1), (chain + 1) * (HOPS + 1)),
    number: draw.number(),
    done: 0,
  }))
  const links = draw.shuffled(rows.flatMap((row) => row.variables.map(() => row)))
  const facts = links.map((row) => {
    const link = row.done++
    const value = link === 0 ? row.number : [row.variables[link - 1]!]
    return ['set', row.variables[link]!, ...value, '.']
  })
  const questions = rows.map((row) => ({
    prompt: ['ask', row.variables.at(-1)!],
    answer: [...row.variables.slice(0, -1).toReversed(), ...row.number],
    stop: ['.'],
    facts: links.flatMap((other, fact) => (other === row ? [fact] : [])),
  }))
  return { facts, questions }
}

const SPAN = 16

/** Labelled spans of names; no two neighbours stand together twice in a text, all labels counted as one neighbour. */
function spans(draw: Drawer, count: number): Needles {
  const seen = new Set<string>()
  const rows = draw.distinct('label', count).map((label) => {
    const words = ['span']
    while (words.length <= SPAN) {
      const word = draw.one(draw.below(2) === 0 ? 'first' : 'last')
      const both = `${words.at(-1)!} ${word}`
      if (seen.has(both)) continue
      seen.add(both)
      words.push(word)
    }
    return { start: ['span', label], words: [...words.slice(1), '.'] }
  })
  return {
    facts: rows.map(({ start, words }) => [...start, ...words]),
    questions: rows.map(({ start, words }, fact) => ({
      prompt: ['ask', ...start],
      answer: words,
      stop: [],
      facts: [fact],
    })),
  }
}

interface Task {
  readonly make: (draw: Drawer, needles: number) => Needles
  /** By length; cut to what fits and to `most`. */
  readonly needles: (length: number) => number
  readonly most: number
  readonly questions: number
}

const TASKS = {
  single: { make: (draw, n) => keyed(draw, n, 'code'), needles: () => 1, most: 1, questions: 1 },
  multi: {
    make: (draw, n) => keyed(draw, n, 'code'),
    needles: (length) => length / 64,
    most: 4096,
    questions: 8,
  },
  recall: {
    make: (draw, n) => keyed(draw, n, 'pair'),
    needles: (length) => length,
    most: 4096,
    questions: 8,
  },
  track: { make: chains, needles: (length) => length / 256, most: 38, questions: 4 },
  copy: { make: spans, needles: (length) => length / 128, most: 64, questions: 4 },
} as const satisfies Record<string, Task>

export type NeedleTask = keyof typeof TASKS
export const NEEDLE_TASKS = Object.keys(TASKS) as readonly NeedleTask[]

function sentence(draw: Drawer): string[] {
  const noun = draw.one('noun')
  const [verb, adjective] = [draw.mostly(noun, 'verb', 5, 3), draw.mostly(noun, 'adjective', 7, 1)]
  const [other, third] = [draw.one('noun'), draw.one('noun')]
  switch (draw.below(4)) {
    case 0:
      return ['the', adjective, noun, verb, 'the', other, '.']
    case 1:
      return ['a', noun, verb, draw.mostly(noun, 'preposition', 3, 2), 'the', adjective, other, '.']
    case 2: {
      const adverb = draw.mostly(noun, 'adverb', 1, 0)
      return [adverb, 'the', noun, verb, 'a', other, 'and', verb, 'the', third, '.']
    }
    default:
      return ['while', 'the', noun, verb, 'the', other, 'a', adjective, third, verb, '.']
  }
}

/** Prose of so many words that ends with a sentence; its first sentence may lack its beginning. */
function prose(draw: Drawer, room: number): string[][] {
  const sentences: string[][] = []
  let left = room
  while (left > 0) {
    const words = sentence(draw)
    sentences.unshift(words.slice(Math.max(0, words.length - left)))
    left -= words.length
  }
  return sentences
}

const length = (pieces: readonly (readonly string[])[]) =>
  pieces.reduce((sum, piece) => sum + piece.length, 0)
const written = ({ prompt, answer, stop }: Question) => [...prompt, ...answer, ...stop]

/** Exactly `tokens` tokens: the facts among prose at random depths, then the questions with their answers. */
export function needleText(classes: WordClasses, name: NeedleTask, tokens: number, seed: number): NeedleText {
  const draw = new Drawer(classes, seed)
  const task: Task = TASKS[name]
  // All needles of a task are of one size.
  const one = task.make(new Drawer(classes, seed), 1)
  const asked = task.questions * length(one.questions.map(written))
  const fits = Math.floor((tokens - 2 - asked) / length(one.facts))
  const count = Math.max(1, Math.min(Math.floor(task.needles(tokens)), fits, task.most))
  const needles = task.make(draw, count)
  const questions = draw.shuffled(needles.questions).slice(0, task.questions)
  const room = tokens - 2 - length(needles.facts) - length(questions.map(written))
  if (room < 0)
    throw new RangeError(`task ${name}: one needle needs ${-room} tokens more than the ${tokens} there are`)
  const sentences = prose(draw, room)
  // A fact stands after a sentence, so never before the one that lacks its beginning.
  const depths = needles.facts.map(() => Math.min(1 + draw.below(sentences.length), sentences.length))
  depths.sort((a, b) => a - b)
  const words = ['<bos>']
  const starts: number[] = []
  for (let place = 0; place <= sentences.length; place++) {
    while (depths[starts.length] === place) {
      starts.push(words.length)
      words.push(...needles.facts[starts.length - 1]!)
    }
    words.push(...(sentences[place] ?? []))
  }
  const answers = questions.map((question) => {
    const begin = words.length + question.prompt.length
    words.push(...written(question))
    const distance = begin - Math.min(...question.facts.map((fact) => starts[fact]!))
    return { begin, end: begin + question.answer.length, distance }
  })
  words.push('<eos>')
  const ids = new Map(
    Object.values(classes)
      .flat()
      .map((word, id) => [word, id] as const),
  )
  return { words, tokens: Int32Array.from(words, (word) => ids.get(word)!), answers }
}
