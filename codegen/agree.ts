/** oneReads(): a value that one thread reads in; the same value, known to be the same for all threads of the workgroup, out. */

import type { Block } from './block.ts'
import { at, eq, op, u32, type Code, type Memory } from './kernel.ts'

/**
 * What comes next may have barriers, and what a thread reads of memory that others write is not known to be the same for all: so one
 * reads, and all take its word.
 *
 * @param also what the reader does before the others go on
 */
export function oneReads(
  block: Block,
  word: Memory,
  value: Code,
  wish: string,
  also: (b: Block) => void = () => {},
): Code {
  block.if(eq(op('u32', 'thread'), u32(0)), (b) => {
    b.set(at(word), value)
    also(b)
  })
  return block.let(wish, op(word.type, 'uniformLoad', at(word)))
}
