import { randomInt } from 'node:crypto'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import path from 'node:path'
import { codeOf, temporary } from './process.ts'

// Below the range that systems give to outgoing connections (from 32768 on Linux): a port of that range would
// soon be somebody else's, and the server's address would change between starts.
const FROM = 15_500
const TO = 32_500

/** The port of the last start while it is free, else another. */
export async function choosePort(directory: string): Promise<number> {
  const kept = await readPort(directory)
  if (kept !== null && (await isFree(kept))) return kept
  for (let attempt = 0; attempt < 50; attempt++) {
    const port = randomInt(FROM, TO)
    if (await isFree(port)) return port
  }
  return 0
}

export async function keepPort(directory: string, port: number): Promise<void> {
  if ((await readPort(directory)) === port) return
  const file = path.join(directory, 'port')
  const writing = temporary(file)
  await writeFile(
    writing,
    `${port}
`,
  )
  await rename(writing, file)
}

async function readPort(directory: string): Promise<number | null> {
  try {
    const port = Number(await readFile(path.join(directory, 'port'), 'utf8'))
    return Number.isInteger(port) && port > 0 && port < 65_536 ? port : null
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null
    throw error
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)))
  })
}
