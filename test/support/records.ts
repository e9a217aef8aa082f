import type { Hopper, Heard } from './hopper.ts'
import { positionOf } from './hopper.ts'
import type { Numbered, Publisher } from './publishers.ts'

/**
 * What is wrong with a client's record, measured against the journal's own; empty when it is the same. It may lack what
 * it was told it may lack, and may be told so only where it missed more than is kept.
 */
export function faultsOf(
  hopper: Hopper,
  journal: readonly Heard[],
  mayKeep: (channel: string) => number,
): string[] {
  const faults = [...hopper.faults]
  if (hopper.start === null) return [...faults, 'never subscribed']
  const start = positionOf(hopper.start)
  const expected = journal.filter(
    ({ position, channel }) => position > start && hopper.channels.includes(channel),
  )
  for (const { channel, after, upTo } of hopper.lost) {
    const missed = expected.filter(
      (one) => one.channel === channel && one.position > after && one.position <= upTo,
    )
    if (missed.length <= mayKeep(channel))
      faults.push(`was told of a loss on ${channel}, of ${missed.length}`)
  }
  const wasTold = (channel: string, position: number): boolean =>
    hopper.lost.some((one) => one.channel === channel && position > one.after && position <= one.upTo)
  const heard = new Map(hopper.heard.map((message) => [message.position, message]))
  for (const { position, channel, data } of expected) {
    const found = heard.get(position)
    if (found === undefined && wasTold(channel, position)) continue
    if (found === undefined) faults.push(`missed ${position} ${channel} ${JSON.stringify(data)}`)
    else if (found.channel !== channel || JSON.stringify(found.data) !== JSON.stringify(data)) {
      faults.push(`position ${position} is ${JSON.stringify(data)}, got ${JSON.stringify(found.data)}`)
    }
    heard.delete(position)
  }
  for (const { position, channel } of heard.values())
    faults.push(`got ${position} ${channel}, which the journal has not`)
  return faults
}

/** What is wrong with the journal, measured against what its publishers were told. */
export function faultsOfJournal(journal: readonly Heard[], publishers: readonly Publisher[]): string[] {
  const faults: string[] = []
  const places = new Map<string, number[]>()
  /** The newest number of each publisher on each channel: another channel may be another queue. */
  const newest = new Map<string, number>()
  for (const { position, channel, data } of journal) {
    const { by, n } = data as Numbered
    const key = `${by} ${n}`
    places.set(key, [...(places.get(key) ?? []), position])
    const before = newest.get(`${by} ${channel}`) ?? 0
    if (n < before) faults.push(`${key} on ${channel} came after ${before}`)
    newest.set(`${by} ${channel}`, n)
  }
  for (const { name, accepted, doubtful } of publishers) {
    for (const n of accepted) {
      const found = places.get(`${name} ${n}`) ?? []
      places.delete(`${name} ${n}`)
      if (found.length !== 1) faults.push(`${name} ${n} was accepted and is there ${found.length} times`)
    }
    for (const n of doubtful) {
      const found = places.get(`${name} ${n}`) ?? []
      places.delete(`${name} ${n}`)
      if (found.length > 1) faults.push(`${name} ${n} is there ${found.length} times`)
    }
  }
  for (const [key, found] of places)
    faults.push(`${key} was not accepted and is there, at ${found.join(', ')}`)
  return faults
}
