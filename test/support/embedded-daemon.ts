// A daemon's part in the tests of the embedded server: starts it, says so on its output, and waits to be ended.
import { z } from 'zod'
import { startEmbedded } from '../../src/database/embedded.ts'
import { LivemessageError } from '../../src/errors.ts'
import { silent } from './postgres.ts'

const { directory, uid, binaries } = z
  .object({
    directory: z.string(),
    uid: z.number().optional(),
    binaries: z.object({ folder: z.string(), version: z.string(), major: z.number() }).optional(),
  })
  .parse(JSON.parse(process.argv[2] ?? ''))

// After the imports: the project itself may be where that user can't go.
if (uid !== undefined) {
  process.setgroups?.([])
  process.setgid?.(uid)
  process.setuid?.(uid)
}
try {
  const server = await startEmbedded({ directory }, silent(), binaries === undefined ? {} : { binaries })
  const { url, pid, adopted, directory: home } = server
  process.stdout.write(`${JSON.stringify({ url, pid, adopted, home })}\n`)
  process.stdin.once('data', () => void server.stop().then(() => process.exit(0)))
} catch (error) {
  const code = error instanceof LivemessageError ? error.code : 'INTERNAL'
  process.stdout.write(`${JSON.stringify({ code, message: String(error) })}\n`)
  process.exitCode = 1
}
