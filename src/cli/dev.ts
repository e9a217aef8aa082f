// `npm run dev`: the command from its sources, by tsx.
import { main } from './main.ts'

await main(process.argv)
