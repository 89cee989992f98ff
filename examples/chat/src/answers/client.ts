/**
 * The page's side of the stream: asks the page's own server, hands over chunks as they come.
 *
 * It has the shape of the service's SDK, `client.ai.chatStream({ messages, signal })`, so that
 * code written for that works here. The API key stays at the server. With a server that keeps its
 * answers, a lost connection is made anew, and each chunk still comes once and in order.
 */
import { AnswerError, ConnectionLost } from './answerError'
import { Backoff } from './backoff'
import type { AnswerPosition, ChatMessage, StreamChunk } from './chunks'
import { eventsOf } from './events'
import { ask, follow, stopAnswer } from './requests'
import { momentAfter } from './retryAfter'
import { Watchdog } from './watchdog'

/** The reason of an abort when the page is left. Nothing runs any more that could wait. */
export const PAGE_LEFT = 'the page is left'

/** Milliseconds in which a server that keeps its answers has named one. */
const NAMED_WITHIN = 1000

export interface ChatRequest {
  messages: ChatMessage[]
  /** Aborting it stops the answer, at the server too. */
  signal: AbortSignal
  /** Kept up to date while chunks come. One with an answerId follows that answer: none is asked. */
  position?: AnswerPosition
}

/** The answer's chunks. One that ends without its done chunk has broken off. */
async function* chatStream({ messages, signal, position = {} }: ChatRequest): AsyncGenerator<StreamChunk> {
  const connection = new Connection(messages, signal, position)
  signal.addEventListener('abort', connection.stop)
  try {
    yield* connection.chunks()
  } finally {
    signal.removeEventListener('abort', connection.stop)
  }
}

class Connection {
  private readonly backoff = new Backoff()
  private readonly closing = new AbortController()

  constructor(
    private readonly messages: ChatMessage[],
    private readonly stopped: AbortSignal,
    private readonly position: AnswerPosition,
  ) {}

  /** The chunks of one connection after the other. */
  async *chunks(): AsyncGenerator<StreamChunk> {
    while (true) {
      try {
        yield* this.position.answerId ? this.followed() : this.asked()
        return
      } catch (problem) {
        this.stopped.throwIfAborted()
        const lost = problem instanceof ConnectionLost && this.position.answerId
        if (!lost || this.backoff.exhausted) throw problem
        yield { type: 'reconnecting' }
        await this.backoff.wait(this.stopped, problem.retryAt)
        this.stopped.throwIfAborted()
      }
    }
  }

  /** To close a connection stops the answer, unless the server keeps it and has to be told. */
  readonly stop = () => {
    if (this.position.answerId) stopAnswer(this.position.answerId)
    const known = this.position.answerId || this.unnamed || this.stopped.reason === PAGE_LEFT
    if (known) this.closing.abort()
    // Too early: the server's first event may be on its way, with the name of what is to stop.
    else setTimeout(() => this.closing.abort(), NAMED_WITHIN)
  }

  /** Whether the first event named no answer: this server keeps none. */
  private unnamed = false

  private async *asked(): AsyncGenerator<StreamChunk> {
    const { body } = await ask(this.messages, this.closing.signal)
    yield* this.read(body!)
  }

  private async *followed(): AsyncGenerator<StreamChunk> {
    const watchdog = new Watchdog()
    const either = AbortSignal.any([this.closing.signal, watchdog.signal])
    const response = await follow(this.position, either).finally(() => watchdog.end())
    if (response.status === 204) return // all of it has been read
    if (response.status === 409) {
      this.position.lastEventId = undefined
      yield { type: 'restarted' }
      throw new ConnectionLost('interrupted')
    }
    yield { type: 'connected' }
    yield* this.read(response.body!)
  }

  private async *read(body: ReadableStream<Uint8Array>): AsyncGenerator<StreamChunk> {
    const watchdog = new Watchdog()
    try {
      for await (const { event, id, data } of eventsOf(body, watchdog, (least) => (this.backoff.least = least))) {
        const chunk = this.take(event, id, parsed(data))
        yield chunk
        if (chunk.type === 'done') return
      }
      throw new ConnectionLost('interrupted')
    } finally {
      watchdog.end()
    }
  }

  private take(event: string | undefined, id: string | undefined, data: any): StreamChunk {
    this.backoff.reset()
    if (id) this.position.lastEventId = id
    if (event === 'answer') {
      this.position.answerId = String(data.id)
      if (this.stopped.aborted) this.stop()
      return { type: 'named' }
    }
    this.unnamed = !this.position.answerId
    this.stopped.throwIfAborted()
    if (data.type === 'error') throw failure(data.error)
    return data
  }
}

function parsed(data: string): unknown {
  try {
    return JSON.parse(data)
  } catch {
    throw new AnswerError('unreadable')
  }
}

/** The last event of an answer that failed; from a server that restarts, of this connection only. */
function failure({ code = 'internal', retryAfter }: { code?: string; retryAfter?: unknown } = {}) {
  return code === 'restarting' ? new ConnectionLost(code) : new AnswerError(code, momentAfter(retryAfter))
}

export const client = { ai: { chatStream } }
