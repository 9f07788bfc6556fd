/** Tokens one by one in, text out as soon as it is certain: what a token spells can be half a character, or hang on the one before. */

export interface TextStream {
  /** What the token adds to the text that is out; nothing while a character is not whole. */
  push(id: number): string
  /** What is left at the end: the replacement character, where the tokens end within a character. */
  end(): string
}

/** Decoders write it for bytes that are no character, and so for those that are not one yet. */
const REPLACEMENT = '\uFFFD'

/** No character has more than 4 bytes, so no more than 3 tokens can be the beginning of one. */
const MOST_OPEN = 3
const MOST_PENDING = 16

/**
 * A stream over a decoder of whole sequences. Only the tokens since the last whole character are decoded again, behind
 * those of the part before: a decoder may treat the beginning of a text otherwise (SentencePiece drops its space).
 */
export function textStream(decode: (ids: readonly number[]) => string, after: readonly number[]): TextStream {
  let context = after.slice(-MOST_PENDING)
  let before = decode(context)
  let pending: number[] = []
  let out = 0

  const settle = (count: number): void => {
    const settled = pending.slice(0, count)
    const whole = [...context, ...settled]
    out -= decode(whole).length - before.length
    // Tokens that would be no text at its beginning (special ones, a space) are no context by themselves.
    context = decode(settled) === '' ? whole : settled
    before = decode(context)
    pending = pending.slice(count)
  }

  const since = (): string => decode([...context, ...pending]).slice(before.length)

  return {
    push(id) {
      pending.push(id)
      const text = since()
      const open = text.endsWith(REPLACEMENT)
      const added = text.slice(out, open ? -1 : undefined)
      out += added.length
      if (!open) settle(pending.length)
      else if (pending.length > MOST_PENDING) {
        // Bytes that never become characters: all but the last few tokens are what they are.
        const whole = decode([...context, ...pending])
        const fits = (count: number) => whole.startsWith(decode([...context, ...pending.slice(0, count)]))
        const cut = Array.from(
          { length: pending.length - MOST_OPEN },
          (_, i) => pending.length - MOST_OPEN - i,
        )
        settle(cut.find(fits) ?? 0)
      }
      return added
    },
    end() {
      const rest = since().slice(out)
      settle(pending.length)
      out = 0
      return rest
    },
  }
}
