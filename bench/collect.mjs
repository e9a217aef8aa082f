/*
 * Loaded into both servers with `node --expose-gc --import`: collects garbage when the bench asks, so that
 * what /proc says of the process afterwards is what it needs.
 */
process.on('message', (message) => {
  if (message !== 'collect') return
  // Twice, a turn apart: what finalizers set free in the first goes in the second.
  globalThis.gc()
  setImmediate(() => {
    globalThis.gc()
    const { heapUsed, external } = process.memoryUsage()
    process.send({ collected: { heapUsed, external } })
  })
})
// A bench that is killed leaves no server behind.
process.on('disconnect', () => process.kill(process.pid, 'SIGTERM'))
// The daemon must end as it does without us.
process.channel?.unref()
