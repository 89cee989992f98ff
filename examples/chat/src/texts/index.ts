/** The page's words in the visitor's language. */
import type { ComputedRef, InjectionKey } from 'vue'

import { en } from './en'
import { zh } from './zh'

export type Language = 'zh' | 'en'
export type Texts = typeof en

export const texts: Record<Language, Texts> = { en, zh }

/** The parts of the page inject the words by this key. */
export const textsKey: InjectionKey<ComputedRef<Texts>> = Symbol('texts')
