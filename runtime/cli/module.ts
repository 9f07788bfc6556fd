/** A pattern file in; what it exports, by running it through tsx, out. Only commands that say so in their help use this. */

import Module, { register } from 'node:module'
import { existsSync } from 'node:fs'
import * as path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { tsImport } from 'tsx/esm/api'
import type { Pattern } from '../../dsl/index.ts'
import { CliError } from './messages.ts'

const here = path.dirname(fileURLToPath(import.meta.url))

/** The file of this package, in the sources or in the build, whichever this one is of. */
function ownFile(name: string): string {
  const source = path.resolve(here, '../..', `${name}.ts`)
  return existsSync(source) ? source : path.resolve(here, '../..', `${name}.js`)
}

/** For files with no package called heddle in reach, as the compiler does: this package. */
const OWN: Readonly<Record<string, string>> = {
  heddle: ownFile('dsl/index'),
  'heddle/patterns': ownFile('patterns/index'),
}

type Resolve = (this: unknown, request: string, ...rest: unknown[]) => string
let registered = false

/** What is resolved as it is stays so; only a failure looks at our list. */
function registerOwn(): void {
  if (registered) return
  registered = true
  const urls = Object.fromEntries(Object.entries(OWN).map(([name, file]) => [name, pathToFileURL(file).href]))
  const hook = `const own = ${JSON.stringify(urls)}
export async function resolve(specifier, context, next) {
  try { return await next(specifier, context) } catch (error) {
    if (Object.hasOwn(own, specifier)) return { url: own[specifier], format: 'module', shortCircuit: true }
    throw error
  }
}`
  register(`data:text/javascript,${encodeURIComponent(hook)}`)
  // A file outside any ES module package is loaded as CommonJS, which asks here.
  const loader = Module as unknown as { _resolveFilename: Resolve }
  const resolve = loader._resolveFilename
  loader._resolveFilename = function (request, ...rest) {
    try {
      return resolve.call(this, request, ...rest)
    } catch (error) {
      const own = Object.hasOwn(OWN, request) ? OWN[request] : undefined
      if (own !== undefined) return own
      throw error
    }
  }
}

/** The pattern that the file exports under a name; each call runs the file anew. */
export async function importPattern(file: string, shown: string, exportName: string): Promise<Pattern> {
  registerOwn()
  let exported: Readonly<Record<string, unknown>>
  try {
    exported = (await tsImport(pathToFileURL(file).href, import.meta.url)) as Readonly<
      Record<string, unknown>
    >
  } catch (error) {
    throw new CliError('cannot-load', {
      file: shown,
      detail: error instanceof Error ? error.message.split('\n')[0]! : String(error),
    })
  }
  const found = exported[exportName]
  if (!isPattern(found))
    throw new CliError('cannot-load', {
      file: shown,
      detail: `its export ${exportName} is no pattern when it runs`,
    })
  return found
}

const isPattern = (x: unknown): x is Pattern =>
  typeof x === 'object' && x !== null && 'kind' in x && x.kind === 'heddle/pattern'
