import { defineAction } from '../../../src/index.ts'

/** Sends back what came: several arguments came as a list. */
export default defineAction({
  handle: (data, { connection }) => {
    connection?.emit('message-back', ...(Array.isArray(data) ? data : [data]))
  },
  access: 'public',
})
