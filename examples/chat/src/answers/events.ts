/**
 * The body of a response as server-sent events.
 *
 * Knows no chunks. A connection that breaks or goes silent is a `ConnectionLost`.
 */
import { createParser, type EventSourceMessage } from 'eventsource-parser'

import { ConnectionLost } from './answerError'
import type { Watchdog } from './watchdog'

/**
 * @param onRetry Called with the milliseconds that the server asks to wait before a new connection.
 */
export async function* eventsOf(
  body: ReadableStream<Uint8Array>,
  watchdog: Watchdog,
  onRetry?: (milliseconds: number) => void,
): AsyncGenerator<EventSourceMessage> {
  const reader = body.getReader() // not `for await`: Safari's streams do not have it yet
  const decoder = new TextDecoder()
  let events: EventSourceMessage[] = []
  const parser = createParser({ onEvent: (event) => events.push(event), onRetry })
  const silent = new Promise<never>((_, reject) => {
    watchdog.signal.addEventListener('abort', () => reject(new ConnectionLost('silent')))
  })
  silent.catch(() => {}) // no one may be waiting
  try {
    while (true) {
      const { done, value } = await Promise.race([read(reader), silent])
      if (done) return
      watchdog.reset()
      parser.feed(decoder.decode(value, { stream: true }))
      yield* events
      events = []
    }
  } finally {
    reader.cancel().catch(() => {}) // who leaves early closes the connection
  }
}

async function read(reader: ReadableStreamDefaultReader<Uint8Array>) {
  try {
    return await reader.read()
  } catch {
    throw new ConnectionLost('interrupted')
  }
}
