import { execFile, spawn } from 'node:child_process'
import * as path from 'node:path'
import { expect, it } from 'vitest'
import { BAND, NEAR, SYNTAX } from './fixtures.ts'
import { temporaryFolder } from './helpers.ts'

const MAIN = path.resolve('runtime/cli/main.ts')
const TSX = import.meta.resolve('tsx')
const FILES = { 'band.ts': BAND, 'near.ts': NEAR, 'syntax.ts': SYNTAX }

function heddle(args: readonly string[], cwd = temporaryFolder(FILES), env: NodeJS.ProcessEnv = {}) {
  return new Promise<{ exit: number; out: string; err: string }>((done) => {
    execFile(
      process.execPath,
      ['--import', TSX, MAIN, ...args],
      { cwd, env: { ...process.env, ...env } },
      (error, out, err) => done({ exit: error === null ? 0 : Number(error.code), out, err }),
    )
  })
}

it('shows a pattern and exits with 0', async () => {
  const { exit, out, err } = await heddle(['show', 'band.ts', 'mask', '--kv-len', '64'])
  expect([exit, err]).toEqual([0, ''])
  expect(out).toContain('  0 ░░··')
})

it('exits with 1 for the author, 2 for the line typed, 3 for the machine', async () => {
  const author = await heddle(['show', 'syntax.ts'])
  expect(author.exit).toBe(1)
  expect(author.err).toContain('syntax.ts:2:')
  const usage = await heddle(['show', 'band.ts', '--nope'])
  expect([usage.exit, usage.out]).toEqual([2, ''])
  const machine = await heddle(['bench', 'band.ts', '--len', '32'], undefined, {
    DAWN_NODE: '/nowhere/dawn.node',
  })
  expect(machine.exit).toBe(3)
  expect(machine.err).toMatch(/^error\[no-webgpu\]: .*\n$/)
  for (const { err } of [author, usage, machine]) expect(err).not.toMatch(/\n\s+at .*:\d+:\d+/)
})

it('ends quietly when its reader has seen enough', async () => {
  const cwd = temporaryFolder(FILES)
  const child = spawn(
    'sh',
    [
      '-c',
      `"${process.execPath}" --import "${TSX}" "${MAIN}" show band.ts --kv-len 2048 --block 8; echo "exit $?" >&2`,
    ],
    { cwd, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  child.stdout.destroy()
  let err = ''
  child.stderr.on('data', (data: Buffer) => (err += data.toString()))
  await new Promise((done) => child.on('close', done))
  expect(err).toBe('exit 0\n')
})

it('a watch ends with Ctrl-C and exit code 0', async () => {
  const child = spawn(
    process.execPath,
    ['--import', TSX, MAIN, 'build', 'band.ts', '--out', 'out', '--watch'],
    { cwd: temporaryFolder(FILES) },
  )
  let err = ''
  child.stderr.on('data', (data: Buffer) => {
    err += data.toString()
    if (err.includes('watching')) child.kill('SIGINT')
  })
  const exit = await new Promise((done) => child.on('close', done))
  expect([exit, err]).toEqual([0, expect.stringContaining('watching 2 files; Ctrl-C ends')])
})
