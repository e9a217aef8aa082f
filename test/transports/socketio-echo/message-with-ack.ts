import { defineAction } from '../../../src/index.ts'

/** The client's callback gets what the client sent: with `spread`, as its arguments. */
export default defineAction({
  handle: (data) => (Array.isArray(data) ? data : [data]),
  access: 'public',
})
