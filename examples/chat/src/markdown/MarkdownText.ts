/** Markdown on the page. Knows no chats. */
import { defineComponent, h, type PropType } from 'vue'

import type { Block } from './blocks'
import { renderBlock } from './renderTokens'
import { useMarkdown } from './useMarkdown'

const MarkdownBlock = defineComponent({
  props: { block: { type: Object as PropType<Block>, required: true } },
  setup: (props) => () => renderBlock(props.block),
})

const MarkdownSection = defineComponent({
  props: { blocks: { type: Array as PropType<Block[]>, required: true } },
  setup: (props) => () =>
    h('div', { class: 'section' }, props.blocks.map((block) => h(MarkdownBlock, { key: block.key, block }))),
})

export default defineComponent({
  props: { text: { type: String, required: true }, complete: Boolean },
  setup(props) {
    const sections = useMarkdown(() => props.text, () => props.complete)
    return () =>
      h('div', { class: 'markdown' }, sections.value.map((blocks, index) => h(MarkdownSection, { key: index, blocks })))
  },
})
