/**
 * Notices that a connection has gone silent.
 *
 * The server sends comments three times a heartbeat while the model thinks, so a connection that
 * is silent for three whole heartbeats is dead: a lost network closes nothing.
 */

const HEARTBEATS = 3

/** Milliseconds; index.html says the seconds that the server's views are given. */
export function heartbeatOfPage(): number {
  const meta = globalThis.document?.querySelector<HTMLMetaElement>('meta[name=heartbeat]')
  const seconds = Number(meta?.content)
  return (seconds > 0 ? seconds : 15) * 1000
}

export class Watchdog {
  /** Aborts when the connection is silent. */
  readonly signal: AbortSignal
  private readonly controller = new AbortController()
  private readonly timer: ReturnType<typeof setInterval>
  private silent = 0

  constructor(heartbeat = heartbeatOfPage()) {
    this.signal = this.controller.signal
    // Heartbeats are counted, not read from a clock: a laptop that slept has not listened.
    this.timer = setInterval(() => {
      this.silent += 1
      if (this.silent >= HEARTBEATS) this.controller.abort()
    }, heartbeat)
  }

  /** Something came. */
  reset() {
    this.silent = 0
  }

  end() {
    clearInterval(this.timer)
  }
}
