/**
 * The page's side of the stream: asks the page's own server, hands over chunks as they come.
 *
 * It has the shape of the service's SDK, `client.ai.chatStream({ messages, signal })`, so that
 * code written for that works here. The API key stays at the server.
 */
import { EventSourceParserStream } from 'eventsource-parser/stream'

export interface ChatMessage {
  role: 'user' | 'assistant'
  content: string
}

export interface Usage {
  promptTokens: number
  completionTokens: number
}

/** One chunk, as the service sends it. A type not listed here may come, and is no error. */
export interface StreamChunk {
  type: 'content' | 'reasoning' | 'tool_call' | 'done' | 'error'
  content?: string
  tool?: { name: string; arguments: string }
  usage?: Usage
  /** "stop", "length", "tool_calls", "content_filter", or a word of the service's own. */
  finishReason?: string
  error?: { message: string; code: string }
}

/** An answer that failed. `code` is one of `websopy_sync.web.public_error`, or "offline". */
export class ChatError extends Error {
  constructor(readonly code: string) {
    super(code)
  }
}

export interface ChatRequest {
  messages: ChatMessage[]
  signal: AbortSignal
}

async function chatStream({ messages, signal }: ChatRequest): Promise<AsyncIterable<StreamChunk>> {
  const response = await fetch('/api/chat', {
    method: 'POST',
    headers: {
      'Content-Type': 'application/json',
      'Accept': 'text/event-stream',
      'X-CSRFToken': csrfToken(),
    },
    body: JSON.stringify({ messages }),
    signal,
  }).catch(() => {
    throw new ChatError('offline')
  })
  if (!response.ok || !response.body) throw new ChatError(await failureOf(response))
  return chunksOf(response.body)
}

/** The answer's chunks. One that ends without its done chunk has broken off. */
async function* chunksOf(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<StreamChunk> {
  const events = body
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new EventSourceParserStream())
    .getReader() // not `for await`: Safari's streams do not have it yet
  try {
    while (true) {
      const { done, value } = await events.read().catch(() => {
        throw new ChatError('interrupted')
      })
      if (done) throw new ChatError('interrupted')
      const chunk: StreamChunk = JSON.parse(value.data)
      if (chunk.type === 'error') throw new ChatError(chunk.error?.code ?? 'internal')
      yield chunk
      if (chunk.type === 'done') return
    }
  } finally {
    events.cancel().catch(() => {}) // whoever leaves early ends the answer at the server, too
  }
}

async function failureOf(response: Response): Promise<string> {
  const body = await response.json().catch(() => null)
  return body?.error?.code ?? 'internal'
}

/** Django's token against forged requests; Flask sets none, and needs none for JSON. */
function csrfToken(): string {
  return /(?:^|; )csrftoken=([^;]*)/.exec(document.cookie)?.[1] ?? ''
}

export const client = { ai: { chatStream } }
