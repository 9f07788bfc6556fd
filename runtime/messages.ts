/** Every error of the runtime as data: code, who has to act, sentence; and the one class that carries them. */

import { list, names, row, type Blame } from './message-row.ts'
import { EXECUTOR_MESSAGES } from './model/executor-messages.ts'
import { MODEL_MESSAGES } from './model/messages.ts'

export type { Blame } from './message-row.ts'

export const MESSAGES = {
  // Artefacts
  'not-an-artifact': row<{ what: string }>('caller', ({ what }) => `not a Heddle artefact: ${what}`),
  'artifact-version': row<{ expected: number; got: unknown }>(
    'caller',
    ({ expected, got }) =>
      `this runtime reads artefacts of version ${expected}, got version ${String(got)}: build it again`,
  ),
  'artifact-hash': row<{ expected: string; got: string }>(
    'caller',
    ({ expected, got }) =>
      `the artefact says hash ${expected}, its content has ${got}: it was changed or cut off after the build`,
  ),

  // Tensors
  shape: row<{
    tensor: string
    axes: readonly string[]
    expected: readonly (number | string)[]
    got: readonly (number | string)[]
  }>(
    'caller',
    ({ tensor, axes, expected, got }) =>
      `${tensor}: expected ${list(axes)} = ${list(expected)}, got ${list(got)}`,
  ),
  'shape-value': row<{ tensor: string; axis: string; least: number; most: number; got: unknown }>(
    'caller',
    ({ tensor, axis, least, most, got }) =>
      `${tensor}: expected ${axis} to be a whole number from ${least} to ${most}, got ${String(got)}`,
  ),
  'heads-group': row<{ qHeads: number; kvHeads: number }>(
    'caller',
    ({ qHeads, kvHeads }) => `q has ${qHeads} heads, which is no multiple of the ${kvHeads} heads of k and v`,
  ),
  dtype: row<{ tensor: string; expected: string; got: string }>(
    'caller',
    ({ tensor, expected, got }) => `${tensor}: expected ${expected}, got ${got}`,
  ),
  'tensor-size': row<{ tensor: string; needed: number; got: number; unit: 'elements' | 'bytes' }>(
    'caller',
    ({ tensor, needed, got, unit }) => `${tensor}: its shape and strides need ${needed} ${unit}, got ${got}`,
  ),
  strides: row<{ tensor: string; got: unknown }>(
    'caller',
    ({ tensor, got }) =>
      `${tensor}: expected strides [batch, head, row] as three whole numbers from 0 to 2^32 - 1, got ${JSON.stringify(got)}`,
  ),
  alignment: row<{ tensor: string; what: string; multiple: number; got: number }>(
    'caller',
    ({ tensor, what, multiple, got }) =>
      `${tensor}: expected ${what} to be a multiple of ${multiple}, got ${got}`,
  ),
  layout: row<{ tensor: string; got: unknown }>(
    'caller',
    ({ tensor, got }) => `${tensor}: expected layout 'bhld' or 'blhd', got ${JSON.stringify(got)}`,
  ),
  scale: row<{ got: unknown }>('caller', ({ got }) => `scale: expected a finite number, got ${String(got)}`),

  // Lengths
  'lengths-count': row<{ expected: number; got: unknown }>(
    'caller',
    ({ expected, got }) => `lengths: expected one entry per batch = ${expected}, got ${String(got)}`,
  ),
  length: row<{ field: string; batch: number; least: number; most: number; got: unknown }>(
    'caller',
    ({ field, batch, least, most, got }) =>
      `lengths[${batch}].${field}: expected a whole number from ${least} to ${most}, got ${String(got)}`,
  ),
  'length-unknown': row<{ field: string; batch: number }>(
    'caller',
    ({ field, batch }) =>
      `lengths[${batch}] has a field \`${field}\`; there are qRow, qStart, qLen, kvStart and kvLen`,
  ),
  'negative-start': row<{ batch: number; qLen: number; kvLen: number }>(
    'caller',
    ({ batch, qLen, kvLen }) =>
      `batch ${batch} has ${qLen} queries and ${kvLen} keys, so its first query would stand at ${kvLen - qLen}; ` +
      `pass lengths with the qStart that is meant (qStart: ${kvLen - qLen} or qStart: 0)`,
  ),

  // Params
  'param-unknown': row<{ name: string; known: readonly string[] }>(
    'caller',
    ({ name, known }) => `params: there is no \`${name}\`; the pattern has ${names(known)}`,
  ),
  'param-count': row<{ name: string; expected: number; got: number }>(
    'caller',
    ({ name, expected, got }) =>
      `params.${name}: expected one number or one per query head = ${expected}, got ${got}`,
  ),
  'param-scalar': row<{ name: string }>(
    'caller',
    ({ name }) =>
      `params.${name}: expected one number, got a list; only a perHead param has one value per head`,
  ),
  'param-value': row<{ name: string; type: 'i32' | 'f32'; min: number; max: number; got: unknown }>(
    'caller',
    ({ name, type, min, max, got }) =>
      `params.${name}: expected ${type === 'i32' ? 'a whole' : 'a finite'} number from ${min} to ${max}, got ${String(got)}`,
  ),

  // Profiles
  'profile-layout': row<{ what: string }>(
    'caller',
    ({ what }) => `not a profile of MInference's layout: ${what}`,
  ),
  'profile-head': row<{ layer: number; head: number; got: readonly string[] }>(
    'caller',
    ({ layer, head, got }) =>
      `profile: layer ${layer} has ${got.length} heads and no head ${head} among them; it has ${names(got)}`,
  ),
  'profile-type': row<{ layer: number; head: number; got: unknown; known: readonly string[] }>(
    'caller',
    ({ layer, head, got, known }) =>
      `profile: layer ${layer}, head ${head}: there is no type ${JSON.stringify(got)}; there are ${names(known)}`,
  ),
  'profile-number': row<{
    layer: number
    head: number
    type: string
    name: string
    least: number
    most: number
    got: unknown
  }>(
    'caller',
    ({ layer, head, type, name, least, most, got }) =>
      `profile: layer ${layer}, head ${head}: expected ${name} of ${type} to be a whole number from ${least} to ` +
      `${most}, got ${JSON.stringify(got)}`,
  ),
  'profile-score': row<{ layer: number; head: number; got: unknown }>(
    'caller',
    ({ layer, head, got }) =>
      `profile: layer ${layer}, head ${head}: expected the score to be a number, got ${JSON.stringify(got)}`,
  ),
  'profile-layer': row<{ layer: number; layers: number }>('caller', ({ layer, layers }) =>
    layers === 0
      ? `profile: there is no layer ${layer}; it is empty`
      : `profile: there is no layer ${layer}; it has layers 0 to ${layers - 1}`,
  ),
  'profile-heads': row<{ layer: number; expected: number; got: number }>(
    'caller',
    ({ layer, expected, got }) =>
      `profile: layer ${layer} is of ${got} query heads, the call has ${expected}`,
  ),

  // Tables
  'table-unknown': row<{ name: string; known: readonly string[] }>(
    'caller',
    ({ name, known }) => `tables: there is no \`${name}\`; the pattern has ${names(known)}`,
  ),
  'rows-unknown': row<{ name: string; known: readonly string[] }>(
    'caller',
    ({ name, known }) => `rows: there is no \`${name}\`; the pattern has ${names(known)}`,
  ),
  'rows-missing': row<{ name: string; axes: readonly string[]; expected: readonly (number | string)[] }>(
    'caller',
    ({ name, axes, expected }) => `rows.${name} is missing: expected ${list(axes)} = ${list(expected)}`,
  ),
  'table-missing': row<{ name: string; dims: readonly (number | string)[]; sizes: readonly number[] }>(
    'caller',
    ({ name, dims, sizes }) => `tables.${name} is missing: expected ${list(dims)} = ${list(sizes)}`,
  ),
  'table-type': row<{ name: string; expected: string; got: string }>(
    'caller',
    ({ name, expected, got }) => `tables.${name}: expected ${expected}, got ${got}`,
  ),
  'table-size': row<{
    name: string
    dims: readonly (number | string)[]
    sizes: readonly number[]
    needed: number
    got: number
  }>(
    'caller',
    ({ name, dims, sizes, needed, got }) =>
      `tables.${name}: expected ${list(dims)} = ${list(sizes)}, ${needed} values, got ${got}`,
  ),
  'table-axis': row<{ name: string; axis: string }>(
    'caller',
    ({ name, axis }) =>
      `tables.${name}: the axis ${axis} belongs to selection stages, which this artefact has none of`,
  ),
  'table-monotone': row<{ name: string; at: number; before: number; value: number }>(
    'caller',
    ({ name, at, before, value }) =>
      `tables.${name} is declared monotone, but falls from ${before} to ${value} at element ${at}`,
  ),
  'table-value': row<{ name: string; at: number; min: number; max: number; got: number }>(
    'caller',
    ({ name, at, min, max, got }) =>
      `tables.${name}: expected values from ${min} to ${max}, got ${got} at element ${at}`,
  ),

  // Lists
  'lists-count': row<{ expected: number; got: number }>(
    'caller',
    ({ expected, got }) => `lists: expected one for each of the artefact's lists = ${expected}, got ${got}`,
  ),
  'list-type': row<{ list: number; field: string; got: string }>(
    'caller',
    ({ list: n, field, got }) => `lists[${n}].${field}: expected an Int32Array, got ${got}`,
  ),
  'list-size': row<{ list: number; field: string; shape: readonly number[]; got: number }>(
    'caller',
    ({ list: n, field, shape, got }) =>
      `lists[${n}].${field}: expected [batch, sharers, query units] = ${list(shape)}, got ${got} words`,
  ),
  'list-record': row<{ list: number; record: number; start: number; count: number; words: number }>(
    'caller',
    ({ list: n, record, start, count, words }) =>
      `lists[${n}]: record ${record} has ${count} units from word ${start} on, but there are ${words} words of ids`,
  ),
  'list-id': row<{ list: number; at: number; most: number; got: number }>(
    'caller',
    ({ list: n, at, most, got }) =>
      `lists[${n}].ids: expected numbers from 0 to ${most}, got ${got} at word ${at}`,
  ),
  'list-order': row<{
    list: number
    record: number
    order: 'index' | 'score'
    before: number
    value: number
  }>('caller', ({ list: n, record, order, before, value }) =>
    order === 'index'
      ? `lists[${n}]: the units of record ${record} should ascend and not overlap, but ${value} follows ${before}; ` +
        `sort them, or build the kernel for a list in order of 'score'`
      : `lists[${n}]: two units of record ${record} overlap, at ${value}`,
  ),

  // Stages
  'stages-pages': row<{ pattern: string }>(
    'caller',
    ({ pattern }) =>
      `pages: ${pattern} chooses by the data, and its kernels read keys and values that lie in rows`,
  ),
  'stages-lengths': row<{ pattern: string }>(
    'caller',
    ({ pattern }) =>
      `lengths: ${pattern} chooses by the data, and its kernels take batch entries that are all of one length`,
  ),

  // Variants
  'no-variant': row<{ wanted: string; present: readonly string[] }>(
    'caller',
    ({ wanted, present }) => `the artefact has no variant for ${wanted}; it has ${names(present)}`,
  ),
  'variant-needs': row<{ wanted: string; reasons: readonly string[] }>(
    'machine',
    ({ wanted, reasons }) => `no variant for ${wanted} runs on this device: ${reasons.join('; ')}`,
  ),

  // Calls on a device
  'binding-limit': row<{ tensor: string; what: string; needed: number; limit: number }>(
    'machine',
    ({ tensor, what, needed, limit }) =>
      `${tensor}: ${what} takes ${needed} bytes, the device binds at most ${limit}`,
  ),
  'grid-limit': row<{ tiles: number; most: number }>(
    'machine',
    ({ tiles, most }) => `the call has ${tiles} query tiles, the device starts at most ${most} workgroups`,
  ),
  'out-of-memory': row<{ bytes: number }>(
    'machine',
    ({ bytes }) =>
      `the device is out of memory: this call wanted ${bytes} bytes of buffers; they have been given back`,
  ),
  'device-lost': row<{ reason: string; detail: string }>(
    'machine',
    ({ reason, detail }) =>
      `the device was lost (${reason}${detail ? `: ${detail}` : ''}); open another one and load the kernel on it`,
  ),
  'kernel-released': row<{ pattern: string }>(
    'caller',
    ({ pattern }) => `the kernel of ${pattern} has been released`,
  ),
  'no-timestamps': row<Record<string, never>>(
    'caller',
    () => 'timestamps: the device was opened without the feature timestamp-query',
  ),
  'gpu-error': row<{ step: string; detail: string }>(
    'heddle',
    ({ step, detail }) => `WebGPU refused the ${step}: ${detail}`,
  ),

  // Devices
  'no-webgpu': row<{ where: string; detail: string }>(
    'machine',
    ({ where, detail }) => `there is no WebGPU ${where}${detail ? `: ${detail}` : ''}`,
  ),
  'no-adapter': row<{ detail: string }>('machine', ({ detail }) => `no WebGPU adapter was found: ${detail}`),
  'feature-missing': row<{ feature: string; name: string; present: readonly string[] }>(
    'machine',
    ({ feature, name, present }) => `the adapter ${name} has no feature ${feature}; it has ${names(present)}`,
  ),
  'device-refused': row<{ name: string; detail: string }>(
    'machine',
    ({ name, detail }) => `the adapter ${name} gave no device: ${detail}`,
  ),

  // CUDA
  'no-cuda': row<{ detail: string }>('machine', ({ detail }) => `there is no CUDA device: ${detail}`),
  'cuda-capability': row<{ name: string; capability: string }>(
    'machine',
    ({ name, capability }) =>
      `${name} has compute capability ${capability}; kernels need 8.0 (Ampere) or later`,
  ),
  'cuda-error': row<{ step: string; name: string; detail: string; call: string }>(
    'machine',
    ({ step, name, detail, call }) =>
      `the CUDA driver refused the ${step}: ${name}${detail ? `, ${detail}` : ''}${call ? ` (${call})` : ''}`,
  ),
  'cuda-compile': row<{ pattern: string; variant: string; compiler: string; log: string }>(
    'heddle',
    ({ pattern, variant, compiler, log }) =>
      `${compiler} does not compile the variant ${variant} of ${pattern}:\n${log}`,
  ),
  'no-cuda-compiler': row<{
    pattern: string
    variant: string
    arch: string
    present: readonly string[]
    tried: readonly string[]
  }>(
    'machine',
    ({ pattern, variant, arch, present, tried }) =>
      `the variant ${variant} of ${pattern} has no cubin for ${arch} (it has ${names(present)}), and there is neither NVRTC ` +
      `nor nvcc to compile one: install the CUDA toolkit or the Python package nvidia-cuda-nvrtc, or name libnvrtc in ` +
      `HEDDLE_NVRTC (looked for ${tried.join(', ')})`,
  ),
  'cubin-hash': row<{ file: string; expected: string; got: string }>(
    'caller',
    ({ file, expected, got }) =>
      `${file}: the manifest says SHA-256 ${expected}, the file has ${got}: build it again`,
  ),
  'cuda-variant': row<{ pattern: string; wanted: string; reasons: readonly string[] }>(
    'caller',
    ({ pattern, wanted, reasons }) =>
      `no variant of ${pattern} takes this call (${wanted}): ${reasons.length === 0 ? 'the artefact has none' : reasons.join('; ')}`,
  ),
  'no-emulation': row<{ detail: string }>(
    'machine',
    ({ detail }) =>
      `CUDA kernels cannot be emulated on the CPU: ${detail}; install g++, or name a C++ compiler in CXX`,
  ),
  'emulated-fault': row<{ kernel: string; call: string; detail: string }>(
    'heddle',
    ({ kernel, call, detail }) => `the emulation stopped ${kernel}${call ? ` (${call})` : ''}: ${detail}`,
  ),
  'inner-stride': row<{ tensor: string; got: unknown }>(
    'caller',
    ({ tensor, got }) =>
      `${tensor}: expected the elements of a row to be neighbours (last stride 1), got a stride of ${String(got)}`,
  ),
  'page-table': row<{ what: string; expected: string; got: unknown }>(
    'caller',
    ({ what, expected, got }) => `pages.${what}: expected ${expected}, got ${String(got)}`,
  ),
  'page-entry': row<{ batch: number; at: number; pages: number; got: number }>(
    'caller',
    ({ batch, at, pages, got }) =>
      `pages.table: batch ${batch}, entry ${at}: expected a page from 0 to ${pages - 1}, got ${got}`,
  ),

  ...MODEL_MESSAGES,
  ...EXECUTOR_MESSAGES,
} as const

export type Code = keyof typeof MESSAGES
export type MessageArgs<C extends Code> = Parameters<(typeof MESSAGES)[C]['text']>[0]

/** The text of a message; for those that print one without throwing it. */
export function messageText<C extends Code>(code: C, args: MessageArgs<C>): string {
  // Each row takes its own arguments; the table's type says so, the union of rows cannot.
  return (MESSAGES[code].text as (a: MessageArgs<C>) => string)(args)
}

/** What every function of the runtime throws: a code to branch on, the values, and a sentence that names both. */
export class HeddleError<C extends Code = Code> extends Error {
  readonly code: C
  readonly args: MessageArgs<C>

  constructor(code: C, args: MessageArgs<C>, options?: ErrorOptions) {
    super(messageText(code, args), options)
    this.name = 'HeddleError'
    this.code = code
    this.args = args
  }

  get blame(): Blame {
    return MESSAGES[this.code].blame
  }
}
