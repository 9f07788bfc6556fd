/**
 * Every pattern of the library through the Hopper skeleton, on the emulation. A file of its own: each kernel keeps the stacks of
 * its threads, and a process may hold only so many memory regions.
 */

import { testNumerics } from './numerics.ts'

// Few multiprocessors, so that blocks stay for several query tiles.
await testNumerics('hopper', { multiprocessors: 2, capability: { major: 9, minor: 0 } })
