/**
 * Reads a text that grows as blocks of Markdown: each block is parsed until the next one begins.
 *
 * Knows nothing of the page. One step does a bounded piece of work, however long the text is.
 */
import { firstLine, grouped, HeadingRanks, lineStarts, type Block, type CodeParts } from './blocks'
import { mendTail } from './mendTail'
import { parse, type Env, type Token } from './parser'
import { beginning, splitLongBlock } from './splitLongBlock'

/** Characters that are parsed at once. To show 4,000 took up to 130 ms on two busy cores, now and then. */
const PIECE = 2_000

/** A longer block is divided, or it would be parsed again and again while it grows. */
export const LONGEST = 16_000

export class BlockReader {
  /** Blocks that do not change any more. */
  readonly whole: Block[] = []
  /** Those at the end of the text, which may. */
  growing: Block[] = []
  /** How much of the text is in whole blocks. */
  private start = 0
  private prefix = ''
  /** How much is parsed by the next step: more when the last one saw no end of its block. */
  private size = PIECE
  private code?: CodeParts
  private readonly env: Env = {}
  private readonly ranks = new HeadingRanks()

  /** Whether a text can be what this reader has read, gone on. */
  fits(text: string): boolean {
    return text.length >= this.start
  }

  /**
   * Read on.
   *
   * @param complete Whether the text grows no more.
   * @returns Whether there is more to read.
   */
  step(text: string, complete: boolean): boolean {
    const piece = beginning(text.slice(this.start, this.start + this.size + 1), this.size)
    const more = this.start + piece.length < text.length
    const parsed = this.prefix + (more || complete ? piece : mendTail(piece))
    const groups = grouped(parse(parsed, this.env))
    if (!more && complete) this.finish(groups, piece.length)
    else this.advance(parsed, groups, more)
    return more
  }

  private finish(groups: Token[][], length: number) {
    this.keep(groups)
    this.growing = []
    this.start += length
  }

  private advance(parsed: string, groups: Token[][], more: boolean) {
    const lines = lineStarts(parsed)
    // The last line may still become a part of the block before it: what it begins now proves nothing.
    const settled = more ? groups.length : groups.findLastIndex((group) => firstLine(group) < lines.length - 1) + 1
    if (settled > 1) {
      const at = lines[firstLine(groups[settled - 1]!)]!
      this.keep(groups.slice(0, settled - 1))
      this.moveTo(at)
      this.growing = this.numbered(groups.slice(settled - 1), this.ranks.copy())
    } else if (more && this.size === LONGEST) {
      this.divide(parsed, groups)
    } else {
      if (more) this.size = Math.min(2 * this.size, LONGEST)
      this.growing = this.numbered(groups, this.ranks.copy())
    }
  }

  /** The piece is one block, and is not all of it. */
  private divide(parsed: string, groups: Token[][]) {
    const { at, prefix } = groups[0] ? splitLongBlock(parsed, groups[0]) : { at: parsed.length, prefix: '' }
    const kept = at < parsed.length ? grouped(parse(parsed.slice(0, at), this.env)) : groups
    this.keep(kept)
    const code = kept.at(-1)?.[0]?.type === 'fence' && prefix ? this.whole.at(-1)!.code : undefined
    this.moveTo(at)
    // A prefix that is itself long would be parsed with each piece.
    this.prefix = prefix.length < LONGEST / 4 ? prefix : ''
    this.code = this.prefix ? code : undefined
    this.growing = []
  }

  private moveTo(at: number) {
    this.start += at - this.prefix.length
    this.size = PIECE
    this.prefix = ''
    this.code = undefined
  }

  private keep(groups: Token[][]) {
    this.whole.push(...this.numbered(groups, this.ranks))
  }

  private numbered(groups: Token[][], ranks: HeadingRanks): Block[] {
    return groups.map((tokens, index) => ({
      key: this.whole.length + index,
      tokens,
      rank: ranks.next(tokens),
      ...this.codeOf(tokens[0]!, index),
    }))
  }

  private codeOf({ type, content }: Token, index: number): Pick<Block, 'code' | 'part'> {
    if (type !== 'fence' && type !== 'code_block') return {}
    const goesOn = index === 0 ? this.code : undefined
    const code = goesOn ?? { texts: [] }
    const part = goesOn ? this.partsBefore() : 0
    code.texts[part] = content
    return { code, part }
  }

  private partsBefore(): number {
    return (this.whole.at(-1)?.part ?? -1) + 1
  }
}
