/** How long it is until a moment, second by second. */
import { onScopeDispose, ref, watch } from 'vue'

/** @param moment Milliseconds since 1970; undefined for none. */
export function useCountdown(moment: () => number | undefined) {
  const seconds = ref(0)
  let timer: ReturnType<typeof setTimeout>
  let end = 0

  function left() {
    return (moment() ?? 0) - Date.now()
  }

  function tick() {
    clearTimeout(timer)
    // By whichever clock is over first: one stands still while a laptop sleeps, one can be set back.
    seconds.value = Math.max(0, Math.ceil(Math.min(left(), end - performance.now()) / 1000))
    if (seconds.value) timer = setTimeout(tick, 250)
  }

  function begin() {
    end = performance.now() + left()
    tick()
  }

  watch(moment, begin, { immediate: true })
  onScopeDispose(() => clearTimeout(timer))
  return seconds
}
