import { Decoder, Encoder, type Packet, PacketType } from 'socket.io-parser'
import { noteOrigin } from './origin.ts'

/**
 * The library's parser with a bound on what one packet may hold: a client may announce binary parts and never send
 * the last of them.
 */
export function boundedParser(maxBytes: number): { Encoder: typeof Encoder; Decoder: typeof Decoder } {
  return {
    Encoder,
    Decoder: class extends Decoder {
      #bytes = 0

      constructor() {
        super({ maxAttachments: MAX_ATTACHMENTS })
        this.on('decoded', (packet: Packet) => {
          const bytes = this.#bytes
          this.#bytes = 0
          const { type, id } = packet
          if (type === PacketType.EVENT) noteOrigin(packet.data as object, { ackId: id, bytes })
          else if (type === PacketType.ACK) noteOrigin(asEvent(packet), { answers: id ?? 0, bytes })
        })
      }

      override add(part: unknown): void {
        this.#bytes += PART_BYTES + (typeof part === 'string' ? part.length * 2 : (part as Buffer).length)
        if (this.#bytes > PART_BYTES * (MAX_ATTACHMENTS + 1) + 2 * maxBytes) {
          throw new Error(`a packet of more than ${maxBytes} bytes with its attachments`)
        }
        super.add(part)
      }
    },
  }
}

const MAX_ATTACHMENTS = 10

/** What a part costs beside its bytes. */
const PART_BYTES = 64

/** Answers come as events do: of those that it waits for the library would keep book until the client leaves. */
function asEvent(packet: Packet): object {
  packet.type = PacketType.EVENT
  delete packet.id
  return packet.data as object
}
