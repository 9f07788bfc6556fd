/** The errors of running a model as data: rows of the runtime's table. */

import { names, row } from '../message-row.ts'

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`

export const EXECUTOR_MESSAGES = {
  // Loading
  'model-size': row<{ what: string; multiple: number; got: number }>(
    'caller',
    ({ what, multiple, got }) => `expected ${what} to be a multiple of ${multiple}, got ${got}`,
  ),
  'model-length': row<{ option: string; least: number; most: number; got: unknown }>(
    'caller',
    ({ option, least, most, got }) =>
      `${option}: expected a whole number from ${least} to ${most}, got ${String(got)}`,
  ),
  'model-memory': row<{ weights: number; cache: number; work: number; allowed: number }>(
    'machine',
    ({ weights, cache, work, allowed }) =>
      `the model needs ${mebibytes(weights + cache + work)} (weights ${mebibytes(weights)}, cache ${mebibytes(cache)}, ` +
      `activations ${mebibytes(work)}), ${mebibytes(allowed)} are allowed; a smaller maxLength makes the cache smaller`,
  ),
  'model-buffer': row<{ what: string; needed: number; limit: number }>(
    'machine',
    ({ what, needed, limit }) =>
      `${what}: expected at most ${limit} bytes, the device's limit of a buffer, got ${needed}`,
  ),
  'weight-range': row<{ tensor: string; value: number }>(
    'caller',
    ({ tensor, value }) =>
      `${tensor}: ${value} is beyond the half floats (65504); load the model with weights: 'f32'`,
  ),
  'attention-rows': row<{ pattern: string; rows: readonly string[] }>(
    'caller',
    ({ pattern, rows }) =>
      `attention: ${pattern} reads ${names(rows)} beside q, k and v, which a model of this architecture does not have`,
  ),
  'attention-tables': row<{ pattern: string; tables: readonly string[] }>(
    'caller',
    ({ pattern, tables }) =>
      `attention: ${pattern} reads the tables ${names(tables)}, and nothing gives them; a choice has \`tables\` for that`,
  ),

  // Running
  'prompt-empty': row<Record<string, never>>('caller', () => 'prompt: expected at least one token, got none'),
  'prompt-token': row<{ at: number; vocabulary: number; got: unknown }>(
    'caller',
    ({ at, vocabulary, got }) =>
      `prompt: expected token ids from 0 to ${vocabulary - 1}, got ${String(got)} at ${at}`,
  ),
  'prompt-length': row<{ tokens: number; room: number }>(
    'caller',
    ({ tokens, room }) =>
      `prompt: expected at most ${room} tokens, for which the model was loaded (maxLength), got ${tokens}`,
  ),
  'model-layer': row<{ layers: number; got: unknown }>(
    'caller',
    ({ layers, got }) => `layer: expected a whole number from 0 to ${layers}, got ${String(got)}`,
  ),
  'model-option': row<{ option: string; expected: string; got: unknown }>(
    'caller',
    ({ option, expected, got }) => `${option}: expected ${expected}, got ${String(got)}`,
  ),
  'model-busy': row<Record<string, never>>(
    'caller',
    () =>
      'the model is in the middle of another call; end that one first (break out of its loop, or abort it)',
  ),
  'model-closed': row<Record<string, never>>('caller', () => 'the model has been closed'),
} as const
