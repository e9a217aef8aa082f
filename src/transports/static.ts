import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Route } from './http.ts'

/** One file that is served, whole and from memory. */
export interface StaticFile {
  readonly path: string
  readonly file: URL
  readonly type: string
}

/** Routes for a few files that are read once, at the start. */
export async function staticRoutes(
  files: readonly StaticFile[],
  headers: Readonly<Record<string, string>>,
): Promise<Route[]> {
  return Promise.all(files.map((entry) => staticRoute(entry, headers)))
}

async function staticRoute(
  { path, file, type }: StaticFile,
  headers: Readonly<Record<string, string>>,
): Promise<Route> {
  const body = await readFile(file)
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
  const common = { 'Content-Type': type, ETag: etag, 'Cache-Control': 'no-cache', ...headers }
  return {
    path,
    methods: {
      GET: (request, response) => {
        if (request.header('if-none-match') === etag) response.reply(304, common, '')
        else response.reply(200, common, body)
      },
    },
  }
}
