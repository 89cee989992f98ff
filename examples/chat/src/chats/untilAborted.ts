/** What an iterator gives, until a signal aborts: then at once no more, even if the iterator waits. */
export async function* untilAborted<T>(items: AsyncGenerator<T>, signal: AbortSignal): AsyncGenerator<T> {
  let end = () => {}
  const aborted = new Promise<never>((_, reject) => {
    end = () => reject(signal.reason)
    signal.addEventListener('abort', end)
  })
  aborted.catch(() => {}) // no one may be waiting
  try {
    while (true) {
      signal.throwIfAborted()
      const next = items.next()
      next.catch(() => {}) // after the abort it may fail, and nobody listens
      const { done, value } = await Promise.race([next, aborted])
      if (done) return
      yield value
    }
  } finally {
    signal.removeEventListener('abort', end)
    void items.return(undefined).catch(() => {}) // not awaited: it waits for next()
  }
}
