import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BrowserContext, chromium, type Page } from 'playwright-core'
import { CHROMIUM, find, skipWithout } from './packages.ts'
import type { Teardown } from './wait.ts'

/** Why there can be no browser here, for tap's `skip`; false where there can be. */
export function browserSkip(): string | false {
  return skipWithout(CHROMIUM, 'LIVEMESSAGES_TEST_CHROMIUM')
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
    executablePath: process.env['LIVEMESSAGES_TEST_CHROMIUM'] ?? find(CHROMIUM) ?? '',
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
