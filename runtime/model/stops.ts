/** A stream of text in, the same stream out up to one of the texts that stop it; what may become one is held back. */

import type { TextStream } from './text-stream.ts'

export interface StoppedStream {
  /** What can be said once the token is there; `ended` where a text that stops has been met, which is not given. */
  push(token: number): { readonly text: string; readonly ended: boolean }
  /** What was held back and turned out to be text. */
  end(): string
}

const SILENT: TextStream = { push: () => '', end: () => '' }

/** @param stream null: tokens have no text */
export function stoppedStream(stream: TextStream | null, stops: readonly string[]): StoppedStream {
  const source = stream ?? SILENT
  let held = ''
  let ended = false
  return {
    push(token) {
      held += source.push(token)
      const first = firstOf(held, stops)
      if (first !== null) {
        const text = held.slice(0, first)
        held = ''
        ended = true
        return { text, ended }
      }
      const certain = held.length - openEnd(held, stops)
      const text = held.slice(0, certain)
      held = held.slice(certain)
      return { text, ended }
    },
    end() {
      const rest = ended ? '' : held + source.end()
      held = ''
      const first = firstOf(rest, stops)
      return first === null ? rest : rest.slice(0, first)
    },
  }
}

/** Where the first text that stops begins. */
function firstOf(text: string, stops: readonly string[]): number | null {
  const found = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0)
  return found.length > 0 ? Math.min(...found) : null
}

/** How much of the end may be the beginning of a text that stops. */
function openEnd(text: string, stops: readonly string[]): number {
  let most = 0
  for (const stop of stops) {
    for (let n = Math.min(stop.length - 1, text.length); n > most; n--) {
      if (text.endsWith(stop.slice(0, n))) most = n
    }
  }
  return most
}
