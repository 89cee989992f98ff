/** How long it is until a moment, second by second. */
import { onScopeDispose, ref, watch } from 'vue'

/** @param moment Milliseconds since 1970; undefined for none. */
export function useCountdown(moment: () => number | undefined) {
  const seconds = ref(0)
  let timer = 0

  function tick() {
    clearTimeout(timer)
    seconds.value = Math.max(0, Math.ceil(((moment() ?? 0) - Date.now()) / 1000))
    if (seconds.value) timer = window.setTimeout(tick, 250)
  }

  watch(moment, tick, { immediate: true })
  onScopeDispose(() => clearTimeout(timer))
  return seconds
}
