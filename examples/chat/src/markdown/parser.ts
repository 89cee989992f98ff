/**
 * Markdown as tokens: markdown-it with what a model may not do switched off.
 *
 * HTML is text, links lead to http(s) only, and nothing here makes markup: tokens become VNodes.
 */
import MarkdownIt, { type Env, type Token } from 'markdown-it'

export type { Env, Token }

const markdown = new MarkdownIt({ html: false, linkify: true, breaks: true })

// While "text⏎-" is being written, it would be a heading for a moment.
markdown.disable('lheading')
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false })
markdown.validateLink = (address) => /^https?:\/\//i.test(address)

/** @param env Keeps the link definitions of one text, for its later pieces. */
export function parse(source: string, env: Env): Token[] {
  return markdown.parse(source, env)
}
