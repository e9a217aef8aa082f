import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { ModuleReference } from '../config/config.ts'
import type { RESERVED } from '../registry/registry.ts'

/** What `ACTIONS` is: subsystems, and in each its modules. */
export type Actions = Readonly<Record<string, Readonly<Record<string, ModuleReference>>>>

/** The names that clients call, `<subsystem>.<action>`. */
export type ActionName<A extends Actions> = {
  [S in keyof A & string]: `${S}.${Exclude<keyof A[S] & string, (typeof RESERVED)[number]>}`
}[keyof A & string]

type DefinitionOf<A extends Actions, N extends string> = N extends `${infer S}.${infer K}`
  ? S extends keyof A
    ? K extends keyof A[S]
      ? A[S][K]
      : never
    : never
  : never

// In brackets: a reference that may be anything is not taken apart, and stays unknown.
type InputOf<D> = [D] extends [{ readonly input?: infer S; handle(...args: never[]): unknown }]
  ? S extends StandardSchemaV1
    ? StandardSchemaV1.InferInput<S>
    : unknown
  : [D] extends [(input: infer I, ...rest: never[]) => unknown]
    ? I
    : unknown

type ResultOf<D> = [D] extends [{ handle(...args: never[]): infer R }]
  ? Awaited<R>
  : [D] extends [(...args: never[]) => infer R]
    ? Awaited<R>
    : unknown

/** What `call` takes after the action's name: what its validator takes, before it is transformed. */
export type CallArguments<A extends Actions, N extends string> =
  undefined extends InputOf<DefinitionOf<A, N>>
    ? [data?: InputOf<DefinitionOf<A, N>>]
    : [data: InputOf<DefinitionOf<A, N>>]

/** What `call` resolves with: what the action returns, as JSON brings it; of a path unknown. */
export type CallResult<A extends Actions, N extends string> = ReplyOf<ResultOf<DefinitionOf<A, N>>>

type ReplyOf<R> = unknown extends R ? unknown : Json<Exclude<R, undefined | void>> | NothingOf<R>

/** An action that returns nothing answers null. */
type NothingOf<R> = [Extract<R, undefined | void>] extends [never] ? never : null

/** What comes out of `JSON.parse(JSON.stringify(value))`: a Date is a text by then. */
export type Json<T> = unknown extends T
  ? unknown
  : T extends { toJSON(...args: never[]): infer J }
    ? Json<J>
    : T extends string | number | boolean | null | undefined
      ? T
      : T extends readonly unknown[]
        ? { [I in keyof T]: Json<T[I]> }
        : T extends bigint | symbol | ((...args: never[]) => unknown)
          ? never
          : { [K in keyof T]: Json<T[K]> }
