/**
 * Where to divide a block that is too long to be parsed again and again while it grows.
 *
 * Pure functions. Code and tables go on in a next block that looks as if it were the same.
 */
import { lineStarts } from './blocks'
import type { Token } from './parser'

export interface Split {
  /** The offset in the parsed text at which the next block begins. */
  at: number
  /** What the next block has to begin with to be of the same kind. */
  prefix: string
}

/** @param text What the block was parsed from; more of it may follow. */
export function splitLongBlock(text: string, group: Token[]): Split {
  const first = group[0]!
  const all = { at: text.length, prefix: '' }
  if (first.type === 'fence') return closed(first) ? all : { ...all, prefix: `${first.markup}${first.info}\n` }
  if (first.type === 'table_open') return { ...all, prefix: text.slice(0, lineStarts(text)[2]) }
  if (first.type.endsWith('_list_open')) return { ...all, at: lastItem(text, group) ?? text.length }
  return all
}

/** Whether a code block has its closing fence: a line more than its content and its opening one. */
function closed({ map, content }: Token) {
  return map![1] - map![0] === content.split('\n').length + 1
}

function lastItem(text: string, group: Token[]): number | undefined {
  const items = group.filter(({ type, level }) => type === 'list_item_open' && level === 1)
  return items.length > 1 ? lineStarts(text)[items.at(-1)!.map![0]] : undefined
}

/** The beginning of a text, at most so long, that ends with a line, or a word, or at least a character. */
export function beginning(text: string, length: number): string {
  if (text.length <= length) return text
  const lines = text.lastIndexOf('\n', length - 1) + 1
  if (lines > 0) return text.slice(0, lines)
  const words = text.lastIndexOf(' ', length - 1) + 1
  if (words > 0) return text.slice(0, words)
  const half = /[\ud800-\udbff]/.test(text[length - 1]!)
  return text.slice(0, half ? length - 1 : length)
}
