/** Language, colours, and whether the chats are listed: the visitor's choice, else what the browser says. */
import { computed, ref, watchEffect } from 'vue'

import { texts, type Language } from '../texts'
import { store, stored } from './storage'

type Theme = 'light' | 'dark'

export function usePreferences() {
  const language = ref<Language>(choice('language', ['zh', 'en']) ?? spoken())
  const theme = ref<Theme>(choice('theme', ['light', 'dark']) ?? preferred())
  const listOpen = ref(choice('chat-list', ['open', 'closed']) !== 'closed')
  const t = computed(() => texts[language.value])

  watchEffect(() => {
    document.documentElement.lang = language.value === 'zh' ? 'zh-CN' : 'en'
    document.documentElement.dataset.theme = theme.value
    document.title = t.value.title
  })

  function switchLanguage() {
    language.value = language.value === 'zh' ? 'en' : 'zh'
    store('language', language.value)
  }

  function switchTheme() {
    theme.value = theme.value === 'dark' ? 'light' : 'dark'
    store('theme', theme.value)
  }

  function switchList() {
    listOpen.value = !listOpen.value
    store('chat-list', listOpen.value ? 'open' : 'closed')
  }

  return { t, theme, listOpen, switchLanguage, switchTheme, switchList }
}

function spoken(): Language {
  return navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en'
}

function preferred(): Theme {
  return matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'
}

function choice<T extends string>(name: string, allowed: T[]): T | undefined {
  return allowed.find((value) => value === stored(name))
}
