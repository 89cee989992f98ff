/** An answer in the order in which it came: texts, and the tools between them. */
import type { Answer, AnswerTool } from './turns'

export type Part = { text: string; tool?: undefined } | { tool: AnswerTool; text?: undefined }

export function partsOf({ content, tools }: Pick<Answer, 'content' | 'tools'>): Part[] {
  const parts: Part[] = []
  let start = 0
  for (const tool of tools) {
    if (tool.at > start) parts.push({ text: content.slice(start, tool.at) })
    parts.push({ tool })
    start = Math.max(start, tool.at)
  }
  if (start < content.length) parts.push({ text: content.slice(start) })
  return parts
}
