import { expect, test } from 'vitest'

import { mendTail } from '../src/markdown/mendTail'

test.each([
  ['plain text', 'plain text'],
  ['**bold', '**bold**'],
  ['**bold*', '**bold**'],
  ['**bold**', '**bold**'],
  ['a *word', 'a *word*'],
  ['a **', 'a '],
  ['* item', '* item'],
  ['* item\n* **x', '* item\n* **x**'],
  ['2 * 3 * 4', '2 * 3 * 4'],
  ['`code', '`code`'],
  ['`a ** b', '`a ** b`'],
  ['`a` and ~~gone', '`a` and ~~gone~~'],
  ['see [the text](https://exam', 'see the text'],
  ['see [the text](https://example.org)', 'see [the text](https://example.org)'],
  ['text\n``', 'text\n'],
  ['```py\n**x', '```py\n**x'],
  ['```py\nx\n```\n**y', '```py\nx\n```\n**y**'],
  ['**one\n\n**two', '**one\n\n**two**'],
])('%j looks like %j', (text, mended) => {
  expect(mendTail(text)).toBe(mended)
})

test.each(['\r\n', ' \n', '\r', '\t\n'])('a model that writes nothing but %j costs no time', (nothing) => {
  const began = performance.now()
  mendTail(nothing.repeat(8000))
  expect(performance.now() - began).toBeLessThan(50)
})
