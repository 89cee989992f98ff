/** What a chat is made of: questions and answers. Plain data, as it is stored. */
import type { AnswerPosition, ChatMessage, ToolCall, Usage } from '../answers/chunks'

export interface Failure {
  /** A code of `AnswerError`. */
  code: string
  /** Milliseconds since 1970. */
  retryAt?: number
  /** Whether the answer itself may still be whole at the server. */
  resumable?: boolean
}

export interface Question extends ChatMessage {
  role: 'user'
}

/** A tool that the model asked for, and after how many characters of the text. */
export interface AnswerTool extends ToolCall {
  at: number
}

/** One answer. It has no `ending` while it is being written. */
export interface Answer extends ChatMessage {
  role: 'assistant'
  /** What the model thought before it answered. */
  reasoning: string
  /** Whole seconds until the first word of the text, when it thought before. */
  thoughtSeconds?: number
  tools: AnswerTool[]
  ending?: 'done' | 'stopped' | 'failed'
  failure?: Failure
  usage?: Usage
  finishReason?: string
  position: AnswerPosition
}

export type Turn = Question | Answer

/** A chat in the list. */
export interface ChatHead {
  id: string
  title: string
  /** Milliseconds since 1970. */
  changed: number
  /** About how many bytes its turns take. */
  size: number
}

export interface Chat {
  id: string
  changed: number
  turns: Turn[]
}

export function emptyChat(): Chat {
  return { id: crypto.getRandomValues(new Uint32Array(3)).join('-'), changed: 0, turns: [] }
}

export function emptyAnswer(): Answer {
  return { role: 'assistant', content: '', reasoning: '', tools: [], position: {} }
}

/** A name for the list: the beginning of the first question. */
export function titleOf(chat: Chat): string {
  const question = chat.turns[0]?.content.trim().replace(/\s+/g, ' ') ?? ''
  // Array.from: no emoji is cut in half.
  return Array.from(question.slice(0, 200)).slice(0, 60).join('')
}

export function headOf(chat: Chat): ChatHead {
  const size = chat.turns.reduce((sum, turn) => sum + 2 * sizeOf(turn), 0)
  return { id: chat.id, title: titleOf(chat), changed: chat.changed, size }
}

function sizeOf(turn: Turn) {
  if (turn.role === 'user') return turn.content.length
  const calls = turn.tools.reduce((sum, tool) => sum + tool.arguments.length, 0)
  return turn.content.length + turn.reasoning.length + calls
}

/** What is sent: texts only. Nobody runs the tools, and an answer without a text says nothing. */
export function messagesOf(turns: Turn[]): ChatMessage[] {
  return turns.filter(({ content }) => content).map(({ role, content }) => ({ role, content }))
}
