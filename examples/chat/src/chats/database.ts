/**
 * The chats in the visitor's browser, in IndexedDB.
 *
 * Knows nothing of the page. Without IndexedDB (private windows, full disks) the chats live as
 * long as the page, and `kept` is false.
 */
import { openDB, type DBSchema, type IDBPDatabase } from 'idb'

import { headOf, type Chat, type ChatHead } from './turns'

interface Schema extends DBSchema {
  heads: { key: string; value: ChatHead }
  chats: { key: string; value: Chat }
}

/** Of more chats, or bytes, the oldest are removed. */
export interface Limits {
  chats: number
  bytes: number
}

export class ChatDatabase {
  /** Whether the last chat that was saved will be there tomorrow. */
  kept = true
  private readonly memory = new Map<string, Chat>()
  private opening?: Promise<IDBPDatabase<Schema>>
  /** Whether the last step failed for want of room. */
  private full = false
  /** Whether chats were removed and there was no room even so: then no more of them are. */
  private inVain = false

  constructor(
    private readonly name = 'chats',
    private readonly limits: Limits = { chats: 100, bytes: 50_000_000 },
  ) {}

  /** All chats, the newest first. */
  async list(): Promise<ChatHead[]> {
    const stored = await this.attempt((database) => database.getAll('heads'))
    const unsaved = [...this.memory.values()].map(headOf)
    const heads = new Map([...(stored ?? []), ...unsaved].map((head) => [head.id, head]))
    return [...heads.values()].sort((one, other) => other.changed - one.changed)
  }

  async load(id: string): Promise<Chat | undefined> {
    return this.memory.get(id) ?? (await this.attempt((database) => database.get('chats', id)))
  }

  /** Write a chat. When there is no room, the oldest others make some: as many bytes as it needs, twice. */
  async save(chat: Chat): Promise<void> {
    const head = headOf(chat)
    await this.makeRoom(head)
    let freed = 0
    while (!(await this.attempt((database) => write(database, chat, head)))) {
      const oldest = this.full && !this.inVain && freed < 2 * head.size && (await this.oldestBut(chat.id))
      if (!oldest) {
        this.inVain = this.full
        this.kept = false
        this.memory.set(chat.id, structuredClone(chat))
        return
      }
      freed += oldest.size
      await this.remove(oldest.id)
    }
    this.inVain = false
    this.kept = true
    this.memory.delete(chat.id)
  }

  async remove(id: string): Promise<void> {
    this.memory.delete(id)
    await this.attempt((database) => erase(database, id))
  }

  async close(): Promise<void> {
    await this.opening?.then((database) => database.close(), () => {})
  }

  private async makeRoom(head: ChatHead): Promise<void> {
    const others = (await this.list()).filter(({ id }) => id !== head.id)
    let bytes = head.size
    for (const [index, other] of others.entries()) {
      bytes += other.size
      if (index + 1 >= this.limits.chats || bytes > this.limits.bytes) await this.remove(other.id)
    }
  }

  private async oldestBut(id: string): Promise<ChatHead | undefined> {
    const stored = await this.attempt((database) => database.getAll('heads'))
    const others = (stored ?? []).filter((head) => head.id !== id)
    return others.sort((one, other) => one.changed - other.changed)[0]
  }

  /** What a step gives; undefined when the browser refuses it. */
  private async attempt<T>(step: (database: IDBPDatabase<Schema>) => Promise<T>): Promise<T | undefined> {
    try {
      this.opening ??= openDB<Schema>(this.name, 1, { upgrade })
      return await step(await this.opening)
    } catch (problem) {
      this.full = (problem as DOMException | null)?.name === 'QuotaExceededError'
      if (!this.full) this.opening = undefined // closed by the browser, perhaps: opened anew
      return undefined
    }
  }
}

function upgrade(database: IDBPDatabase<Schema>) {
  database.createObjectStore('heads', { keyPath: 'id' })
  database.createObjectStore('chats', { keyPath: 'id' })
}

async function write(database: IDBPDatabase<Schema>, chat: Chat, head: ChatHead): Promise<true> {
  const both = database.transaction(['heads', 'chats'], 'readwrite')
  try {
    await Promise.all([both.objectStore('heads').put(head), both.objectStore('chats').put(chat), both.done])
    return true
  } catch (problem) {
    throw both.error ?? problem // a request of a transaction without room says AbortError only
  }
}

async function erase(database: IDBPDatabase<Schema>, id: string): Promise<void> {
  const both = database.transaction(['heads', 'chats'], 'readwrite')
  await Promise.all([both.objectStore('heads').delete(id), both.objectStore('chats').delete(id), both.done])
}
