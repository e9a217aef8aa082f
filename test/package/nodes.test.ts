import t from 'tap'
import { connect } from '../support/client.ts'
import { execute, install, project } from '../support/installation.ts'

// Every Node version that is promised. npm has each of them as a package.

const it = await install(t)

for (const [major, listener] of [
  [20, 'uws'],
  [22, 'uws'],
  [24, 'node'],
] as const) {
  t.test(`Node ${major}: a TypeScript action, a publication; by ${listener}`, async (t) => {
    const node = await nodeOf(major)
    if (typeof node !== 'string') {
      if (process.env['CI'] === 'true') throw new Error(`no Node ${major}`, { cause: node.reason })
      t.plan(0, `npm has no Node ${major} for us: ${String(node.reason)}`)
      return
    }
    const cwd = await project(t, {
      'livemessages.config.ts': `
import { defineConfig } from 'livemessages'
export default defineConfig({
  postgres: false, port: 0,
  ACTIONS: { chat: { say: './say.ts' } },
  channels: { chat: { access: 'public', history: { count: 10 } } },
})`,
      'say.ts': `
import { defineAction } from 'livemessages'
interface Words { readonly text: string }
export default defineAction({ handle: (words, { publish }) => publish('chat:a', (words as Words).text) })`,
    })
    const daemon = await it.start(t, [], { cwd, through: [node] })
    t.match(await daemon.logged({ msg: 'listening' }), { listener })
    if (listener === 'node') {
      const told = daemon.lines.find(
        ({ level, msg }) => level === 'warn' && msg.includes('no binary for this Node'),
      )
      t.match(told, { node: new RegExp(`^v${major}`) }, 'and it is said')
    }
    const client = await connect(t, daemon)
    await client.subscribe('chat:a')
    t.match(await client.call('chat.say', { text: 'hello' }), { id: /-1$/ })
    t.match(await client.next({ type: 'message' }), { data: 'hello' })
    const published = await it.run(['publish', 'chat:a', '"by HTTP"', '--url', daemon.url], {
      cwd,
      through: [node],
    })
    t.match(published, { code: 0 })
    t.match(await client.next({ type: 'message' }), { data: 'by HTTP' })
    daemon.kill('SIGTERM')
    t.match(await client.closed, { code: 1012 })
    t.match(await daemon.ended, { code: 0, stderr: '' })
  })
}

/** The path of this version's `node`, or why there is none. */
async function nodeOf(major: number): Promise<string | { readonly reason: unknown }> {
  if (process.version.startsWith(`v${major}.`)) return process.execPath
  try {
    const args = ['-y', '-p', `node@${major}`, 'node', '-p', 'process.execPath']
    return (await execute('npx', args, { timeout: 120_000 })).stdout.trim()
  } catch (reason) {
    return { reason }
  }
}
