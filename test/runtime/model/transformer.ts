/**
 * A decoder-only transformer in f64 with plain loops: the oracle of the executor. It shares with it the configuration and the
 * rotary frequencies (which have an oracle of their own), and nothing else.
 */

import { ropeFrequencies, type ModelConfig } from '../../../runtime/model/config.ts'

/** Values by the names that Hugging Face's transformers gives them. */
export type Weights = ReadonlyMap<string, Float64Array>

/** Heads of q, k and v, [heads, tokens, headDim]; the output of each query head out, of the same form. */
export type Attend = (layer: number, q: Float64Array, k: Float64Array, v: Float64Array) => Float64Array

export interface Forward {
  /** [tokens, vocabulary] */
  readonly logits: Float64Array
  /** The residual stream behind 0, 1, .. layers, [tokens, hiddenSize]. */
  readonly states: readonly Float64Array[]
}

export function transformer(
  config: ModelConfig,
  weights: Weights,
  tokens: readonly number[],
  attend: Attend,
): Forward {
  const { hiddenSize, qHeads, kvHeads, headDim, layers, normEps } = config
  const n = tokens.length
  const get = (name: string) => weights.get(name)!
  const linear = (x: Float64Array, name: string): Float64Array => {
    const [w, b] = [get(`${name}.weight`), weights.get(`${name}.bias`)]
    const width = x.length / n
    const out = new Float64Array((n * w.length) / width)
    const columns = w.length / width
    for (let t = 0; t < n; t++) {
      for (let c = 0; c < columns; c++) {
        let sum = b ? b[c]! : 0
        for (let i = 0; i < width; i++) sum += x[t * width + i]! * w[c * width + i]!
        out[t * columns + c] = sum
      }
    }
    return out
  }
  const norm = (x: Float64Array, gain: Float64Array): Float64Array => {
    const out = new Float64Array(x.length)
    for (let at = 0; at < x.length; at += gain.length) {
      let square = 0
      for (let i = 0; i < gain.length; i++) square += x[at + i]! ** 2
      const root = Math.sqrt(square / gain.length + normEps)
      for (let i = 0; i < gain.length; i++) out[at + i] = (x[at + i]! / root) * gain[i]!
    }
    return out
  }
  const { inverse, attentionFactor } = ropeFrequencies(config, n)
  const turn = (x: Float64Array, heads: number): Float64Array => {
    const out = new Float64Array(x.length)
    const half = headDim / 2
    for (let t = 0; t < n; t++) {
      for (let h = 0; h < heads; h++) {
        const at = (t * heads + h) * headDim
        for (let i = 0; i < half; i++) {
          const [cos, sin] = [Math.cos(t * inverse[i]!), Math.sin(t * inverse[i]!)].map(
            (y) => y * attentionFactor,
          )
          out[at + i] = x[at + i]! * cos! - x[at + half + i]! * sin!
          out[at + half + i] = x[at + half + i]! * cos! + x[at + i]! * sin!
        }
      }
    }
    return out
  }
  /** [tokens, heads, headDim] to [heads, tokens, headDim], or the other way round with the two numbers swapped. */
  const swap = (x: Float64Array, rows: number, columns: number): Float64Array => {
    const out = new Float64Array(x.length)
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        out.set(
          x.subarray((r * columns + c) * headDim, (r * columns + c + 1) * headDim),
          (c * rows + r) * headDim,
        )
      }
    }
    return out
  }
  const plus = (x: Float64Array, y: Float64Array) => x.map((value, i) => value + y[i]!)

  const embedding = get('model.embed_tokens.weight')
  let x = new Float64Array(n * hiddenSize)
  tokens.forEach((id, t) => x.set(embedding.subarray(id * hiddenSize, (id + 1) * hiddenSize), t * hiddenSize))
  const states = [x]
  for (let layer = 0; layer < layers; layer++) {
    const own = `model.layers.${layer}`
    const before = norm(x, get(`${own}.input_layernorm.weight`))
    const heads = (role: 'q' | 'k', count: number) => {
      const projected = linear(before, `${own}.self_attn.${role}_proj`)
      const gain = weights.get(`${own}.self_attn.${role}_norm.weight`)
      return swap(turn(gain ? norm(projected, gain) : projected, count), n, count)
    }
    const v = swap(linear(before, `${own}.self_attn.v_proj`), n, kvHeads)
    const attended = attend(layer, heads('q', qHeads), heads('k', kvHeads), v)
    x = plus(x, linear(swap(attended, qHeads, n), `${own}.self_attn.o_proj`))
    const after = norm(x, get(`${own}.post_attention_layernorm.weight`))
    const [gate, up] = [linear(after, `${own}.mlp.gate_proj`), linear(after, `${own}.mlp.up_proj`)]
    x = plus(
      x,
      linear(
        gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]!),
        `${own}.mlp.down_proj`,
      ),
    )
    states.push(x)
  }
  const head = config.tiedEmbeddings ? 'model.embed_tokens' : 'lm_head'
  return { logits: linear(norm(x, get('model.norm.weight')), head), states }
}

/** Attention under a mask, in f64. */
export function masked(
  { qHeads, kvHeads, headDim }: ModelConfig,
  keeps: (layer: number, q: number, kv: number) => boolean,
): Attend {
  return (layer, q, k, v) => {
    const n = q.length / qHeads / headDim
    const out = new Float64Array(q.length)
    for (let head = 0; head < qHeads; head++) {
      const kvHead = Math.floor((head * kvHeads) / qHeads)
      for (let t = 0; t < n; t++) {
        const at = (head * n + t) * headDim
        const kept = Array.from({ length: n }, (_, s) => s).filter((s) => keeps(layer, t, s))
        const scores = kept.map((s) => {
          let sum = 0
          for (let i = 0; i < headDim; i++) sum += q[at + i]! * k[(kvHead * n + s) * headDim + i]!
          return sum / Math.sqrt(headDim)
        })
        const top = Math.max(...scores)
        const powers = scores.map((s) => Math.exp(s - top))
        const total = powers.reduce((a, b) => a + b, 0)
        kept.forEach((s, j) => {
          for (let i = 0; i < headDim; i++)
            out[at + i] = out[at + i]! + (powers[j]! / total) * v[(kvHead * n + s) * headDim + i]!
        })
      }
    }
    return out
  }
}

export const causalMask = (_layer: number, q: number, kv: number): boolean => kv <= q
