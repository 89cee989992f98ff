/**
 * Reads one answer's chunks into its turn, and says how it ended.
 *
 * Knows neither the page nor where chats are kept.
 */
import { AnswerError, ConnectionLost } from '../answers/answerError'
import { client, PAGE_LEFT } from '../answers/client'
import type { ChatMessage, StreamChunk } from '../answers/chunks'
import { perFrame } from '../page/perFrame'
import { emptyAnswer, type Answer } from './turns'
import { untilAborted } from './untilAborted'

export interface Receiving {
  messages: ChatMessage[]
  /** The turn that is shown. It is brought up to date once a frame, and at the end. */
  answer: Answer
  signal: AbortSignal
  /** Whether the connection is being made anew. */
  onConnection: (lost: boolean) => void
  /** The server keeps the answer: its name should be kept, too, before the page is left. */
  onNamed: () => void
}

/**
 * Start to read.
 *
 * @returns `done`, when the answer has ended in whatever way; `show`, for a page that draws no frames.
 */
export function receive({ messages, answer, signal, onConnection, onNamed }: Receiving) {
  // What has come and is not shown yet: a fast model sends more often than a screen is drawn.
  const came: Answer = { ...answer, ending: undefined, failure: undefined, tools: [...answer.tools], position: { ...answer.position } }
  const began = answer.reasoning ? undefined : Date.now() // a resumed thought has begun elsewhere
  const screen = perFrame(show)

  function show() {
    Object.assign(answer, came, { tools: [...came.tools], position: { ...came.position } })
  }

  function take(chunk: StreamChunk) {
    switch (chunk.type) {
      case 'content':
        if (came.reasoning && !came.content && began) came.thoughtSeconds = secondsSince(began)
        came.content += chunk.content ?? ''
        break
      case 'reasoning':
        came.reasoning += chunk.content ?? ''
        break
      case 'tool_call':
        if (chunk.tool) came.tools.push({ ...chunk.tool, at: came.content.length })
        break
      case 'done':
        Object.assign(came, { usage: chunk.usage, finishReason: chunk.finishReason })
        break
      case 'restarted':
        Object.assign(came, { ...emptyAnswer(), position: came.position })
        break
      case 'named':
        onNamed()
        break
      case 'reconnecting':
      case 'connected':
        onConnection(chunk.type === 'reconnecting')
    }
    screen.request()
  }

  async function run() {
    try {
      const chunks = client.ai.chatStream({ messages, signal, position: came.position })
      for await (const chunk of untilAborted(chunks, signal)) take(chunk)
      came.ending = 'done'
    } catch (problem) {
      Object.assign(came, endingOf(problem, signal, came))
    } finally {
      screen.cancel()
      onConnection(false)
      show()
    }
  }

  return { done: run(), show }
}

function secondsSince(moment: number) {
  return Math.round((Date.now() - moment) / 1000)
}

function endingOf(problem: unknown, signal: AbortSignal, answer: Answer): Partial<Answer> {
  if (signal.reason === PAGE_LEFT) return { ending: 'failed', failure: { code: 'left' } }
  if (signal.aborted) return { ending: 'stopped' }
  const { code, retryAt } = problem instanceof AnswerError ? problem : new AnswerError('internal')
  // Stopped from another tab.
  if (code === 'cancelled' && answer.position.answerId) return { ending: 'stopped' }
  const resumable = problem instanceof ConnectionLost && Boolean(answer.position.answerId)
  return { ending: 'failed', failure: { code, retryAt, resumable } }
}
