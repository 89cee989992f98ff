/** What was typed and not sent, for each chat, over reloads. Knows no chats beside their ids. */
import { store, stored } from '../page/storage'

const LONGEST = 50_000

/** @param chat The chat's id; '' for the chat that has no question yet. */
export function draftOf(chat: string): string {
  return stored(`draft:${chat}`) ?? ''
}

export function keepDraft(chat: string, text: string) {
  store(`draft:${chat}`, text.slice(0, LONGEST) || null)
}
