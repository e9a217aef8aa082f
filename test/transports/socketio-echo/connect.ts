import type { ConnectHook } from '../../../src/index.ts'

const connect: ConnectHook = (connection) => {
  connection.emit('auth', connection.info)
}
export default connect
