/** `heddle/cuda`: artefacts of the target `cuda` and tensors in, attention on an NVIDIA GPU out; for Node, on Linux. */

export { bfloatArray, fromBfloat, roundBfloat, toBfloat } from './bfloat.ts'
export { parseCudaArtifact } from './cuda/artifact.ts'
export { cudaAttention, type CudaAttentionCall, type CudaAttentionResult } from './cuda/attention.ts'
export type { CudaCall, CudaCallOptions } from './cuda/call.ts'
export type { Address, CudaDriver, CudaEvent, Stream } from './cuda/driver.ts'
export { CudaKernel, loadCudaKernel, type CudaKernelOptions, type PreparedCudaCall } from './cuda/kernel.ts'
export { openCuda, type CudaOptions } from './cuda/libcuda.ts'
export type { Pages } from './cuda/pages.ts'
export type { DeviceTensor } from './cuda/tensor.ts'
export { HeddleError, MESSAGES, type Blame, type Code, type MessageArgs } from './messages.ts'
