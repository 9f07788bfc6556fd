/** `heddle/model`: a model's folder as Hugging Face lays it out, read range by range; in Node and in browsers. */

export { ARCHITECTURES, readConfig, ropeFrequencies } from './model/config.ts'
export type { Activation, Architecture, ModelConfig, Rope, RopeFrequencies } from './model/config.ts'
export { openModel, type ModelFiles, type OpenModelOptions } from './model/files.ts'
export type { Generation } from './model/generation.ts'
export { checkSampling, sampleToken, seededRandom, type Random, type Sampling } from './model/sampling.ts'
export { memorySource, urlSource } from './model/source.ts'
export type { ByteRange, ModelSource, UrlOptions } from './model/source.ts'
export type { Checkpoint, StoredTensor, WeightDtype } from './model/tensors.ts'
export type { ChatMessage, ChatOptions, DecodeOptions, EncodeOptions } from './model/tokenizer.ts'
export type { StreamOptions, TextStream, Tokenizer } from './model/tokenizer.ts'
export { checkWeights, neededWeights } from './model/weights.ts'
export type { LayerRole, ModelRole, NeededWeight, Weight } from './model/weights.ts'
