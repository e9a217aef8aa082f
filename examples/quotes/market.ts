import type { StartHook } from 'livemessages'

const EVERY_MS = 200

/** Stands for whatever knows the prices: your application would publish them by SQL, AMQP or HTTP. */
const start: StartHook = ({ publish, log }) => {
  const prices = new Map([
    ['ACME', 100],
    ['EMCA', 40],
    ['MEAC', 7],
  ])
  const trade = async (): Promise<void> => {
    for (const [symbol, price] of prices) {
      const next = price * (1 + (Math.random() - 0.5) / 50)
      prices.set(symbol, next)
      await publish('quotes:all', { symbol, price: Number(next.toFixed(2)) })
    }
  }
  setInterval(() => {
    trade().catch((err: unknown) => log.warn({ err }, 'no quotes'))
  }, EVERY_MS).unref()
}
export default start
