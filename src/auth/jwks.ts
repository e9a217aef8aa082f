/** Bytes of a key set that are read at most. */
const MAX_BYTES = 1024 * 1024

/** What jose asks of the function that fetches a key set. */
export interface FetchOptions {
  readonly headers: Headers
  readonly method: 'GET'
  readonly redirect: 'manual'
  readonly signal: AbortSignal
}

/** The key set could not be had: not the token's fault. */
export class KeySetError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'KeySetError'
  }
}

/**
 * Fetches the key set, bounded in bytes; time is bounded by the signal. After a failure nobody asks again
 * for `retryMs`: a server that is down is not asked once a token.
 * @throws {KeySetError}
 */
export function createKeySetFetch(
  retryMs: number,
): (url: string, options: FetchOptions) => Promise<Response> {
  let failure: KeySetError | null = null
  let failedAt = 0
  return async (url, options) => {
    if (failure !== null && performance.now() - failedAt < retryMs) throw failure
    try {
      const response = await fetchBounded(url, options)
      failure = null
      return response
    } catch (error) {
      failedAt = performance.now()
      failure = error instanceof KeySetError ? error : new KeySetError(reasonOf(error), { cause: error })
      throw failure
    }
  }
}

async function fetchBounded(url: string, options: FetchOptions): Promise<Response> {
  const response = await fetch(url, options)
  if (response.status !== 200) {
    // Redirects as well: keys come from the configured address only.
    await response.body?.cancel()
    throw new KeySetError(`its server answered ${response.status}`)
  }
  const chunks: Uint8Array[] = []
  let bytes = 0
  // Leaving the loop early cancels the body.
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength
    if (bytes > MAX_BYTES) throw new KeySetError(`its server sends more than ${MAX_BYTES} bytes`)
    chunks.push(chunk)
  }
  return new Response(Buffer.concat(chunks))
}

/** `fetch failed` says nothing; its cause does. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'TimeoutError') return 'its server did not answer in time'
  return error.cause instanceof Error && error.cause.message !== '' ? error.cause.message : error.message
}
