/** localStorage of a browser that may refuse it, and say so by an exception. */

export function stored(name: string): string | null {
  try {
    return localStorage.getItem(name)
  } catch {
    return null
  }
}

/** Keep a value, or with null forget it. What cannot be kept holds for this visit. */
export function store(name: string, value: string | null) {
  try {
    if (value === null) localStorage.removeItem(name)
    else localStorage.setItem(name, value)
  } catch {
    // no room, or not allowed
  }
}
