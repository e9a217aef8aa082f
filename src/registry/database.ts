/** The part of a `pg` pool that modules use. */
export interface Database {
  // The caller says what the columns are, as with pg.
  // oxlint-disable-next-line typescript-eslint/no-unnecessary-type-parameters
  query<Row extends Record<string, unknown> = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
  ): Promise<{ rows: Row[]; rowCount: number | null }>
  /** Runs `work` in a transaction: committed when it resolves, rolled back when it rejects. */
  transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T>
}

/** A transaction, or a savepoint in one. */
export interface Transaction extends Database {
  /**
   * Publishes when the transaction commits, and not at all when it, or the savepoint that this is of, is rolled back. The
   * data is taken as it is now.
   *
   * With the PostgreSQL journal the publications of journaled channels are part of the transaction. What is transient, has
   * a `key` or an `exclude`, or goes to another journal is published right after COMMIT: lost where the process dies
   * between the two, or the journal can't be reached for `limits.publishMs`, which is logged. `transaction` resolves all
   * the same, for it is committed.
   *
   * @throws {LivemessageError} PUBLISH_REFUSED, at once, so that the transaction is rolled back
   * @throws {ClientError} too_large, at once
   */
  publish(channel: string, data: unknown, options?: PublishOptions): Promise<void>
}

export interface PublishOptions {
  /** A second publication with the same key within the window is not delivered again. */
  readonly key?: string
  /** A session that is not to get it. */
  readonly exclude?: string
}
