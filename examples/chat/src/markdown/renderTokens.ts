/**
 * Tokens as VNodes: each tag is named here, and text is only ever text.
 *
 * Knows neither the page nor how tokens are made. An image is a link: nothing is fetched from
 * where a model says.
 */
import { h, type VNode, type VNodeArrayChildren } from 'vue'

import CodeBlock from './CodeBlock.vue'
import type { Block } from './blocks'
import type { Token } from './parser'

const CONTAINERS = new Set([
  ...['p', 'ul', 'ol', 'li', 'blockquote', 'thead', 'tbody', 'tr', 'th', 'td', 'strong', 'em', 's'],
])

export function renderBlock(block: Block): VNodeArrayChildren {
  return render(block.tokens, block)
}

function render(tokens: Token[], block: Block): VNodeArrayChildren {
  const root: VNodeArrayChildren = []
  const open: { token: Token; children: VNodeArrayChildren }[] = []
  for (const token of tokens) {
    const children = open.at(-1)?.children ?? root
    if (token.nesting === 1) open.push({ token, children: [] })
    else if (token.nesting === 0) children.push(...leaf(token, block))
    else {
      const ended = open.pop()!
      const around = open.at(-1)?.children ?? root
      around.push(...element(ended.token, ended.children, block))
    }
  }
  return root
}

function element(token: Token, children: VNodeArrayChildren, block: Block): VNodeArrayChildren {
  if (token.hidden) return children // the paragraph of a tight list
  if (token.type === 'link_open') return [link(attribute(token, 'href'), children)]
  if (token.type === 'table_open') return [table(children)]
  if (token.type === 'heading_open') return [heading(token, children, block)]
  return CONTAINERS.has(token.tag) ? [h(token.tag, attributes(token), children)] : children
}

function leaf(token: Token, block: Block): VNodeArrayChildren {
  switch (token.type) {
    case 'inline':
      return render(token.children ?? [], block)
    case 'softbreak':
    case 'hardbreak':
      return [h('br')]
    case 'code_inline':
      return [h('code', token.content)]
    case 'fence':
    case 'code_block':
      return [code(token, block)]
    case 'hr':
      return [h('hr')]
    case 'image':
      return [link(attribute(token, 'src'), [token.content || attribute(token, 'src')])]
    default:
      return [token.content]
  }
}

function code(token: Token, { code, part = 0 }: Block): VNode {
  const language = token.info.trim().split(/\s/, 1)[0]!.toLowerCase()
  // Code in a list is not the block's own.
  return h(CodeBlock, { text: token.content, language, part, whole: code ?? { texts: [token.content] } })
}

function link(href: string, children: VNodeArrayChildren): VNode {
  return h('a', { href, title: href, target: '_blank', rel: 'noopener noreferrer nofollow' }, children)
}

/** In a box that scrolls, which the keyboard can reach. */
function table(rows: VNodeArrayChildren): VNode {
  return h('div', { class: 'table', tabindex: 0 }, [h('table', rows)])
}

/** Its size says the level; its tag the rank, under the headings of the page and the turn. */
function heading({ tag }: Token, children: VNodeArrayChildren, { rank }: Block): VNode {
  const level = `heading level-${tag[1]}`
  return rank ? h(`h${Math.min(rank + 2, 6)}`, { class: level }, children) : h('p', { class: level }, children)
}

function attributes(token: Token): Record<string, string> {
  const start = attribute(token, 'start')
  const align = /text-align:(\w+)/.exec(attribute(token, 'style'))?.[1] // the page allows no styles
  return { ...(start && { start }), ...(align && { class: align }) }
}

function attribute(token: Token, name: string): string {
  return String(token.attrGet(name) ?? '')
}
