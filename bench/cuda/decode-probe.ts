/**
 * Head dims in; every shape of the decode skeleton's table for them, as texts and rules, out: the one JSON file that
 * decode_probe.py reads. `tsx bench/cuda/decode-probe.ts out/decode-probe.json 128 64`
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { DECODE } from '../../codegen/cuda/decode.ts'
import { emitCuda, type ShapeChoice } from '../../codegen/cuda/emit.ts'
import { aShape, causal } from '../../patterns/index.ts'
import { compilePattern } from '../../runtime/testing/subject.ts'

const [path = 'out/decode-probe.json', ...given] = process.argv.slice(2)
const headDims = given.length > 0 ? given.map(Number) : [128]

const kernels = [causal, aShape].flatMap((pattern) => {
  const compiled = compilePattern(pattern)
  const params = compiled.plan.params.map((p) => p.name)
  return headDims.flatMap((headDim) => {
    const of = (shapes: ShapeChoice) =>
      emitCuda(compiled, { headDims: [headDim], dtypes: ['bf16'], skeletons: [DECODE.name], shapes })
        .variants[0]!
    let count = 0
    of((_spec, _request, all) => {
      count = all.length
      return all[0]!
    })
    return Array.from({ length: count }, (_, shape) => ({
      pattern: pattern.name,
      params,
      shape,
      variant: of((_spec, _request, all) => all[shape]!),
    }))
  })
})
const { call } = emitCuda(compilePattern(causal), {
  headDims: [64],
  dtypes: ['bf16'],
  skeletons: [DECODE.name],
})
mkdirSync(dirname(path), { recursive: true })
writeFileSync(path, JSON.stringify({ call, kernels }))
