/** Keeps the end of the page in view while it grows, unless the visitor has scrolled away. */
import { nextTick, onScopeDispose, ref } from 'vue'

/** Pixels from the end that still count as the end. */
const NEAR = 64

export function useFollow() {
  const away = ref(false)

  function look() {
    const page = document.documentElement
    away.value = page.scrollHeight - page.clientHeight - page.scrollTop > NEAR
  }

  function follow() {
    if (!away.value) scrollTo({ top: document.documentElement.scrollHeight })
  }

  async function toEnd() {
    away.value = false
    await nextTick()
    follow()
  }

  addEventListener('scroll', look, { passive: true })
  onScopeDispose(() => removeEventListener('scroll', look))
  return { away, follow, toEnd }
}
