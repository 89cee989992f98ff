/** Whether there is room for the list of chats beside the conversation. */
import { onScopeDispose, ref } from 'vue'

export function useWide() {
  const query = matchMedia('(min-width: 56rem)')
  const wide = ref(query.matches)
  const look = () => (wide.value = query.matches)
  query.addEventListener('change', look)
  onScopeDispose(() => query.removeEventListener('change', look))
  return wide
}
