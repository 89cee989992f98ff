import { expect, test } from 'vitest'

import { momentAfter, retryMoment } from '../src/answers/retryAfter'
import { partsOf } from '../src/chats/answerParts'
import { untilAborted } from '../src/chats/untilAborted'
import { titleOf } from '../src/chats/turns'
import { texts } from '../src/texts'

test.each([
  [null, undefined],
  ['', undefined],
  ['7', 8000],
  [' 0 ', 1000],
  ['soon', undefined],
  ['Thu, 01 Jan 1970 00:01:00 GMT', 60_000],
])('Retry-After %j is the moment %j', (header, moment) => {
  expect(retryMoment(header, 1000)).toBe(moment)
})

test.each([[7, 8000], [0, 1000], [0.5, 1500], [-1, undefined], [Infinity, undefined], ['7', undefined], [null, undefined], [undefined, undefined]])(
  '%j seconds of an event end at the moment %j',
  (seconds, moment) => {
    expect(momentAfter(seconds, 1000)).toBe(moment)
  },
)

test.each([
  [7, 'Retry in 7 s', '7 秒后可重试'],
  [59, 'Retry in 59 s', '59 秒后可重试'],
  [60, 'Retry in 1:00 min', '1 分 0 秒后可重试'],
  [3605, 'Retry in 60:05 min', '60 分 5 秒后可重试'],
])('%i seconds are told in both languages', (seconds, english, chinese) => {
  expect([texts.en.retryIn(seconds), texts.zh.retryIn(seconds)]).toEqual([english, chinese])
})

test('each failure is told in both languages', () => {
  const codes = Object.keys(texts.en.errors)
  expect(Object.keys(texts.zh.errors)).toEqual(codes)
  expect(codes).toEqual(expect.arrayContaining(['bad_request', 'not_allowed', 'conversation_too_long', 'too_long', 'internal']))
})

test('tools stand where they were asked for', () => {
  const tool = (name: string, at: number) => ({ name, arguments: '{}', at })
  const parts = partsOf({ content: 'abcdef', tools: [tool('x', 0), tool('y', 3), tool('z', 3)] })
  expect(parts.map((part) => part.text ?? part.tool!.name)).toEqual(['x', 'abc', 'y', 'z', 'def'])
})

test('a title cuts no emoji in half', () => {
  const title = titleOf({ id: '', changed: 0, turns: [{ role: 'user', content: ` a\n${'🌱'.repeat(90)}` }] })
  expect(title).toBe(`a ${'🌱'.repeat(58)}`)
})

test('an abort ends an iterator that waits', async () => {
  async function* waiting() {
    yield 1
    await new Promise(() => {})
  }
  const aborter = new AbortController()
  const seen: number[] = []
  const reading = (async () => {
    for await (const item of untilAborted(waiting(), aborter.signal)) seen.push(item)
  })()
  setTimeout(() => aborter.abort(new Error('enough')), 10)
  await expect(reading).rejects.toThrow('enough')
  expect(seen).toEqual([1])
})
