import { defineAction } from '../../../src/index.ts'

/** Sends back what came, a text or binary data. */
export default defineAction({
  handle: (data, { connection }) => {
    if (typeof data === 'string' || Buffer.isBuffer(data)) connection?.send(data)
  },
  access: 'public',
})
