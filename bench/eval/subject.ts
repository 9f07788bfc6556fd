/** A pattern as it is judged at one length: what its kernels were built for and its calls say; or why it cannot be. Plain data. */

import type { Artifact } from '../../codegen/artifact.ts'
import type { ParamValues } from '../../runtime/params.ts'

/** Artefacts of one pattern with one choice of consts. */
export interface Builds {
  readonly pattern: Artifact
  /** Without the changes that the pattern makes to logits; null where it makes none. */
  readonly plain: Artifact | null
  /** With all logits 0; null where its choice hangs on the logits of attention itself. */
  readonly counting: Artifact | null
}

export interface Subject {
  /** As the report calls it. */
  readonly name: string
  /** The pattern's own name, by which the library knows it. */
  readonly pattern: string
  readonly about: string
  readonly consts: Readonly<Record<string, number>>
  /** For all layers, or by layer. */
  readonly params: ParamValues | readonly ParamValues[]
  /** Facts within so many tokens are near. */
  readonly near: number
  readonly builds: Builds
}

export interface Refusal {
  readonly name: string
  readonly reason: string
}

export const isRefusal = <T extends object>(x: T | Refusal): x is Refusal => 'reason' in x

export const paramsAt = ({ params }: Pick<Subject, 'params'>, layer: number): ParamValues =>
  Array.isArray(params) ? (params as readonly ParamValues[])[layer]! : (params as ParamValues)
