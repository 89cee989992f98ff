/** When a retry is welcome: from a response's header, or from the last event of an answer. */

/**
 * Retry-After (RFC 9110, 10.2.3): seconds, or a date.
 *
 * @returns Milliseconds since 1970; undefined for no header, or one that says nothing.
 */
export function retryMoment(header: string | null, now = Date.now()): number | undefined {
  if (!header) return undefined
  if (/^\d+$/.test(header.trim())) return now + Number(header) * 1000
  const date = Date.parse(header)
  return Number.isNaN(date) ? undefined : date
}

/**
 * The seconds in an event.
 *
 * @returns Milliseconds since 1970; undefined for none.
 */
export function momentAfter(seconds: unknown, now = Date.now()): number | undefined {
  return typeof seconds === 'number' && 0 <= seconds && seconds < Infinity ? now + seconds * 1000 : undefined
}
