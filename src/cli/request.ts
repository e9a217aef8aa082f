import http from 'node:http'
import https from 'node:https'

export interface RequestOptions {
  readonly method: 'GET' | 'POST'
  /** A unix socket to connect to in place of the URL's host and port. */
  readonly socket: string | null
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
  /** @default 10_000 */
  readonly timeoutMs?: number
}

/** One request. `fetch` can't do it over a unix socket, and costs a command its first 50 ms. */
export function request(
  url: string,
  { method, socket, headers, body = '', timeoutMs = 10_000 }: RequestOptions,
): Promise<{ readonly status: number; readonly body: string }> {
  const client = url.startsWith('https:') ? https : http
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(timeoutMs)
    const asked = client.request(
      url,
      {
        method,
        headers: { ...headers, 'Content-Length': Buffer.byteLength(body) },
        signal,
        ...(socket === null ? {} : { socketPath: socket }),
      },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', fail)
        response.on('end', () => {
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') })
        })
      },
    )
    asked.on('error', fail)
    asked.end(body)

    function fail(error: Error): void {
      reject(signal.aborted ? new Error(`no answer within ${timeoutMs} ms`, { cause: error }) : error)
    }
  })
}
