/** Code that grows, in colours: what has come since they were made is plain for a moment. */
import { computed, onScopeDispose, shallowRef, watch, type VNodeArrayChildren } from 'vue'

import { highlighted } from './highlight'

/** Milliseconds between two colourings of code that grows. */
const EVERY = 150

export function useHighlighted(code: () => string, language: () => string) {
  const coloured = shallowRef<{ text: string; nodes: VNodeArrayChildren }>()
  let busy = false
  let gone = false

  async function colour() {
    if (busy) return
    busy = true
    while (!gone && coloured.value?.text !== code()) {
      const text = code()
      const nodes = await highlighted(text, language())
      if (!nodes) break
      coloured.value = { text, nodes }
      await new Promise((resolve) => setTimeout(resolve, EVERY))
    }
    busy = false
  }

  watch([code, language], colour, { immediate: true })
  onScopeDispose(() => (gone = true))

  return computed<VNodeArrayChildren>(() => {
    const done = coloured.value
    if (!done || !code().startsWith(done.text)) return [code()]
    return [...done.nodes, code().slice(done.text.length)]
  })
}
