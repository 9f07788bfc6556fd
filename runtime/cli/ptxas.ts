/** What `nvcc -Xptxas -v` wrote on stderr in; registers, spills and stack of each entry, and ptxas' own remarks, out. */

export interface EntryReport {
  readonly entry: string
  readonly registers: number
  /** Spill stores and loads together, also those of functions that were not inlined into it. */
  readonly spillBytes: number
  /** Of a thread's local memory, spills included: arrays that could not be kept in registers lie there too. */
  readonly stackBytes: number
}

export interface PtxasReport {
  /** Sorted by name: ptxas promises no order. */
  readonly entries: readonly EntryReport[]
  /** Losses of speed that ptxas tells of: `setmaxnreg` ignored, wgmma serialised. */
  readonly remarks: readonly string[]
}

const ENTRY = /Compiling entry function '([^']+)'/
const MEMORY = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/
const REGISTERS = /Used (\d+) registers/
const REMARK = /^ptxas \w+\s*:\s*(.*Potential Performance Loss.*)$/

export function readPtxas(report: string): PtxasReport {
  const entries: { -readonly [K in keyof EntryReport]: EntryReport[K] }[] = []
  const remarks = new Set<string>()
  for (const line of report.split(/\r?\n/)) {
    const remark = REMARK.exec(line.trim())
    if (remark) remarks.add(remark[1]!.trim())
    const begun = ENTRY.exec(line)
    if (begun) entries.push({ entry: begun[1]!, registers: 0, spillBytes: 0, stackBytes: 0 })
    // Functions that were not inlined stand behind the entry that calls them.
    const entry = entries.at(-1)
    if (entry === undefined) continue
    const bytes = MEMORY.exec(line)
    if (bytes) {
      const [stack, stores, loads] = bytes.slice(1).map(Number) as [number, number, number]
      entry.stackBytes = Math.max(entry.stackBytes, stack)
      entry.spillBytes += stores + loads
    }
    const used = REGISTERS.exec(line)
    if (used) entry.registers = Number(used[1])
  }
  return {
    entries: entries.sort((a, b) => (a.entry < b.entry ? -1 : 1)),
    remarks: [...remarks].sort(),
  }
}
