/** The Escape key, wherever the focus is. What has its own use for the key prevents its default. */
import { onScopeDispose } from 'vue'

export function useEscape(act: () => void) {
  function onKeydown(event: KeyboardEvent) {
    // An input method closes its list of words by Escape.
    if (event.key !== 'Escape' || event.defaultPrevented || event.isComposing) return
    if (!document.querySelector('dialog[open]')) act()
  }
  addEventListener('keydown', onKeydown)
  onScopeDispose(() => removeEventListener('keydown', onKeydown))
}
