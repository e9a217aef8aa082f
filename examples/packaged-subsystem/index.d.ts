import type { ChannelInput } from 'livemessages'

export declare const notes: Readonly<Record<'add' | 'list' | 'forget' | 'sender', string>>
export declare const policy: ChannelInput
