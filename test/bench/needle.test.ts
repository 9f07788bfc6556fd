/** The needle texts made for evaluation: their form, and that string search alone finds each answer, once. */

import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { NEEDLE_TASKS, needleText, WORD_CLASSES, type NeedleTask } from '../../bench/eval/tasks.ts'

const WORDS = Object.values(WORD_CLASSES).flat()
const LENGTHS = [512, 1024, 4097]

/** What follows `start` where it stands in the body, up to its end. */
function following(body: string, start: string): string[] {
  return body
    .split(` ${start} `)
    .slice(1)
    .map((rest) => rest.split(/ [.;]/)[0]!)
}

function answerByReading(task: NeedleTask, body: string, question: string): string {
  const only = (found: string[]) => {
    expect(found).toHaveLength(1)
    return found[0]!
  }
  if (task === 'copy') return `${only(following(body, question))} .`
  if (task !== 'track') return only(following(body, question))
  const said: string[] = []
  for (let name = question.split(' ')[0]!; name.startsWith('x'); name = said.at(-1)!) {
    said.push(only(following(body, `set ${name}`)))
  }
  return said.join(' ')
}

test.each(NEEDLE_TASKS)('%s: each answer is in the text, once', (task) => {
  for (const length of LENGTHS) {
    for (let seed = 0; seed < 5; seed++) {
      const { words, tokens, answers } = needleText(WORD_CLASSES, task, length, seed)
      expect(tokens).toHaveLength(length)
      expect([...tokens].map((token) => WORDS[token])).toEqual(words)
      expect([words[0], words.at(-1)]).toEqual(['<bos>', '<eos>'])
      const asks = words.flatMap((word, place) => (word === 'ask' ? [place] : []))
      expect(asks).toHaveLength(answers.length)
      const body = ` ${words.slice(0, asks[0]).join(' ')} `
      for (const [i, { begin, end }] of answers.entries()) {
        const question = words.slice(asks[i]! + 1, begin).join(' ')
        expect(answerByReading(task, body, question)).toBe(words.slice(begin, end).join(' '))
      }
    }
  }
})

test('needles stand at all depths, and a seed gives its text again', () => {
  const depths = Array.from({ length: 200 }, (_, seed) => {
    const { words } = needleText(WORD_CLASSES, 'single', 512, seed)
    return Math.floor((4 * words.indexOf('code')) / 512)
  })
  for (const quarter of [0, 1, 2, 3]) {
    expect(depths.filter((depth) => depth === quarter).length).toBeGreaterThan(25)
  }
  expect(needleText(WORD_CLASSES, 'multi', 512, 3)).toEqual(needleText(WORD_CLASSES, 'multi', 512, 3))
  expect(needleText(WORD_CLASSES, 'multi', 512, 3)).not.toEqual(needleText(WORD_CLASSES, 'multi', 512, 4))
})

test('a text too short for one needle is refused', () => {
  expect(() => needleText(WORD_CLASSES, 'copy', 32, 1)).toThrow(/task copy: one needle needs \d+ tokens more/)
})

const numpy = spawnSync('python3', ['-c', 'import numpy']).status === 0

test.skipIf(!numpy)('the generator that trains keeps the same laws', () => {
  const { stderr, status } = spawnSync('python3', ['models/needle/test_tasks.py'], {
    encoding: 'utf8',
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' },
  })
  expect(stderr).toMatch(/Ran [1-9]\d* tests[^]*OK/)
  expect(status).toBe(0)
})

test("the example that `heddle start` asks is the generator's", () => {
  const { words, answers } = needleText(WORD_CLASSES, 'multi', 512, 1)
  const asks = words.flatMap((word, place) => (word === 'ask' ? [place] : []))
  const questions = answers.map(({ begin, end }, i) => ({
    ask: words.slice(asks[i], begin).join(' '),
    answer: words.slice(begin, end).join(' '),
  }))
  const made = `${JSON.stringify({ text: words.slice(1, asks[0]).join(' '), questions }, null, 1)}\n`
  const file = new URL('../../models/needle/example.json', import.meta.url)
  if (process.env['UPDATE']) writeFileSync(file, made)
  expect(readFileSync(file, 'utf8')).toBe(made)
})
