export { memberText, oneLine } from '../protocol/json-text.ts'
