/** Every pattern of the library through the CUDA skeletons for all devices, on the emulation. */

import { testNumerics } from './numerics.ts'

await testNumerics('ampere', { multiprocessors: 4 })
await testNumerics('decode', { multiprocessors: 4 })
