/** Has `draw` called once before the next frame, however often it is requested until then. */
export function perFrame(draw: () => void) {
  let frame = 0
  return {
    request() {
      frame ||= requestAnimationFrame(() => {
        frame = 0
        draw()
      })
    },
    cancel() {
      cancelAnimationFrame(frame)
      frame = 0
    },
  }
}
