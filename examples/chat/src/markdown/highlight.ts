/**
 * Code in colours, by highlight.js, loaded when the first code comes.
 *
 * Gives VNodes, never markup. Knows nothing of Markdown.
 */
import { h, type VNodeArrayChildren } from 'vue'

/** A line as long as this is no code that a person reads; colouring it takes long. */
const LONGEST_LINE = 1000

type Highlighter = Awaited<ReturnType<typeof load>>
type Node = ReturnType<Highlighter['highlight']>['children'][number]

let loading: Promise<Highlighter> | undefined

async function load() {
  const { common, createLowlight } = await import('lowlight')
  return createLowlight(common)
}

/** The code as VNodes; null when its language has no colours here. */
export async function highlighted(code: string, language: string): Promise<VNodeArrayChildren | null> {
  if (!language || code.split('\n').some((line) => line.length > LONGEST_LINE)) return null
  loading ??= load()
  const highlighter = await loading.catch(() => (loading = undefined))
  if (!highlighter?.registered(language)) return null
  await idle()
  return children(highlighter.highlight(language, code).children)
}

function children(nodes: Node[]): VNodeArrayChildren {
  return nodes.map((node) => {
    if (node.type === 'element') return h('span', { class: node.properties.className }, children(node.children as Node[]))
    return node.type === 'text' ? node.value : null
  })
}

let last = Promise.resolve()

/** One piece of code at a time, with room between two for what the visitor does. */
function idle(): Promise<void> {
  last = last.then(() => new Promise((resolve) => {
    if ('requestIdleCallback' in globalThis) requestIdleCallback(() => resolve(), { timeout: 2000 })
    else setTimeout(resolve, 20) // Safari
  }))
  return last
}
