import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { effectScope } from 'vue'

import { Backoff } from '../src/answers/backoff'
import { useCountdown } from '../src/page/useCountdown'

beforeEach(() => {
  vi.useFakeTimers()
})

afterEach(() => {
  vi.useRealTimers()
})

test('a countdown goes on when the clock is set back, and is over after a sleep', () => {
  const scope = effectScope()
  const moment = Date.now() + 7000
  const seconds = scope.run(() => useCountdown(() => moment))!
  expect(seconds.value).toBe(7)
  vi.setSystemTime(Date.now() - 3_600_000)
  vi.advanceTimersByTime(2000)
  expect(seconds.value).toBe(5)
  vi.setSystemTime(Date.now() + 2 * 3_600_000)
  vi.advanceTimersByTime(250)
  expect(seconds.value).toBe(0)
  scope.stop()
})

test('a Retry-After of years does not have the page ask at once', async () => {
  let over = false
  const aborter = new AbortController()
  const waiting = new Backoff().wait(aborter.signal, Date.now() + 1e11).then(() => (over = true))
  await vi.advanceTimersByTimeAsync(60_000)
  expect(over).toBe(false)
  aborter.abort()
  await waiting
})
