/**
 * Profiles: the JSON that MInference's search writes in, checked layers out; a layer in, the params of a call of the
 * pattern minference out.
 */

import { HeddleError } from './messages.ts'
import { isRecord } from './schema.ts'

const TYPES = ['vertical_and_slash', 'block_sparse', 'stream_llm'] as const
export type HeadType = (typeof TYPES)[number]

/** What the search chose for one query head. Its two numbers are the type's own; the score says how well they did. */
export interface ProfileHead {
  readonly type: HeadType
  /** vertical_and_slash: columns; stream_llm: the first keys; block_sparse: a ratio of the search, which nobody reads. */
  readonly vertical: number
  /** vertical_and_slash: distances; stream_llm: the last keys, the query's own included. */
  readonly slash: number
  readonly score: number
}

/** By layer, then by query head. */
export type Profile = readonly (readonly ProfileHead[])[]

/** The greatest budget of the pattern's params, and more keys than any call has. */
const MOST = 2 ** 22

/**
 * Reads a profile in MInference's own layout: a list over layers of `{ "<head>": [type, v, s, score] }`.
 *
 * @param source the text of the file, or what JSON.parse made of it
 * @throws HeddleError `profile-layout`, `profile-head`, `profile-type`, `profile-number`
 * @example readProfile(await readFile('Phi_3_mini_128k_instruct_kv_out_v32_fit_o_best_pattern.json', 'utf8'))
 */
export function readProfile(source: unknown): Profile {
  const layers = typeof source === 'string' ? parsed(source) : source
  if (!Array.isArray(layers)) throw new HeddleError('profile-layout', { what: 'it is no list of layers' })
  return layers.map(layerOf)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const what = cause instanceof Error ? cause.message : String(cause)
    throw new HeddleError('profile-layout', { what }, { cause })
  }
}

function layerOf(heads: unknown, layer: number): readonly ProfileHead[] {
  if (!isRecord(heads))
    throw new HeddleError('profile-layout', { what: `layer ${layer} is no record of heads` })
  const named = Object.keys(heads)
  // A record of n heads that has each of 0 to n - 1 has no other.
  return named.map((_, head) => {
    const name = String(head)
    if (!Object.hasOwn(heads, name)) throw new HeddleError('profile-head', { layer, head, got: named })
    return headOf(heads[name], layer, head)
  })
}

function headOf(entry: unknown, layer: number, head: number): ProfileHead {
  if (!Array.isArray(entry) || entry.length !== 4) {
    const what = `layer ${layer}, head ${head} is no list [type, v, s, score]`
    throw new HeddleError('profile-layout', { what })
  }
  const [named, vertical, slash, score] = entry as readonly unknown[]
  const type = TYPES.find((t) => t === named)
  if (!type) throw new HeddleError('profile-type', { layer, head, got: named, known: TYPES })
  const number = (name: string, got: unknown, least: number): number => {
    if (typeof got === 'number' && Number.isInteger(got) && got >= least && got <= MOST) return got
    throw new HeddleError('profile-number', { layer, head, type, name, least, most: MOST, got })
  }
  if (typeof score !== 'number') throw new HeddleError('profile-score', { layer, head, got: score })
  return {
    type,
    vertical: number('v', vertical, 0),
    // Without a window a query of the A-shape would not see itself.
    slash: number('s', slash, type === 'stream_llm' ? 1 : 0),
    score,
  }
}

export interface ProfileOptions {
  /**
   * Blocks of keys for each block of queries of a block_sparse head. 100 unless given: MInference's kernel takes
   * that many whatever stands in the entry.
   */
  readonly blocks?: number
}

/** Numbers of the pattern minference, one a query head. */
export type ProfileParams = Readonly<Record<'vertical' | 'slash' | 'k' | 'window' | 'sinkTokens', number[]>>

const NONE = { vertical: 0, slash: 0, k: 0, window: 0, sinkTokens: 0 } as const

/**
 * The params of one layer's call of the pattern `minference`: for each head the numbers of its kind, and 0 for the
 * other kinds.
 *
 * @param qHeads how many query heads the call has; the layer must speak of each
 * @throws HeddleError `profile-layer`, `profile-heads`
 * @example attention(kernel, { q, k, v, params: paramsOf(profile, layer, 32) })
 */
export function paramsOf(
  profile: Profile,
  layer: number,
  qHeads: number,
  { blocks = 100 }: ProfileOptions = {},
): ProfileParams {
  const heads = profile[layer]
  if (!heads) throw new HeddleError('profile-layer', { layer, layers: profile.length })
  if (heads.length !== qHeads)
    throw new HeddleError('profile-heads', { layer, expected: qHeads, got: heads.length })
  const rows = heads.map((head) => ({ ...NONE, ...numbersOf(head, blocks) }))
  const column = (name: keyof typeof NONE): number[] => rows.map((row) => row[name])
  return {
    vertical: column('vertical'),
    slash: column('slash'),
    k: column('k'),
    window: column('window'),
    sinkTokens: column('sinkTokens'),
  }
}

function numbersOf(
  { type, vertical, slash }: ProfileHead,
  blocks: number,
): Partial<Record<keyof typeof NONE, number>> {
  switch (type) {
    case 'vertical_and_slash':
      // MInference raises small budgets to 30 and 50. What the pattern forces is as much, unless 0 switches it off.
      return { vertical: Math.max(1, vertical), slash: Math.max(1, slash) }
    case 'block_sparse':
      return { k: blocks }
    case 'stream_llm':
      return { window: slash, sinkTokens: vertical }
  }
}
