/**
 * The composable of the service's guide for one chat, with what a page needs around it: a stop that
 * ends the answer at the service, retry, edit, and an answer that goes on after a reload.
 *
 * Knows nothing of how the page looks, of what language it speaks, or of other chats.
 */
import { computed, reactive, ref } from 'vue'

import { PAGE_LEFT } from '../answers/client'
import { receive } from './receive'
import { emptyAnswer, messagesOf, type Answer, type Chat, type Turn } from './turns'

/** waiting (asked) → answering (text comes), or reconnecting → idle. */
export type Status = 'idle' | 'waiting' | 'answering' | 'reconnecting'

/** Milliseconds between two copies of an answer that is being written, for a reload. */
const SAVE_EVERY = 1000

export type StreamingChat = ReturnType<typeof useStreamingChat>

/**
 * @param stored The chat as it was kept.
 * @param save Called after each change that should be kept.
 */
export function useStreamingChat(stored: Chat, save: (chat: Chat) => void) {
  const chat = reactive(stored)
  const reconnecting = ref(false)
  const streaming = ref(false)
  const last = computed(() => chat.turns.at(-1))
  const answer = computed(() => (last.value?.role === 'assistant' ? last.value : undefined))
  const status = computed<Status>(() => {
    if (!streaming.value) return 'idle'
    if (reconnecting.value) return 'reconnecting'
    return answer.value && begun(answer.value) ? 'answering' : 'waiting'
  })
  const currentContent = computed(() => (streaming.value ? (answer.value?.content ?? '') : ''))
  /** Why the last answer failed: a code of `AnswerError`. Null when it did not. */
  const error = computed(() => answer.value?.failure?.code ?? null)
  let stopper = new AbortController()
  let flush = () => {}

  function sendMessage(content: string) {
    if (streaming.value || !content.trim()) return
    chat.turns.push({ role: 'user', content })
    void askOn()
  }

  /** Put another question in the place of one; what came after it goes. */
  function edit(turn: Turn, content: string) {
    const index = chat.turns.indexOf(turn)
    if (streaming.value || index < 0 || !content.trim()) return
    chat.turns.splice(index)
    sendMessage(content)
  }

  /** Answer the last question once more. An answer that only its connection lost goes on. */
  function retry() {
    if (streaming.value || !answer.value) return
    if (answer.value.failure?.resumable) return void read(answer.value)
    chat.turns.pop()
    void askOn()
  }

  function askOn() {
    chat.turns.push(emptyAnswer())
    return read(answer.value!)
  }

  async function read(turn: Answer) {
    stopper = new AbortController()
    streaming.value = true
    turn.ending = turn.failure = undefined
    const messages = messagesOf(chat.turns.slice(0, -1))
    const signal = stopper.signal
    const reading = receive({
      messages,
      answer: turn,
      signal,
      onConnection: (lost) => (reconnecting.value = lost),
      onNamed: () => flush(),
    })
    flush = () => {
      reading.show()
      keep()
    }
    flush()
    const copies = setInterval(flush, SAVE_EVERY)
    await reading.done
    clearInterval(copies)
    flush = () => {}
    streaming.value = false
    keep()
  }

  function keep() {
    chat.changed = Date.now()
    save(chat)
  }

  /** End the answer, here and at the service. */
  function stop() {
    flush()
    stopper.abort()
  }

  /** The page is left: an answer that the server keeps goes on there, any other ends. */
  function leave() {
    flush()
    if (streaming.value && !answer.value?.position.answerId) stopper.abort(PAGE_LEFT)
  }

  /** What was being written when the page was left: followed on, or marked as broken off. */
  function resume() {
    const turn = answer.value
    if (!turn || turn.ending) return
    if (turn.position.answerId) void read(turn)
    else Object.assign(turn, { ending: 'failed', failure: { code: 'left' } })
  }

  return {
    chat, messages: chat.turns, status, streaming, currentContent, error,
    sendMessage, edit, retry, stop, leave, resume,
  }
}

function begun({ content, reasoning, tools }: Answer) {
  return Boolean(content || reasoning || tools.length)
}
