import { readFileSync, writeFileSync } from 'node:fs'
import { AMPERE } from '/work/main/codegen/cuda/ampere.ts'
import { openEmulation } from '/work/main/runtime/cuda/emulated.ts'
import { compiled } from '/work/main/test/helpers.ts'
import { causal } from '/work/main/patterns/index.ts'
import { CAUSAL, A_SHAPE, sectionText } from '/work/main/test/cuda/pattern-sections.ts'
import { runSkeleton } from '/work/main/test/cuda/skeleton-run.ts'
const driver = await openEmulation()
const text = readFileSync('/work/main/codegen/cuda/ampere.cuh', 'utf8')
const muts: [string, (s: string) => string][] = [
  ['none', (s) => s],
  ['no zero fill', (s) => s.replace('row + pass * R::PASS < rows &&', '')],
  ['no negation', (s) => s.replace('^= 0x80008000u', '^= 0u')],
  ['no second barrier', (s) => s.replace('scores(at, 0);\n      waitCopies<0>();\n      syncThreads();', 'scores(at, 0);\n      waitCopies<0>();')],
  ['no wait', (s) => s.replace('prepare(at);\n      waitCopies<0>();', 'prepare(at);')],
  ['no final barrier', (s) => s.replace('waitCopies<0>();\n  syncThreads();\n  finishRows', 'waitCopies<0>();\n  finishRows')],
  ['mask off by one', (s) => s.replace('bool keep = kv < place.kvLen', 'bool keep = kv <= place.kvLen')],
  ['no shrink', (s) => s.replace('rows.of[m][half] *= shrink;', '')],
  ['row not real', (s) => s.replace('if (real && base', 'if (base')],
]
const [headDim, valueDim] = [64, 64]
const shape = AMPERE.shapes({ headDim, valueDim, dtype: 'bf16', traits: { masked: true, scored: false, plan: compiled(causal).plan } })[0]!
for (const [name, m] of muts) {
  const changed = m(text)
  if (name !== 'none' && changed === text) throw new Error(name)
  writeFileSync('/tmp/cuda/amp/mut.cuh', changed)
  const results = []
  for (const order of [0, 1, 2]) {
    driver.setOrder(order)
    try {
      const o = await runSkeleton({ driver, kernel: { dtype: 'bf16', headDim, valueDim, shape, section: sectionText(CAUSAL), texts: ['file:///tmp/cuda/amp/mut.cuh'] }, sharedBytes: shape.sharedBytes },
      { batch: 2, qHeads: 1, kvHeads: 1, qRows: 140, kvRows: 300, headDim: 16, valueDim: 24, scale: -0.3, lengths: [[0, 155, 140, 0, 295], [3, 20, 5, 7, 25]] }, { keeps: (q, kv) => kv <= q })
      results.push(o.wrong.length ? 'wrong' : `${o.out.toFixed(2)}/${o.lse.toFixed(2)}`)
    } catch (e) { results.push('threw ' + String((e as Error).message).slice(0, 80)) }
  }
  console.log(name, results)
}
driver.release()
