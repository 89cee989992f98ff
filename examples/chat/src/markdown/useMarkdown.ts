/** A text that grows as blocks in sections, brought up to date with it in short pieces of work. */
import { onScopeDispose, shallowRef, watch } from 'vue'

import { perFrame } from '../page/perFrame'
import { BlockReader } from './blockReader'
import type { Block } from './blocks'

/** Blocks that the browser lays out, and Vue compares, as one. */
const SECTION = 24

/** Milliseconds of parsing in one frame; Vue and the layout need ten times as long. */
const BUDGET = 1

export function useMarkdown(text: () => string, complete: () => boolean) {
  const sections = shallowRef<Block[][]>([])
  const nextFrame = perFrame(work)
  let reader = new BlockReader()

  function work() {
    if (!reader.fits(text())) reader = new BlockReader()
    const end = performance.now() + BUDGET
    let more = true
    while (more && performance.now() < end) more = reader.step(text(), complete())
    sections.value = inSections(reader, sections.value)
    if (more) nextFrame.request()
  }

  watch([text, complete], ([, now], [, before]) => {
    if (before && !now) reader = new BlockReader() // it goes on after all: its last block too
    work()
  })
  work()
  onScopeDispose(nextFrame.cancel)
  return sections
}

/** Full sections stay the arrays that they were, so that nobody looks into them again. */
function inSections({ whole, growing }: BlockReader, before: Block[][]): Block[][] {
  const sections: Block[][] = []
  for (let start = 0; start < whole.length + growing.length; start += SECTION) {
    const old = before[sections.length]
    const same = start + SECTION <= whole.length && old?.[SECTION - 1] === whole[start + SECTION - 1]
    if (same) sections.push(old!)
    else sections.push([...whole.slice(start, start + SECTION), ...growing.slice(Math.max(0, start - whole.length))].slice(0, SECTION))
  }
  return sections
}
