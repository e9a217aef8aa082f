// Listens to `flood` as a node does, on a connection that the server does not watch over: `listening-node.ts <url>`.
import { Client } from 'pg'

const client = new Client({ connectionString: process.argv[2], application_name: 'livemessages listen' })
client.on('error', () => process.exit())
await client.connect()
await client.query('LISTEN flood')
process.stdout.write('listening\n')
