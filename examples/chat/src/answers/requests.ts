/** The three requests of the page: ask, follow, stop. Knows URLs and headers, and no events. */
import { AnswerError, ConnectionLost } from './answerError'
import type { AnswerPosition, ChatMessage } from './chunks'
import { retryMoment } from './retryAfter'

const URL = '/api/chat'

/** Ask a question. The stream's first event names the answer if the server keeps it. */
export async function ask(messages: ChatMessage[], signal: AbortSignal): Promise<Response> {
  const response = await send(URL, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Accept: 'text/event-stream', ...token() },
    body: JSON.stringify({ messages }),
    signal,
  })
  if (!response.ok || !response.body) throw await refusal(response)
  return response
}

/**
 * Read on in an answer that the server keeps.
 *
 * @returns The response: 200 with a stream, 204 when nothing is left, 409 when the log has lost
 *   what this page has read.
 */
export async function follow(position: AnswerPosition, signal: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = { Accept: 'text/event-stream' }
  if (position.lastEventId) headers['Last-Event-ID'] = position.lastEventId
  const response = await send(`${URL}/${encodeURIComponent(position.answerId!)}`, { headers, signal })
  if (response.ok || response.status === 409) return response
  if (response.status === 404) throw new AnswerError('lost')
  const { code, retryAt } = await refusal(response)
  // A server that restarts, or a proxy before it, says 502, 503 or 429 for a while.
  const passing = response.status >= 500 || response.status === 429
  throw passing ? new ConnectionLost(code, retryAt) : new AnswerError(code, retryAt)
}

/** Stop an answer that the server keeps. To close the connection would only be to look away. */
export function stopAnswer(answerId: string): void {
  const request = { method: 'DELETE', headers: token(), keepalive: true }
  // A second try: what is not stopped goes on to cost money.
  const again = () => fetch(`${URL}/${encodeURIComponent(answerId)}`, request)
  again().catch(() => setTimeout(() => again().catch(() => {}), 1000))
}

async function send(url: string, request: RequestInit): Promise<Response> {
  try {
    return await fetch(url, request)
  } catch {
    throw new ConnectionLost('offline')
  }
}

async function refusal(response: Response): Promise<AnswerError> {
  const body = await response.json().catch(() => null)
  const code = body?.error?.code
  const retryAt = retryMoment(response.headers.get('Retry-After'))
  return new AnswerError(typeof code === 'string' ? code : (CODES[response.status] ?? 'internal'), retryAt)
}

/** What a response without a code of its own says, a proxy's for one. */
const CODES: Record<number, string> = {
  401: 'not_allowed',
  403: 'not_allowed',
  413: 'conversation_too_long',
  429: 'rate_limited',
  502: 'unreachable',
  503: 'restarting',
  504: 'timeout',
}

/** Django's token against forged requests; Flask sets none, and needs none for JSON. */
function token(): Record<string, string> {
  return { 'X-CSRFToken': /(?:^|; )csrftoken=([^;]*)/.exec(document.cookie)?.[1] ?? '' }
}
