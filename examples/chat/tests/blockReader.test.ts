import { expect, test } from 'vitest'

import { BlockReader, LONGEST } from '../src/markdown/blockReader'
import { grouped } from '../src/markdown/blocks'
import { parse } from '../src/markdown/parser'

const TEXT = `# Title

Some **bold** text and \`code\`.
- one
- two

  still two

3. three

   \`\`\`py
   nested = 1
   \`\`\`
4. four

| a | b |
|---|--:|
| 1 | 2 |
after the table
\`\`\`js
let a = 1

let b = "~~~"
\`\`\`
> quote
lazy

---
end [link](https://example.org) 🌱👩‍👩‍👧
* a
*
  b

1

2. x
`

function read(text: string, cuts: number[]) {
  const reader = new BlockReader()
  for (const cut of cuts) while (reader.step(text.slice(0, cut), false));
  while (reader.step(text, true));
  return reader.whole
}

function shape(blocks: { tokens: { type: string; content: string }[] }[]) {
  return blocks.map(({ tokens }) => tokens.map(({ type, content }) => [type, content]))
}

const whole = shape(grouped(parse(TEXT, {})).map((tokens) => ({ tokens })))

test('a text that comes character by character has the blocks of the whole text', () => {
  expect(shape(read(TEXT, Array.from(TEXT, (_, index) => index)))).toEqual(whole)
})

test.each(Array.from(TEXT, (_, index) => index))('a text cut at %i has the blocks of the whole text', (cut) => {
  expect(shape(read(TEXT, [cut]))).toEqual(whole)
})

test('only the block that grows is parsed again', () => {
  const reader = new BlockReader()
  reader.step('one\n\ntwo', false)
  expect(reader.whole).toEqual([])
  reader.step('one\n\ntwo\n\nth', false)
  const [first] = reader.whole
  expect(reader.whole.length).toBe(1)
  reader.step('one\n\ntwo\n\nthree\n\nfour\n', false)
  expect(reader.whole.length).toBe(3)
  expect(reader.whole[0]).toBe(first)
  expect(reader.growing.map(({ key }) => key)).toEqual([3])
})

const line = (index: number) => `line ${index} of a very long block\n`
const many = (text: (index: number) => string) => Array.from({ length: 5000 }, (_, index) => text(index)).join('')

test('long code is divided, and is whole when copied', () => {
  const code = many(line)
  const blocks = read(`\`\`\`py\n${code}\`\`\`\n\nafter`, [30_000, 60_000, 60_001])
  const parts = blocks.filter((block) => block.code)
  expect(parts.length).toBeGreaterThan(3)
  expect(parts.map(({ part }) => part)).toEqual(parts.map((_, index) => index))
  expect(parts.every((block) => block.code === parts[0]!.code && block.tokens[0]!.info === 'py')).toBe(true)
  expect(parts[0]!.code!.texts.join('')).toBe(code)
  expect(blocks.at(-1)!.tokens[1]!.content).toBe('after')
})

test('code that ends just where it would be divided is closed', () => {
  const opening = '```\n', closing = '```\n'
  for (let length = LONGEST - 80; length < LONGEST + 20; length++) {
    const code = `${'x'.repeat(99)}\n`.repeat(LONGEST / 100 + 1).slice(0, length - opening.length - closing.length - 1) + '\n'
    const blocks = read(`${opening}${code}${closing}after`, [])
    expect(blocks.at(-1)!.tokens[1]?.content).toBe('after')
    expect(blocks[0]!.code!.texts.join('')).toBe(code)
  }
})

test('a long list is divided between its items', () => {
  const blocks = read(many((index) => `${index + 1}. ${line(index)}`), [])
  expect(blocks.length).toBeGreaterThan(3)
  const items = blocks.flatMap(({ tokens }) => tokens.filter(({ type }) => type === 'list_item_open'))
  expect(items.map(({ info }) => Number(info))).toEqual(Array.from({ length: 5000 }, (_, index) => index + 1))
})

test('a long table is divided between its rows, each part with the head', () => {
  const blocks = read(`| n | text |\n|---|---|\n${many((index) => `| ${index} | ${line(index).trim()} |\n`)}`, [])
  expect(blocks.length).toBeGreaterThan(3)
  expect(blocks.every(({ tokens }) => tokens[0]!.type === 'table_open')).toBe(true)
  const rows = blocks.flatMap(({ tokens }) => tokens.filter(({ type }) => type === 'tr_open'))
  expect(rows.length - blocks.length).toBe(5000)
})

test('a table of few characters and very many cells is shown as its text', () => {
  const wide = `${'|'.repeat(500)}\n${'|-'.repeat(499)}|\n`
  const text = `before\n${wide}${'|\n'.repeat(100_000)}\nafter`
  const blocks = read(text, [700, 1_600])
  expect(Math.max(...blocks.map(({ tokens }) => tokens.length))).toBeLessThan(30_000)
  expect(blocks.at(-1)!.tokens[1]!.content).toBe('after')
  const [shown] = read(wide + '|\n'.repeat(20), [])
  expect(shown!.tokens.map(({ content }) => content)).toEqual([wide + '|\n'.repeat(20)])
})

test.each(['x', 'word ', '🌱', '中'])('a line of a megabyte of %j is divided, and nothing is lost', (piece) => {
  const text = piece.repeat(1_000_000 / piece.length)
  const blocks = read(text, [500_000])
  const texts = blocks.map(({ tokens }) => tokens[1]!.content)
  expect(texts.join(piece.endsWith(' ') ? ' ' : '')).toBe(text.trim())
  expect(Math.max(...texts.map(({ length }) => length))).toBeLessThan(20_000)
})

test('link definitions of an earlier piece hold', () => {
  const blocks = read('[a]: https://example.org\n\none\n\n[text][a]', [26, 30])
  expect(blocks.at(-1)!.tokens[1]!.children!.some(({ type }) => type === 'link_open')).toBe(true)
})

test('headings have ranks without gaps', () => {
  expect(read('## a\n\n#### b\n\n#### c\n\n# d\n\n### e', []).map(({ rank }) => rank)).toEqual([1, 2, 2, 1, 2])
})
