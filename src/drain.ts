/** Waits until none of it is under way, what begins meanwhile included, but no longer than the deadline. */
export async function drain(running: ReadonlySet<Promise<unknown>>, deadlineMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), deadlineMs)
  })
  while (running.size > 0) {
    if ((await Promise.race([Promise.allSettled(running), deadline])) === 'late') break
  }
  clearTimeout(timer)
}
