/** A metric with its values at one moment: plain data, which may go to another process. */
export interface MetricData {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary'
  /** How the values of several processes become one. */
  readonly aggregator: 'omit' | 'sum' | 'first' | 'min' | 'max' | 'average'
  readonly values: readonly {
    readonly value: number
    readonly labels: Readonly<Record<string, string | number>>
    readonly metricName?: string
  }[]
}

/** All metrics of one process. */
export type MetricSet = readonly MetricData[]

/** The processes of one port, this one among them. */
export interface MetricGroup {
  /**
   * The numbers of all of them.
   * @throws {ClientError} unavailable, where they can't be had
   */
  gather(): Promise<readonly MetricSet[]>
}

/**
 * What only ever grows. It outlives its process: a sum that fell with a worker would look like a counter that began
 * anew, and all that the others have counted like new.
 */
export function growing(set: MetricSet): MetricSet {
  return set.filter(({ type, aggregator }) => type !== 'gauge' && aggregator === 'sum')
}
