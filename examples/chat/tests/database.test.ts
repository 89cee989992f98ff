import 'fake-indexeddb/auto'

import { afterEach, beforeEach, expect, test, vi } from 'vitest'

import { ChatDatabase } from '../src/chats/database'
import type { Chat } from '../src/chats/turns'

let number = 0
let database: ChatDatabase

function chat(id: string, changed: number, content = `question ${id}`): Chat {
  return { id, changed, turns: [{ role: 'user', content }] }
}

async function ids() {
  return (await database.list()).map(({ id }) => id)
}

beforeEach(() => {
  database = new ChatDatabase(`chats ${number++}`, { chats: 3, bytes: 1000 })
})

afterEach(async () => {
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
  await database.close()
})

test('chats come back, the newest first', async () => {
  await database.save(chat('a', 1))
  await database.save(chat('b', 2))
  await database.save(chat('a', 3, 'another'))
  expect(await database.list()).toMatchObject([{ id: 'a', title: 'another' }, { id: 'b' }])
  expect(await database.load('a')).toEqual(chat('a', 3, 'another'))
  await database.remove('a')
  expect(await database.load('a')).toBeUndefined()
  expect(await ids()).toEqual(['b'])
})

test('of too many chats the oldest goes', async () => {
  for (const changed of [1, 2, 3, 4]) await database.save(chat(`c${changed}`, changed))
  expect(await ids()).toEqual(['c4', 'c3', 'c2'])
})

test('of too many bytes the oldest go, and never the one that is saved', async () => {
  await database.save(chat('a', 1, 'x'.repeat(300)))
  await database.save(chat('b', 2, 'x'.repeat(300)))
  expect(await ids()).toEqual(['b'])
  await database.save(chat('c', 3, 'x'.repeat(5000)))
  expect(await ids()).toEqual(['c'])
})

test('a full disk costs the oldest chats', async () => {
  await database.save(chat('a', 1))
  await database.save(chat('b', 2))
  const put = IDBObjectStore.prototype.put
  let refusals = 1
  vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (this: IDBObjectStore, value, key) {
    if (refusals-- > 0) throw new DOMException('no room', 'QuotaExceededError')
    return put.call(this, value, key)
  })
  await database.save(chat('c', 3))
  expect(database.kept).toBe(true)
  expect(await ids()).toEqual(['c', 'b'])
})

test('a disk without any room costs only what is not kept', async () => {
  vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(() => {
    throw new DOMException('no room', 'QuotaExceededError')
  })
  await database.save(chat('a', 1))
  expect(database.kept).toBe(false)
  expect(await database.load('a')).toEqual(chat('a', 1))
  vi.restoreAllMocks()
  await database.save(chat('a', 2))
  expect(database.kept).toBe(true)
})

test('a disk that gives no room for what is removed keeps the other chats', async () => {
  database = new ChatDatabase(`chats ${number++}`, { chats: 9, bytes: 1000 })
  for (const changed of [1, 2, 3, 4, 5]) await database.save(chat(`c${changed}`, changed))
  vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(() => {
    throw new DOMException('no room', 'QuotaExceededError')
  })
  for (const changed of [6, 7, 8]) await database.save(chat('new', changed))
  expect(database.kept).toBe(false)
  expect(await ids()).toEqual(['new', 'c5', 'c4'])
})

test('without IndexedDB the chats live as long as the page', async () => {
  vi.stubGlobal('indexedDB', undefined)
  await database.save(chat('a', 1))
  expect(database.kept).toBe(false)
  expect(await ids()).toEqual(['a'])
  await database.remove('a')
  expect(await ids()).toEqual([])
})
