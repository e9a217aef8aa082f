/** How JSON text begins that carries a Buffer: in a module's result or arguments, and from node to node. */
export const BUFFER_HEAD = '{"type":"Buffer","data":['

/** The Buffer that a value is, or stands for; null for every other value. */
export function bufferOf(value: unknown): Buffer | null {
  if (typeof value !== 'object' || value === null) return null
  if (Buffer.isBuffer(value)) return value
  const { type, data } = value as { type?: unknown; data?: unknown }
  return type === 'Buffer' && Array.isArray(data) ? Buffer.from(data as number[]) : null
}
