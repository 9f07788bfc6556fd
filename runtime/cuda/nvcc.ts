/** nvcc as a compiler for cubins, where there is no NVRTC: text in, through a folder of its own, a cubin or the log out. */

import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toolkitHome, type CubinCompiler } from './nvrtc.ts'

/** Commands that may be nvcc, in order of preference. */
const commands = (env: NodeJS.ProcessEnv): string[] => ['nvcc', join(toolkitHome(env), 'bin/nvcc')]

export function findNvcc(
  env: NodeJS.ProcessEnv = process.env,
): CubinCompiler | { readonly tried: readonly string[] } {
  const tried = commands(env)
  for (const command of tried) {
    const { status, stdout } = spawnSync(command, ['--version'], { env, encoding: 'utf8', timeout: 30_000 })
    const version = status === 0 ? /release [\d.]+, V([\d.]+)/.exec(stdout)?.[1] : undefined
    if (version !== undefined) return new Nvcc(command, `nvcc ${version}`, env)
  }
  return { tried }
}

class Nvcc implements CubinCompiler {
  readonly name: string
  readonly #command: string
  readonly #env: NodeJS.ProcessEnv

  constructor(command: string, name: string, env: NodeJS.ProcessEnv) {
    this.#command = command
    this.name = name
    this.#env = env
  }

  async compile(code: string, file: string, arch: string): Promise<Uint8Array | { readonly log: string }> {
    const folder = mkdtempSync(join(tmpdir(), 'heddle-nvcc-'))
    try {
      writeFileSync(join(folder, file), code)
      const virtual = arch.replace('sm_', 'compute_')
      const args = ['-std=c++17', `-gencode=arch=${virtual},code=${arch}`, '-cubin', '-o', 'out.cubin', file]
      const { status, log } = await run(this.#command, args, folder, this.#env)
      return status === 0 ? readFileSync(join(folder, 'out.cubin')) : { log }
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
}

const run = (
  command: string,
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv,
): Promise<{ status: number; log: string }> =>
  new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let log = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (log += String(chunk)))
    child.on('error', (error) => resolve({ status: 1, log: `${log}${error.message}` }))
    child.on('close', (status) => resolve({ status: status ?? 1, log: log.trim() }))
  })
