import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type BrowserContext, chromium, type Page } from 'playwright-core'
import type { Teardown } from './wait.ts'

const run = promisify(execFile)

const CHROMIUM = process.env['LIVEMESSAGES_TEST_CHROMIUM'] ?? '/usr/bin/chromium'

/**
 * Why there can be no browser here, for tap's `skip`; false where there can be. On Debian as root it installs
 * what is missing.
 * @throws with `CI=true`, where a skip is a failure
 */
export async function browserSkip(): Promise<string | false> {
  if (existsSync(CHROMIUM)) return false
  if (process.getuid?.() === 0 && existsSync('/etc/debian_version')) {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    await run('apt-get', ['update', '-q'], { env })
    await run('apt-get', ['install', '-y', '-q', '--no-install-recommends', 'chromium'], { env })
    if (existsSync(CHROMIUM)) return false
  }
  const reason = `no Chromium at ${CHROMIUM}, and LIVEMESSAGES_TEST_CHROMIUM names none`
  if (process.env['CI'] === 'true') throw new Error(reason)
  return reason
}

export interface BrowserOptions {
  /** What the browser says that people prefer. @default 'light' */
  readonly scheme?: 'light' | 'dark'
  readonly size?: { readonly width: number; readonly height: number }
}

/** Starts Chromium with an empty profile; it ends at teardown. Takes about a second. */
export async function openBrowser(t: Teardown, options: BrowserOptions = {}): Promise<BrowserContext> {
  const profile = await mkdtemp(join(tmpdir(), 'livemessages-chromium-'))
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    headless: true,
    chromiumSandbox: false,
    colorScheme: options.scheme ?? 'light',
    viewport: options.size ?? { width: 1280, height: 900 },
    args: [
      '--disable-gpu',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--disable-quic',
    ],
  })
  browser.setDefaultTimeout(15_000)
  t.teardown(async () => {
    await browser.close()
    await rm(profile, { recursive: true, force: true })
  })
  return browser
}

/** Everything that a page complains about, from now on: errors, refused policies, what scripts throw. */
export function complaintsOf(page: Page): string[] {
  const complaints: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  return complaints
}
