/** What a row of a message table is, and the two ways in which its sentences list things. */

/** caller: the call or the file is wrong; machine: the adapter, its memory or its limits; heddle: our bug. */
export type Blame = 'caller' | 'machine' | 'heddle'

export interface Row<A> {
  readonly blame: Blame
  readonly text: (args: A) => string
}

export const row = <A>(blame: Blame, text: (args: A) => string): Row<A> => ({ blame, text })
export const list = (xs: readonly (number | string)[]): string => `[${xs.join(', ')}]`
export const names = (xs: readonly string[]): string => (xs.length === 0 ? 'none' : xs.join(', '))
