/** Why an answer failed. Knows no words of the page: texts/ has one for each code. */

export class AnswerError extends Error {
  /**
   * @param code One of `websopy_sync.web.public_error`, of the relay, of `requests.ts`, or "offline",
   *   "silent", "lost", "left".
   * @param retryAt When the server says that a retry is welcome: milliseconds since 1970.
   */
  constructor(
    readonly code: string,
    readonly retryAt?: number,
  ) {
    super(code)
  }
}

/** The connection is gone, the answer need not be: a page that knows its id can follow it again. */
export class ConnectionLost extends AnswerError {}
