/** Something slow to load in; a function that loads it once out. A failure is not remembered: the next call tries again. */

export function remember<T>(load: () => Promise<T>): () => Promise<T> {
  let loading: Promise<T> | null = null
  return () => {
    const current = (loading ??= load())
    current.catch(() => {
      if (loading === current) loading = null
    })
    return current
  }
}
