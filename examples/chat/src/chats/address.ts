/** The chat's id in the page's address, behind `#/`: the server never gets it. */

/** '' for a new chat. */
export function addressedChat(): string {
  return location.hash.replace(/^#\/?/, '')
}

export function addressOf(id: string): string {
  return id ? `#/${id}` : location.pathname + location.search
}
