/** JSON text in, the first key that a record of it has twice out: JSON.parse keeps the last one and says nothing. */

/** For text that JSON.parse has read; null where every record has each key once. */
export function repeatedKey(text: string): string | null {
  const seen: (Set<string> | null)[] = []
  let keyNext = false
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!
    if (char === '{') {
      seen.push(new Set())
      keyNext = true
    } else if (char === '[') {
      seen.push(null)
      keyNext = false
    } else if (char === '}' || char === ']') {
      seen.pop()
      keyNext = false
    } else if (char === ',') keyNext = seen.at(-1) !== null
    else if (char === '"') {
      const end = endOfString(text, at)
      if (keyNext) {
        // Two spellings of a key, "a" and "\u0061", are one key.
        const key = JSON.parse(text.slice(at, end)) as string
        const keys = seen.at(-1)!
        if (keys.has(key)) return key
        keys.add(key)
        keyNext = false
      }
      at = end - 1
    }
  }
  return null
}

/** The place after the closing quote of the string that begins at `at`. */
function endOfString(text: string, at: number): number {
  let end = at + 1
  while (text[end] !== '"') end += text[end] === '\\' ? 2 : 1
  return end + 1
}
