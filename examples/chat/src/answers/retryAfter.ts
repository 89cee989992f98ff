/** The Retry-After header (RFC 9110, 10.2.3): seconds, or a date. */

/** The moment in milliseconds since 1970; undefined for no header, or one that says nothing. */
export function retryMoment(header: string | null, now = Date.now()): number | undefined {
  if (!header) return undefined
  if (/^\d+$/.test(header.trim())) return now + Number(header) * 1000
  const date = Date.parse(header)
  return Number.isNaN(date) ? undefined : date
}
