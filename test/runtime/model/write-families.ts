/**
 * `npx tsx test/runtime/model/write-families.ts FOLDER`: each family, and the needle model, as a folder that transformers loads, with a prompt, for
 * transformers_logits.py, which writes test/fixtures/transformers-logits.json.
 */

import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { FAMILIES, NEEDLE, needlePrompt, promptOf } from './families.ts'
import { randomModel, SMALL } from './random-model.ts'

const [folder] = process.argv.slice(2)
if (folder === undefined) throw new Error('which folder?')
for (const [i, { name, config, dtype }] of FAMILIES.entries()) {
  const place = join(folder, String(i))
  mkdirSync(place, { recursive: true })
  const all = { ...SMALL, ...config } as Record<string, unknown>
  const [architecture] = all['architectures'] as [string]
  const model_type = architecture.replace('ForCausalLM', '').toLowerCase()
  const { bytes, config: read } = await randomModel(config, dtype)
  writeFileSync(join(place, 'config.json'), JSON.stringify({ ...all, model_type }))
  writeFileSync(join(place, 'model.safetensors'), bytes)
  writeFileSync(join(place, 'case.json'), JSON.stringify({ name, prompt: promptOf(read) }))
}

const needle = join(folder, String(FAMILIES.length))
cpSync(fileURLToPath(new URL('../../../models/needle/model', import.meta.url)), needle, { recursive: true })
writeFileSync(join(needle, 'case.json'), JSON.stringify({ name: NEEDLE, prompt: needlePrompt(), steps: 2 }))
