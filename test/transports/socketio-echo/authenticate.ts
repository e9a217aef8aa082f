import type { AuthenticateHook } from '../../../src/index.ts'

/** Everybody may come in, as somebody of whom is known what they introduced themselves with. */
const authenticate: AuthenticateHook = ({ auth = {} }) => ({ id: 'somebody', info: auth })
export default authenticate
