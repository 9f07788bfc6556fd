/** A pattern file in; the files that its meaning depends on out: itself and what it imports, read but never run. */

import * as fs from 'node:fs'
import * as path from 'node:path'
import ts from 'typescript'
import { PACKAGE_ROOT } from '../../compiler/package-root.ts'

/** As the compiler resolves them. */
const OPTIONS: ts.CompilerOptions = {
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  allowImportingTsExtensions: true,
  allowJs: true,
  customConditions: ['heddle-source'],
}

/** Absolute paths, sorted; an import that leads nowhere is the compiler's to report. */
export function sourcesOf(file: string): string[] {
  const seen = new Set<string>()
  const visit = (name: string) => {
    const at = path.resolve(name)
    if (seen.has(at)) return
    const text = ts.sys.readFile(at)
    if (text === undefined) return
    seen.add(at)
    for (const found of ts.preProcessFile(text, true, true).importedFiles) {
      const target =
        ts.resolveModuleName(found.fileName, at, OPTIONS, ts.sys).resolvedModule?.resolvedFileName ??
        own(found.fileName)
      if (target !== undefined && !isOwn(target)) visit(target)
    }
  }
  visit(file)
  return [...seen].sort()
}

/** Whether a file speaks of patterns at all: by the language's first word, or by importing the language. */
export function speaksOfPatterns(file: string): boolean {
  const text = ts.sys.readFile(file) ?? ''
  const { importedFiles } = ts.preProcessFile(text, true, true)
  return (
    /\bpattern\s*\(/.test(text) ||
    importedFiles.some(({ fileName }) => /^heddle(\/patterns.*)?$/.test(fileName))
  )
}

/** The compiler finds the library also for files with no package called heddle in reach. */
const own = (module: string): string | undefined =>
  module === 'heddle/patterns' ? path.join(PACKAGE_ROOT, 'patterns/index.ts') : undefined

/** The words of the language are part of Heddle's version, not of the author's sources. */
const isOwn = (file: string): boolean => {
  const root = fs.realpathSync(PACKAGE_ROOT) + path.sep
  const real = fs.realpathSync(file)
  return real.startsWith(root) && /^(dsl|dist)\b/.test(real.slice(root.length))
}
