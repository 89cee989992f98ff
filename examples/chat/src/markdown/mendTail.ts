/**
 * Closes what a text that is still being written has only opened.
 *
 * Without it, `**bold` would show its asterisks until the closing ones come, and a link its address.
 */

/** The text, with its last lines as they will look if it goes on as it began. Adds or cuts at its end only. */
export function mendTail(text: string): string {
  const start = text.lastIndexOf('\n\n') + 1
  const tail = text.slice(start)
  if (inFence(text)) return text
  return text.slice(0, start) + closeSpans(dropHalfMarks(tail))
}

function inFence(text: string): boolean {
  return (text.match(/^ {0,3}(```|~~~)/gm)?.length ?? 0) % 2 === 1
}

/** Cut what could become anything: the first marks of a fence, a link without its end. */
function dropHalfMarks(tail: string): string {
  return tail
    .replace(/(^|\n) {0,3}(`{1,2}|~{1,2})$/, '$1')
    .replace(/!?\[([^\][\n]*)\]\([^()\s]*$/, '$1')
    .replace(/(^|[\s(])(\*{1,2}|_{1,2}|~{1,2})$/, '$1')
}

function closeSpans(tail: string): string {
  if (odd(tail, /`/g)) return `${tail.trimEnd()}\``
  const prose = tail.replace(/`[^`]*`/g, '')
  let mended = tail
  if (odd(prose, /~~/g)) mended = close(mended, '~~')
  if (odd(prose, /\*\*/g)) mended = close(mended, '**')
  else if (odd(prose.replace(/\*\*/g, '').replace(/^[ \t]*\*\s/gm, ''), /\*(?=\S)|(?<=\S)\*/g)) mended = close(mended, '*')
  return mended
}

/** Half of a closing mark may have come already. */
function close(tail: string, mark: string): string {
  const bare = tail.trimEnd()
  return mark.length === 2 && bare.endsWith(mark[0]!) && !bare.endsWith(mark) ? bare + mark[0] : bare + mark
}

function odd(text: string, mark: RegExp): boolean {
  return (text.match(mark)?.length ?? 0) % 2 === 1
}
