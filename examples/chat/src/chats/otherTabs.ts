/** Tells the browser's other tabs that a chat has changed. Knows no chats beside their ids. */

export class OtherTabs {
  private readonly channel = globalThis.BroadcastChannel && new BroadcastChannel('chats')

  constructor(onChange: (chat: string) => void) {
    if (this.channel) this.channel.onmessage = (event: MessageEvent<string>) => onChange(event.data)
  }

  tell(chat: string) {
    this.channel?.postMessage(chat)
  }
}
