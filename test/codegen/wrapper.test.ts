/** The typed module around an artefact: it type-checks against the runtime, and refuses what the pattern does not have. */

import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import { emit } from '../../codegen/index.ts'
import { wrapperOf } from '../../codegen/wrapper.ts'
import { plan, type PlanName } from './plans.ts'

const emitted = (name: PlanName) =>
  emit({ plan: plan(name) }, { target: 'wgsl', headDims: [64], dtypes: ['f32'], capabilities: ['portable'] })
const root = fileURLToPath(new URL('../../', import.meta.url))

/** TypeScript's complaints about some files that stand beside each other at the project's root. */
function complaintsOf(files: Readonly<Record<string, string>>): string[] {
  const options: ts.CompilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    exactOptionalPropertyTypes: true,
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    allowImportingTsExtensions: true,
    types: ['@webgpu/types'],
    lib: ['lib.es2023.d.ts', 'lib.dom.d.ts', 'lib.esnext.disposable.d.ts', 'lib.esnext.float16.d.ts'],
    paths: { 'heddle/runtime': [`${root}runtime/index.ts`], 'heddle/codegen': [`${root}codegen/index.ts`] },
  }
  const host = ts.createCompilerHost(options)
  const { readFile, fileExists, getSourceFile } = host
  const given = new Map(Object.entries(files).map(([name, text]) => [root + name, text]))
  host.fileExists = (name) => given.has(name) || fileExists(name)
  host.readFile = (name) => given.get(name) ?? readFile(name)
  host.getSourceFile = (name, version, ...rest) => {
    const text = given.get(name)
    return text === undefined
      ? getSourceFile(name, version, ...rest)
      : ts.createSourceFile(name, text, version)
  }
  host.getCurrentDirectory = () => root
  const program = ts.createProgram([...given.keys()], options, host)
  return [...given.keys()].flatMap((name) =>
    program
      .getSemanticDiagnostics(program.getSourceFile(name)!)
      .map((d) => ts.flattenDiagnosticMessageText(d.messageText, '\n')),
  )
}

describe('the wrapper', () => {
  it('type-checks, and types params and tables', () => {
    const shape = wrapperOf(emitted('a-shape')).ts
    const document = wrapperOf(emitted('document')).ts
    const user = `
      import { aShapeAttention, loadAShape, type AShapeCall } from './wrapped-a-shape.ts'
      import { documentAttention, type DocumentCall } from './wrapped-document.ts'
      declare const device: GPUDevice
      declare const tensors: Pick<AShapeCall, 'q' | 'k' | 'v'>
      const kernel = loadAShape(device)
      await aShapeAttention(kernel, { ...tensors, params: { window: 8, sinkTokens: [1, 2] } })
      await documentAttention(kernel, { ...tensors, tables: { docId: new Int32Array(4) } })
      // @ts-expect-error a misspelt param
      await aShapeAttention(kernel, { ...tensors, params: { windw: 8 } })
      // @ts-expect-error one value per head of a param that has none
      await aShapeAttention(kernel, { ...tensors, params: { window: [8] } })
      // @ts-expect-error a missing table
      await documentAttention(kernel, { ...tensors })
      // @ts-expect-error a table of the wrong type
      const bad: DocumentCall = { ...tensors, tables: { docId: new Float32Array(4) } }
      export { bad }
    `
    expect(
      complaintsOf({ 'wrapped-a-shape.ts': shape, 'wrapped-document.ts': document, 'wrapped-user.ts': user }),
    ).toEqual([])
  })

  it('declares in its .d.ts what the module exports', () => {
    const { dts } = wrapperOf(emitted('document'))
    for (const name of [
      'interface DocumentTables',
      'interface DocumentCall',
      'function loadDocument',
      'function documentAttention',
      'const artifact: Artifact',
    ]) {
      expect(dts).toContain(name)
    }
    expect(dts).not.toContain('@compute')
    expect(dts).not.toContain('DocumentParams')
  })

  it('is the same text each time', () => {
    const artifact = emitted('alibi')
    expect(wrapperOf(artifact)).toEqual(wrapperOf(artifact))
  })

  it('gives every pattern name a legal identifier', () => {
    const artifact = { ...emitted('causal'), pattern: '2d-window' }
    expect(wrapperOf(artifact).ts).toContain('export function pattern2dWindowAttention(')
  })
})
