/**
 * The composable of the service's guide, with what a page needs around it: a stop that ends the
 * answer at the service, an error that can be shown, and a status to show it by.
 *
 * Knows nothing of how the page looks or of what language it speaks.
 */
import { computed, onScopeDispose, ref } from 'vue'

import { ChatError, client, type ChatMessage, type Usage } from './client'
import { perFrame } from './perFrame'

/** idle → waiting (asked) → answering (text comes) → done, stopped or failed. */
export type Status = 'idle' | 'waiting' | 'answering' | 'done' | 'stopped' | 'failed'

/** One turn. An answer says how it ended, and what the service says besides its text. */
export interface Turn extends ChatMessage {
  ending?: 'done' | 'stopped' | 'failed'
  usage?: Usage
  finishReason?: string
  /** What the model thought before it answered. */
  reasoning?: string
  /** The names of the tools that it asked for. */
  tools?: string[]
}

export function useStreamingChat() {
  const messages = ref<Turn[]>([])
  const currentContent = ref('')
  const currentReasoning = ref('')
  const status = ref<Status>('idle')
  /** Why the last answer failed: a code of `ChatError`. Null while nothing has. */
  const error = ref<string | null>(null)
  const streaming = computed(() => status.value === 'waiting' || status.value === 'answering')
  let controller = new AbortController()

  async function sendMessage(content: string) {
    if (streaming.value || !content.trim()) return
    controller = new AbortController()
    error.value = null
    clear()
    messages.value.push({ role: 'user', content })
    status.value = 'waiting'
    const answer = await receive(controller.signal)
    clear()
    // What had arrived stays, however it ended.
    if (answer.content || answer.reasoning || answer.tools.length) messages.value.push(answer)
    status.value = answer.ending
  }

  function clear() {
    currentContent.value = currentReasoning.value = ''
  }

  async function receive(signal: AbortSignal) {
    const answer = { role: 'assistant' as const, content: '', reasoning: '', tools: [] as string[] }
    const said: Pick<Turn, 'usage' | 'finishReason'> = {}
    // A fast model sends more often than a screen is drawn.
    const screen = perFrame(() => {
      status.value = 'answering'
      currentContent.value = answer.content
      currentReasoning.value = answer.reasoning
    })
    try {
      // Only texts are sent back: nobody runs the tools, and an answer without a text says nothing.
      const turns = messages.value
        .filter(({ content }) => content)
        .map(({ role, content }) => ({ role, content }))
      for await (const chunk of await client.ai.chatStream({ messages: turns, signal })) {
        if (chunk.type === 'content') answer.content += chunk.content
        if (chunk.type === 'reasoning') answer.reasoning += chunk.content
        if (chunk.type === 'tool_call' && chunk.tool) answer.tools.push(chunk.tool.name)
        if (chunk.type === 'done') Object.assign(said, { usage: chunk.usage, finishReason: chunk.finishReason })
        screen.request()
      }
      return { ...answer, ...said, ending: 'done' as const }
    } catch (problem) {
      if (signal.aborted) return { ...answer, ending: 'stopped' as const }
      error.value = problem instanceof ChatError ? problem.code : 'internal'
      return { ...answer, ending: 'failed' as const }
    } finally {
      screen.cancel()
    }
  }

  /** End the answer, here and at the service. */
  function stop() {
    controller.abort()
  }

  // A page that is left goes on living in the back/forward cache, and its request with it:
  // Chromium lets an answer run on there for up to 40 seconds.
  addEventListener('pagehide', stop)
  onScopeDispose(() => {
    removeEventListener('pagehide', stop)
    stop()
  })

  return { messages, streaming, currentContent, currentReasoning, sendMessage, stop, error, status }
}
