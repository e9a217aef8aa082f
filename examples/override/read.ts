import { defineAction } from 'livemessages'
import read from 'livemessages/actions/messages/read'

/** `messages.read` as it is, access, validator and tables included, and a line of audit for each that was read. */
export default defineAction({
  ...read,
  async handle(input, context) {
    const answer = await read.handle(input, context)
    if (answer.success) context.log.info({ user: context.user, message: input.id }, 'message read')
    return answer
  },
})
