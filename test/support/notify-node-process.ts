// A node in a process of its own, for tests that freeze or kill it:
// `notify-node-process.ts <url> <holder> <ttlMs> <channel> <journals after>`. Prints each change of its token.
// With a number as the last argument it takes so many notifications and hangs with the next.
import { makeNotifyNode } from './notify-node.ts'

const [url = '', holder = '', ttlMs = '', channel = '', most = ''] = process.argv.slice(2)
let left = most === '' ? Infinity : Number(most)
const print = (line: string): void => void process.stdout.write(`${line}\n`)
const node = makeNotifyNode({
  url,
  holder,
  ttlMs: Number(ttlMs),
  channel,
  before: () => {
    if (left-- > 0) return undefined
    print('hangs')
    return new Promise(() => {})
  },
})
node.leadership.onChange((token) => print(`token ${token}`))
process.once('SIGTERM', () => {
  void node.stop().then(() => process.exit())
})
await node.start()
print('started')
