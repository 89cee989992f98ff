/** Language and colours: the visitor's choice, else what the browser says. */
import { computed, ref, watchEffect } from 'vue'

import { texts, type Language } from './texts'

type Theme = 'light' | 'dark'

export function usePreferences() {
  const language = ref<Language>(stored('language', ['zh', 'en']) ?? spoken())
  const theme = ref<Theme>(stored('theme', ['light', 'dark']) ?? preferred())
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

  return { t, theme, switchLanguage, switchTheme }
}

function spoken(): Language {
  return navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en'
}

function preferred(): Theme {
  return matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'
}

// A browser may refuse to store anything, and say so by an exception.

function stored<T extends string>(name: string, allowed: T[]): T | undefined {
  try {
    return allowed.find((value) => value === localStorage.getItem(name))
  } catch {
    return undefined
  }
}

function store(name: string, value: string) {
  try {
    localStorage.setItem(name, value)
  } catch {
    // then it holds for this visit
  }
}
