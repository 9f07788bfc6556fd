/** The errors of a model's files as data: rows of the runtime's table, for files, checkpoints, configurations and texts. */

import { list, names, row } from '../message-row.ts'

/** A value of a file in a sentence, cut where it is long. */
function shown(value: unknown): string {
  const plain = (_: string, x: unknown) => (typeof x === 'bigint' ? String(x) : x)
  const text = typeof value === 'bigint' ? String(value) : (JSON.stringify(value, plain) ?? 'nothing')
  return text.length > 60 ? `${text.slice(0, 60)}...` : text
}

export const MODEL_MESSAGES = {
  // Files
  'model-file-missing': row<{ place: string; name: string; hint: string }>(
    'caller',
    ({ place, name, hint }) => `${place} has no ${name}${hint ? `; ${hint}` : ''}`,
  ),
  'model-file-name': row<{ name: string; from: string }>(
    'caller',
    ({ name, from }) =>
      `${from}: expected the name of a file in the model's own folder, got ${JSON.stringify(name)}`,
  ),
  'model-file-short': row<{ name: string; begin: number; end: number; got: number }>(
    'caller',
    ({ name, begin, end, got }) =>
      `${name}: expected bytes ${begin} to ${end}, but the file ends at ${got}: it was cut off`,
  ),
  'model-file-large': row<{ name: string; most: number; got: number }>(
    'caller',
    ({ name, most, got }) => `${name}: expected at most ${most} bytes, got ${got}`,
  ),
  'model-file-pointer': row<{ name: string }>(
    'caller',
    ({ name }) => `${name} is a pointer of Git LFS, not the file itself; run \`git lfs pull\` in the folder`,
  ),
  'model-read': row<{ name: string; detail: string }>(
    'machine',
    ({ name, detail }) => `${name} cannot be read: ${detail}`,
  ),
  'no-ranges': row<{ name: string; status: number }>(
    'machine',
    ({ name, status }) =>
      `the server of ${name} does not send parts of a file (it answers a Range with ${status}); serve the folder ` +
      'from one that does',
  ),
  'model-json': row<{ name: string; detail: string }>(
    'caller',
    ({ name, detail }) => `${name}: expected a JSON record, got something else: ${detail}`,
  ),
  'model-field': row<{ file: string; field: string; expected: string; got: unknown }>(
    'caller',
    ({ file, field, expected, got }) => `${file}: expected ${field} to be ${expected}, got ${shown(got)}`,
  ),

  // Configurations
  'unknown-architecture': row<{ file: string; got: unknown; known: readonly string[] }>(
    'caller',
    ({ file, got, known }) => `${file}: expected an architecture among ${names(known)}, got ${shown(got)}`,
  ),
  'unknown-rope': row<{ file: string; got: unknown; known: readonly string[] }>(
    'caller',
    ({ file, got, known }) => `${file}: expected a rope type among ${names(known)}, got ${shown(got)}`,
  ),
  'unknown-activation': row<{ file: string; got: unknown; known: readonly string[] }>(
    'caller',
    ({ file, got, known }) => `${file}: expected an activation among ${names(known)}, got ${shown(got)}`,
  ),
  'quantized-checkpoint': row<{ file: string; got: unknown }>(
    'caller',
    ({ file, got }) =>
      `${file}: the checkpoint is quantized (${shown(got)}); expected weights in F32, F16 or BF16, or a GGUF file`,
  ),

  // Checkpoints
  'no-weights': row<{ place: string; looked: readonly string[]; present: readonly string[] }>(
    'caller',
    ({ place, looked, present }) =>
      `${place} has no weights: expected one of ${names(looked)}${present.length > 0 ? `; it has ${names(present)}` : ''}`,
  ),
  'weights-header': row<{ file: string; detail: string }>(
    'caller',
    ({ file, detail }) => `${file}: not a checkpoint that can be read: ${detail}`,
  ),
  'weights-record': row<{ file: string; tensor: string; detail: string }>(
    'caller',
    ({ file, tensor, detail }) => `${file}: the header's record of ${tensor} is wrong: ${detail}`,
  ),
  'weight-twice': row<{ tensor: string; files: readonly string[] }>(
    'caller',
    ({ tensor, files }) => `${tensor} is in the checkpoint more than once: ${files.join(' and ')}`,
  ),
  'weight-missing': row<{ tensor: string; shape: readonly number[]; file: string }>(
    'caller',
    ({ tensor, shape, file }) => `${tensor} is missing: expected it in ${file}, with shape ${list(shape)}`,
  ),
  'weight-shape': row<{
    tensor: string
    file: string
    expected: readonly number[]
    got: readonly number[]
  }>(
    'caller',
    ({ tensor, file, expected, got }) =>
      `${tensor}: expected shape ${list(expected)}, got ${list(got)} in ${file}`,
  ),
  'weight-dtype': row<{ tensor: string; file: string; known: readonly string[]; got: string }>(
    'caller',
    ({ tensor, file, known, got }) => `${tensor}: expected one of ${names(known)}, got ${got} in ${file}`,
  ),
  'chunk-bytes': row<{ least: number; got: unknown }>(
    'caller',
    ({ least, got }) => `chunkBytes: expected a whole number of at least ${least}, got ${String(got)}`,
  ),

  // Texts
  'no-tokenizer': row<{ place: string; hint: string }>(
    'caller',
    ({ place, hint }) => `${place} has no tokenizer that can be read: ${hint}`,
  ),
  tokenizer: row<{ file: string; detail: string }>(
    'caller',
    ({ file, detail }) => `${file}: not a tokenizer that can be read: ${detail}`,
  ),
  'token-id': row<{ got: unknown }>(
    'caller',
    ({ got }) => `expected token ids that are whole numbers of at least 0, got ${String(got)}`,
  ),
  'no-chat-template': row<{ name: string; present: readonly string[] }>(
    'caller',
    ({ name, present }) => `the model has no chat template ${name}; it has ${names(present)}`,
  ),
  'chat-template': row<{ name: string; detail: string }>(
    'caller',
    ({ name, detail }) => `the chat template ${name} does not render: ${detail}`,
  ),

  // Sampling
  'sampling-value': row<{ name: string; expected: string; got: unknown }>(
    'caller',
    ({ name, expected, got }) => `sampling.${name}: expected ${expected}, got ${String(got)}`,
  ),
  'sampling-logits': row<{ detail: string }>(
    'caller',
    ({ detail }) =>
      `logits: expected finite numbers, or -Infinity for tokens that may not come, got ${detail}`,
  ),
} as const
