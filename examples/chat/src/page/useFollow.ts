/** Keeps the end of the page in view while it grows, unless the visitor has scrolled away. */
import { nextTick, onScopeDispose, ref, watchEffect, type Ref } from 'vue'

/** Pixels from the end that still count as the end. */
const NEAR = 64

/** @param grows What gets higher while an answer is being written. */
export function useFollow(grows: Ref<HTMLElement | null>) {
  const away = ref(false)
  const sizes = new ResizeObserver(follow)
  let top = 0

  function look() {
    const page = document.documentElement
    const near = page.scrollHeight - page.clientHeight - page.scrollTop <= NEAR
    // Only who has scrolled up is away: text may have come since the last scroll to the end.
    if (near) away.value = false
    else if (page.scrollTop < top) away.value = true
    top = page.scrollTop
  }

  function follow() {
    if (!away.value) scrollTo({ top: document.documentElement.scrollHeight })
  }

  async function toEnd() {
    away.value = false
    await nextTick()
    follow()
  }

  watchEffect(() => {
    sizes.disconnect()
    if (grows.value) sizes.observe(grows.value)
  })
  addEventListener('scroll', look, { passive: true })
  onScopeDispose(() => {
    removeEventListener('scroll', look)
    sizes.disconnect()
  })
  return { away, toEnd }
}
