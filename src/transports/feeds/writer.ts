import type { ServerFrame } from '../../protocol/frames.ts'
import { Block } from './chain.ts'
import type { Format } from './format.ts'

/** Writes frames in one format; what goes to many is written once. */
export class Writer {
  readonly format: Format
  #frame: ServerFrame | null = null
  #plain: Block | null = null
  #complete: Block | null = null
  /** Frames that were written: one a publication, or two where some readers may have its id and others not. */
  written = 0

  constructor(format: Format) {
    this.format = format
  }

  /** @throws {TypeError} where JSON can't carry an event's arguments */
  shared(frame: ServerFrame, complete: boolean): Block {
    if (this.#frame !== frame) {
      this.#frame = frame
      this.#plain = null
      this.#complete = null
    }
    return complete && this.format.givesPlaces && frame.type === 'message'
      ? (this.#complete ??= this.#write(frame, true))
      : (this.#plain ??= this.#write(frame, false))
  }

  #write(frame: ServerFrame, complete: boolean): Block {
    this.written++
    return new Block(this.format.frame(frame, complete))
  }
}
