/** `heddle/model`: a model's folder as Hugging Face lays it out, read range by range and run on WebGPU; in Node and in browsers. */

export { patternAttention } from './model/attention.ts'
export type {
  Attention,
  AttentionKernel,
  AttentionShape,
  AttentionStep,
  ByLayer,
  PatternChoice,
  PatternOptions,
} from './model/attention.ts'
export type { QueriesAndKeys } from './model/capture.ts'
export { ARCHITECTURES, reachOf, readConfig, ropeFrequencies } from './model/config.ts'
export type { Activation, Architecture, ModelConfig, Rope, RopeFrequencies } from './model/config.ts'
export { openModel, type ModelFiles, type OpenModelOptions } from './model/files.ts'
export type { Generation } from './model/generation.ts'
export { loadModel, type LoadOptions } from './model/load.ts'
export type {
  CallOptions,
  GenerateOptions,
  LoadableFiles,
  StepProgress,
  TextCodec,
  Token,
} from './model/calls.ts'
export { Model } from './model/model.ts'
export type { WeightStorage } from './model/placement.ts'
export type { KernelTime } from './model/recorder.ts'
export { checkSampling, sampleToken, seededRandom, type Random, type Sampling } from './model/sampling.ts'
export { memorySource, urlSource } from './model/source.ts'
export type { ByteRange, ModelSource, UrlOptions } from './model/source.ts'
export type { Checkpoint, StoredTensor, WeightDtype } from './model/tensors.ts'
export type { ChatMessage, ChatOptions, DecodeOptions, EncodeOptions } from './model/tokenizer.ts'
export type { StreamOptions, TextStream, Tokenizer } from './model/tokenizer.ts'
export { checkWeights, neededWeights } from './model/weights.ts'
export type { LoadProgress, UploadOptions } from './model/upload.ts'
export type { LayerRole, ModelRole, NeededWeight, Weight } from './model/weights.ts'
