/** How long to wait before the next attempt to connect. */

const LONGEST = 8_000
const ATTEMPTS = 10

/** Milliseconds that a timer can wait. It ends at once if it is told to wait longer. */
const LONGEST_TIMER = 2 ** 31 - 1

export class Backoff {
  /** What the server asked for by its last `retry:` line, in milliseconds. */
  least = 500
  private attempts = 0

  /** Something came: the next loss is a new one. */
  reset() {
    this.attempts = 0
  }

  get exhausted() {
    return this.attempts >= ATTEMPTS
  }

  /**
   * Wait: longer each time, shorter when the network is back.
   *
   * @param notBefore What Retry-After asked for: milliseconds since 1970.
   */
  async wait(signal: AbortSignal, notBefore = 0): Promise<void> {
    const delay = Math.min(this.least * 2 ** this.attempts, Math.max(LONGEST, this.least))
    this.attempts += 1
    // Spread, or all pages come back to a restarted server in the same moment.
    await pause(Math.max(delay * (0.75 + Math.random() / 2), notBefore - Date.now()), signal)
  }
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(end, Math.min(milliseconds, LONGEST_TIMER))
    function end() {
      clearTimeout(timer)
      globalThis.removeEventListener?.('online', end)
      signal.removeEventListener('abort', end)
      resolve()
    }
    globalThis.addEventListener?.('online', end)
    signal.addEventListener('abort', end)
  })
}
