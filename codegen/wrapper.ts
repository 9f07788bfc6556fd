/** wrapperOf(): an Artifact in, a TypeScript module with typed params and tables around it out, and its declarations. */

import {
  IndentationText,
  Project,
  QuoteKind,
  ts,
  type OptionalKind,
  type PropertySignatureStructure,
} from 'ts-morph'
import type { ParamInfo, TableInfo } from '../compiler/plan.ts'
import type { Artifact } from './artifact.ts'

export interface Wrapper {
  readonly ts: string
  readonly dts: string
}

const pascal = (name: string): string => {
  const joined = name.replace(/(^|[^A-Za-z0-9]+)([A-Za-z0-9])/g, (_, __, c: string) => c.toUpperCase())
  return /^[A-Za-z]/.test(joined) ? joined : `Pattern${joined}`
}
const key = (name: string): string => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name))

const paramProperty = ({
  name,
  type,
  default: value,
  min,
  max,
  perHead,
}: ParamInfo): OptionalKind<PropertySignatureStructure> => ({
  name: key(name),
  isReadonly: true,
  hasQuestionToken: true,
  type: perHead ? 'number | readonly number[]' : 'number',
  docs: [
    `${type === 'i32' ? 'A whole number' : 'A number'} from ${min} to ${max}; ${value} unless given.${perHead ? ' A list has one per query head.' : ''}`,
  ],
})

const tableProperty = ({
  name,
  type,
  dims,
  monotone,
}: TableInfo): OptionalKind<PropertySignatureStructure> => ({
  name: key(name),
  isReadonly: true,
  type: type === 'i32' ? 'Int32Array' : 'Float32Array',
  docs: [
    `[${dims.join(', ')}], row-major${monotone ? '; values never decrease along the last dimension' : ''}.`,
  ],
})

export function wrapperOf(artifact: Artifact): Wrapper {
  const project = new Project({
    useInMemoryFileSystem: true,
    skipLoadingLibFiles: true,
    manipulationSettings: { indentationText: IndentationText.TwoSpaces, quoteKind: QuoteKind.Single },
  })
  const { pattern, params, tables } = artifact
  const title = pascal(pattern)
  const word = title[0]!.toLowerCase() + title.slice(1)
  const file = project.createSourceFile('wrapper.ts')
  file.addStatements(
    `/** Attention with the pattern \`${pattern}\`, as Heddle ${artifact.heddle} built it; hash ${artifact.hash}. */`,
  )
  file.addImportDeclaration({
    moduleSpecifier: 'heddle/runtime',
    namedImports: [
      'attention',
      'loadKernel',
      { name: 'AttentionCall', isTypeOnly: true },
      { name: 'AttentionResult', isTypeOnly: true },
      { name: 'Kernel', isTypeOnly: true },
    ],
  })
  file.addImportDeclaration({
    moduleSpecifier: 'heddle/codegen',
    isTypeOnly: true,
    namedImports: ['Artifact'],
  })
  const none = 'Readonly<Record<string, never>>'
  if (params.length > 0)
    file.addInterface({ name: `${title}Params`, isExported: true, properties: params.map(paramProperty) })
  if (tables.length > 0)
    file.addInterface({ name: `${title}Tables`, isExported: true, properties: tables.map(tableProperty) })
  file.addInterface({
    name: `${title}Call`,
    isExported: true,
    extends: [`Omit<AttentionCall, 'params' | 'tables'>`],
    properties: [
      {
        name: 'params',
        isReadonly: true,
        hasQuestionToken: true,
        type: params.length > 0 ? `${title}Params` : none,
      },
      {
        name: 'tables',
        isReadonly: true,
        hasQuestionToken: tables.length === 0,
        type: tables.length > 0 ? `${title}Tables` : none,
      },
    ],
  })
  file.addFunction({
    name: `load${title}`,
    isExported: true,
    parameters: [{ name: 'device', type: 'Parameters<typeof loadKernel>[1]' }],
    returnType: 'Kernel',
    docs: ['The kernel on a device; release it when done.'],
    statements: 'return loadKernel(artifact, device)',
  })
  file.addFunction({
    name: `${word}Attention`,
    isExported: true,
    parameters: [
      { name: 'kernel', type: 'Kernel' },
      { name: 'call', type: `${title}Call` },
    ],
    returnType: 'Promise<AttentionResult>',
    docs: [`Runs \`${pattern}\` on tensors.${artifact.cite ? ` ${artifact.cite}` : ''}`],
    statements: `return attention(kernel, { ...call, params: { ...call.params }, tables: { ...call.tables } })`,
  })
  // The artefact stands inside the module: no bundler needs to be told how to load it.
  const text = `${file.getFullText().trimEnd()}\n\nexport const artifact: Artifact = ${JSON.stringify(artifact, null, 1)}\n`
  const declared = ts.transpileDeclaration(text, {
    fileName: `${pattern}.ts`,
    compilerOptions: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      newLine: ts.NewLineKind.LineFeed,
    },
  })
  return { ts: text, dts: declared.outputText }
}
