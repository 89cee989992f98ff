// Reads UI message streams as `useChat` does: by the transport, the parser and the message builder
// of the npm package `ai`. Its argument is the package's name; stdin has JSON, an array of
// { body: base64, step: bytes a chunk }; stdout gets an array of { parts, message, error }.
import { text } from 'node:stream/consumers'

const { DefaultChatTransport, readUIMessageStream } = await import(process.argv[2])

function response(body, step) {
  const bytes = Buffer.from(body, 'base64')
  let at = 0
  const stream = new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close()
      controller.enqueue(new Uint8Array(bytes.subarray(at, (at += step))))
    },
  })
  return new Response(stream, { headers: { 'content-type': 'text/event-stream' } })
}

async function read({ body, step }) {
  const result = { parts: [], message: null, error: null }
  try {
    const transport = new DefaultChatTransport({ fetch: async () => response(body, step) })
    const stream = await transport.sendMessages({
      chatId: 'c', messages: [], trigger: 'submit-message',
    })
    const [parts, again] = stream.tee()
    const collect = async () => {
      const reader = parts.getReader()
      for (let next; !(next = await reader.read()).done; ) result.parts.push(next.value)
    }
    const build = async () => {
      const messages = readUIMessageStream({ stream: again, terminateOnError: true })
      for await (const message of messages) result.message = structuredClone(message)
    }
    await Promise.all([collect(), build()])
  } catch (error) {
    result.error = String(error?.message ?? error)
  }
  return result
}

const results = []
for (const one of JSON.parse(await text(process.stdin))) results.push(await read(one))
process.stdout.write(JSON.stringify(results))
