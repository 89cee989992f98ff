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

/** One turn. An answer says how it ended, and what it cost if the service said so. */
export interface Turn extends ChatMessage {
  ending?: 'done' | 'stopped' | 'failed'
  usage?: Usage
}

export function useStreamingChat() {
  const messages = ref<Turn[]>([])
  const currentContent = ref('')
  const status = ref<Status>('idle')
  /** Why the last answer failed: a code of `ChatError`. Null while nothing has. */
  const error = ref<string | null>(null)
  const streaming = computed(() => status.value === 'waiting' || status.value === 'answering')
  let controller = new AbortController()

  async function sendMessage(content: string) {
    if (streaming.value || !content.trim()) return
    controller = new AbortController()
    error.value = null
    currentContent.value = ''
    messages.value.push({ role: 'user', content })
    status.value = 'waiting'
    const answer = await receive(controller.signal)
    currentContent.value = ''
    // What had arrived stays, however it ended.
    if (answer.content) messages.value.push(answer)
    status.value = answer.ending
  }

  async function receive(signal: AbortSignal) {
    const answer = { role: 'assistant' as const, content: '', usage: undefined as Usage | undefined }
    // A fast model sends more often than a screen is drawn.
    const screen = perFrame(() => {
      status.value = 'answering'
      currentContent.value = answer.content
    })
    try {
      const turns = messages.value.map(({ role, content }) => ({ role, content }))
      for await (const chunk of await client.ai.chatStream({ messages: turns, signal })) {
        if (chunk.type === 'content') {
          answer.content += chunk.content
          screen.request()
        }
        if (chunk.type === 'done') answer.usage = chunk.usage
      }
      return { ...answer, ending: 'done' as const }
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

  return { messages, streaming, currentContent, sendMessage, stop, error, status }
}
