export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length / 2
  if (sorted.length === 0) return Number.NaN
  return sorted.length % 2 === 1 ? sorted[Math.floor(middle)]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** Three digits that count: `2.31 M`, `174 k`, `5.2`. */
export function brief(value: number): string {
  if (!Number.isFinite(value)) return '–'
  if (Math.abs(value) >= 1e6) return `${digits(value / 1e6)} M`
  if (Math.abs(value) >= 1e4) return `${digits(value / 1e3)} k`
  return digits(value)
}

function digits(value: number): string {
  const size = Math.abs(value)
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)
}

/** The median, with the least and the greatest of several rounds. */
export function spread(values: readonly number[]): string {
  if (values.length === 0) return ''
  const middle = brief(median(values))
  const [least, most] = [brief(Math.min(...values)), brief(Math.max(...values))]
  return least === most ? middle : `${middle} (${least}–${most})`
}
