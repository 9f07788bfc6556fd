/** A subject and a length's texts in; what its kernels keep of the first text's pairs, tiles and softmax mass, with its logits, out. */

import { BLOCK } from './counts.ts'
import { densityOf, type Density } from './density.ts'
import { attentionOf, sizesOf, type Evaluation } from './evaluation.ts'
import { oracleDensity } from './oracle.ts'
import { Probe, type Measured } from './probe.ts'
import type { Builds, Subject } from './subject.ts'

export interface Kept {
  /** Null where nobody can count. */
  readonly density: number | null
  readonly tiles: number | null
  /** Who counted: the kernels themselves, over all layers, heads and rows; or the oracle, and of what. */
  readonly counted: string | null
}

export interface Probed extends Kept, Pick<Measured, 'recall' | 'leastRecall'> {
  readonly logits: Float32Array
}

/** Of the first text, whose counts stand for all of its length. */
export async function probed(subject: Subject, evaluation: Evaluation): Promise<Probed> {
  const { model, texts, length, dense, signal, onText } = evaluation
  const { tokens, positions } = texts[0]!
  const sizes = sizesOf(evaluation)
  const { pattern, plain, counting } = subject.builds
  const of = (artifact: Builds['pattern']) => attentionOf(subject, artifact, sizes)
  const probe = new Probe(
    { pattern: of(pattern), plain: plain && of(plain), counting: counting && of(counting), dense },
    length,
  )
  await model.setAttention(probe.attention)
  onText?.(0, texts.length)
  const logits = await model.logitsAt(tokens, positions, signal ? { signal } : {})
  const { counts, recall, leastRecall } = await probe.read()
  const blocks = Math.ceil(length / BLOCK)
  const kept: Kept = counts
    ? { ...densityOf(counts, { heads: sizes.qHeads, length, blocks }), counted: 'kernels' }
    : UNCOUNTED
  return { logits, recall, leastRecall, ...kept }
}

const UNCOUNTED: Kept = { density: null, tiles: null, counted: null }

/** By the oracle, on queries and keys of the first and the last layer under the pattern. */
export async function sampled(subject: Subject, evaluation: Evaluation): Promise<Kept> {
  const { model, texts } = evaluation
  const last = model.config.layers - 1
  const layers = [...new Set([0, last])]
  const found: (Density & { readonly of: string })[] = []
  for (const layer of layers) {
    const asked = oracleDensity(
      subject,
      layer,
      await model.queriesAndKeys(texts[0]!.tokens, layer),
      sizesOf(evaluation),
    )
    if (!asked) return UNCOUNTED
    found.push(asked)
  }
  const mean = (f: (d: Density) => number) => found.reduce((sum, d) => sum + f(d), 0) / found.length
  return {
    density: mean((d) => d.density),
    tiles: mean((d) => d.tiles),
    counted: `oracle: ${found.map((d) => d.of).join('; ')}`,
  }
}
