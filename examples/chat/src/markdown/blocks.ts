/** The tokens of a text as its top-level blocks, and where they begin. Pure functions. */
import type { Token } from './parser'

/** A paragraph, a list, a table, a piece of code … */
export interface Block {
  /** Its number in the text. */
  key: number
  tokens: Token[]
  /** For a heading of the top level: 1 for the highest around it, without gaps. */
  rank?: number
  /** For code: all of it, of which a block may be one part. */
  code?: CodeParts
  part?: number
}

/** Long code is several blocks. */
export interface CodeParts {
  texts: string[]
}

/** Tokens in groups, one for each block. */
export function grouped(tokens: Token[]): Token[][] {
  const groups: Token[][] = []
  for (const token of tokens) {
    const begins = token.level === 0 && token.nesting >= 0 && token.type !== 'inline'
    if (begins) groups.push([token])
    else groups.at(-1)?.push(token)
  }
  return groups
}

/** The offset of each line. */
export function lineStarts(text: string): number[] {
  return [0, ...Array.from(text.matchAll(/\r\n?|\n/g), (end) => end.index + end[0].length)]
}

/** The line in which a block begins. */
export function firstLine(group: Token[]): number {
  return group[0]!.map![0]
}

/** Numbers headings so that none is more than one below the one before: readers of outlines need it. */
export class HeadingRanks {
  private readonly levels: number[] = []

  next(group: Token[]): number | undefined {
    if (group[0]!.type !== 'heading_open') return undefined
    const level = Number(group[0]!.tag[1])
    while (this.levels.length && this.levels.at(-1)! >= level) this.levels.pop()
    return this.levels.push(level)
  }

  copy(): HeadingRanks {
    return Object.assign(new HeadingRanks(), { levels: [...this.levels] })
  }
}
