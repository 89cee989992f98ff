/**
 * Markdown as tokens: markdown-it with what a model may not do switched off.
 *
 * HTML is text, links lead to http(s) only, and nothing here makes markup: tokens become VNodes.
 */
import MarkdownIt, { type Env, type StateBlock, type Token } from 'markdown-it'

export type { Env, Token }

const markdown = new MarkdownIt({ html: false, linkify: true, breaks: true })

// While "text⏎-" is being written, it would be a heading for a moment.
markdown.disable('lheading')
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false })
markdown.validateLink = (address) => /^https?:\/\//i.test(address)

/** Cells of a table. Its short rows are filled up, so that few characters could make very many cells. */
const MOST_CELLS = 5_000

/** Show a table that is too large as the text that it is. */
function largeTable(state: StateBlock, start: number, end: number, silent: boolean): boolean {
  const line = (at: number) => state.src.slice(state.bMarks[at]! + state.tShift[at]!, state.eMarks[at])
  if (silent || start + 2 > end || !/^[|:\s-]*-[|:\s-]*$/.test(line(start + 1))) return false
  let last = start
  while (last < end && !state.isEmpty(last)) last += 1
  if (line(start).split('|').length * (last - start) <= MOST_CELLS) return false
  const token = state.push('code_block', 'code', 0)
  token.content = state.getLines(start, last, state.blkIndent, true)
  token.map = [start, last]
  state.line = last
  return true
}

markdown.block.ruler.before('table', 'large_table', largeTable)

/** @param env Keeps the link definitions of one text, for its later pieces. */
export function parse(source: string, env: Env): Token[] {
  return markdown.parse(source, env)
}
