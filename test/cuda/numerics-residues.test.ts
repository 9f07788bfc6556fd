/** Every pattern of the library that has an order by residue through the kernels that take rows by remainder, on the emulation. */

import { testNumerics } from './numerics.ts'

await testNumerics('residues', { multiprocessors: 2, capability: { major: 9, minor: 0 } })
