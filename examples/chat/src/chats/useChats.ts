/**
 * The visitor's chats: which there are, and the one that is shown.
 *
 * The address says which, so that a reload, a bookmark and the back button find it. An answer goes on while another chat is shown.
 */
import { computed, onScopeDispose, ref, shallowReactive, shallowRef, toRaw } from 'vue'

import { addressedChat, addressOf } from './address'
import { ChatDatabase } from './database'
import { keepDraft } from './drafts'
import { OtherTabs } from './otherTabs'
import { emptyChat, type Chat, type ChatHead } from './turns'
import { useStreamingChat, type StreamingChat } from './useStreamingChat'

export function useChats(database = new ChatDatabase()) {
  const heads = ref<ChatHead[]>([])
  /** Whether the browser keeps what was saved last. */
  const kept = ref(true)
  /** Chats of this visit that may be answered at the moment. */
  const open = shallowReactive(new Map<string, StreamingChat>())
  const removed = new Set<string>()
  const current = shallowRef(opened(emptyChat()))
  const running = computed(() => new Set([...open].filter(([, chat]) => chat.streaming.value).map(([id]) => id)))
  const tabs = new OtherTabs(changedElsewhere)

  function opened(chat: Chat): StreamingChat {
    const made = useStreamingChat(chat, save)
    open.set(chat.id, made)
    return made
  }

  async function save(chat: Chat) {
    if (removed.has(chat.id)) return
    if (chat === toRaw(current.value.chat) || chat.id === current.value.chat.id) showInAddress(chat.id)
    await database.save(JSON.parse(JSON.stringify(chat))) // no proxies: they cannot be cloned
    kept.value = database.kept
    tabs.tell(chat.id)
    await refresh()
  }

  async function refresh() {
    heads.value = await database.list()
  }

  async function changedElsewhere(id: string) {
    await refresh()
    const shown = current.value
    if (shown.chat.id !== id || shown.streaming.value) return
    const chat = await database.load(id)
    if (!chat || current.value !== shown || shown.streaming.value) return
    current.value = opened(chat)
    if (chat.turns.some((turn) => 'position' in turn && !turn.ending && turn.position.answerId)) current.value.resume()
  }

  /** Show the chat of the address; a new one when there is none. */
  async function showAddressed() {
    const id = addressedChat()
    if (id === current.value.chat.id) return
    const known = open.get(id)
    const stored = known ? undefined : id && (await database.load(id))
    if (id !== addressedChat()) return // another one was chosen meanwhile
    forgetIdle()
    current.value = known ?? opened(stored || emptyChat())
    if (stored) current.value.resume()
    if (!known && !stored) showInAddress('')
  }

  function forgetIdle() {
    for (const [id, chat] of open) if (!chat.streaming.value) open.delete(id)
  }

  function choose(id: string) {
    history.pushState(null, '', addressOf(id))
    return showAddressed()
  }

  async function remove(id: string) {
    removed.add(id)
    open.get(id)?.stop()
    open.delete(id)
    keepDraft(id, '')
    await database.remove(id)
    tabs.tell(id)
    await refresh()
    if (id === current.value.chat.id) await choose('')
  }

  function leave() {
    for (const chat of open.values()) chat.leave()
  }

  addEventListener('popstate', showAddressed)
  addEventListener('hashchange', showAddressed)
  // A page that is left goes on living in the back/forward cache, and its request with it:
  // Chromium lets an answer run on there for up to 40 seconds.
  addEventListener('pagehide', leave)
  onScopeDispose(() => {
    removeEventListener('popstate', showAddressed)
    removeEventListener('hashchange', showAddressed)
    removeEventListener('pagehide', leave)
    leave()
  })
  void refresh()
  void showAddressed()

  return { heads, kept, current, running, choose, remove }
}

function showInAddress(id: string) {
  if (addressedChat() !== id) history.replaceState(null, '', addressOf(id))
}
