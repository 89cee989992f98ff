/**
 * What a screen reader is told: that an answer is awaited, and the answer once, when it is whole.
 *
 * The conversation itself is not live: each piece would be read out over and over again.
 */
import { ref, watch } from 'vue'

import type { StreamingChat } from '../chats/useStreamingChat'
import type { Texts } from '../texts'

/** Characters that are read out. The rest is in the conversation. */
const LONGEST = 3000

/** Milliseconds after which the text is gone: it is in the conversation too. */
const GONE_AFTER = 5000

export function useAnnouncement(chat: () => StreamingChat, t: () => Texts) {
  const announcement = ref('')
  let timer = 0

  watch([chat, () => chat().status.value], ([now, status], [before, statusBefore]) => {
    clearTimeout(timer)
    if (status !== 'idle') announcement.value = t()[status]
    else if (now === before && statusBefore !== 'idle') tellEnd(now)
    else announcement.value = ''
  })

  function tellEnd({ messages }: StreamingChat) {
    const turn = messages.at(-1)
    if (turn?.role !== 'assistant') return
    const stopped = turn.ending === 'stopped' ? t().stopped : ''
    announcement.value = [turn.content.slice(0, LONGEST), stopped].filter(Boolean).join(' ')
    timer = window.setTimeout(() => (announcement.value = ''), GONE_AFTER)
  }

  return announcement
}
