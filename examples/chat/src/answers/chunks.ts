/** What comes out of an answer's stream. Types only. */

export interface ChatMessage {
  role: 'user' | 'assistant'
  content: string
}

export interface Usage {
  promptTokens: number
  completionTokens: number
}

export interface ToolCall {
  name: string
  /** JSON, as the model wrote it: it may be anything. */
  arguments: string
}

/** One chunk, as the service sends it. A type not listed here may come, and is no error. */
export interface StreamChunk {
  type: 'content' | 'reasoning' | 'tool_call' | 'done' | 'error' | PageChunk
  content?: string
  tool?: ToolCall
  usage?: Usage
  /** "stop", "length", "tool_calls", "content_filter", or a word of the service's own. */
  finishReason?: string
  /** `retryAfter`: seconds, if the service said when a retry is welcome. */
  error?: { message: string; code: string; retryAfter?: number }
}

/**
 * Chunks that this page makes. `named`: position.answerId is known; `connected` ends `reconnecting`;
 * `restarted`: what came before is void.
 */
export type PageChunk = 'named' | 'reconnecting' | 'connected' | 'restarted'

/** Where a reader is in an answer that the server keeps. Empty when it keeps none. */
export interface AnswerPosition {
  answerId?: string
  lastEventId?: string
}
