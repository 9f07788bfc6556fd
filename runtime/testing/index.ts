/** `heddle/testing`: what a pattern's author tests it with. */

export { checkPattern, examinePattern } from './check.ts'
export type { CheckDevice, CheckOptions, CheckResult, CounterExample } from './check.ts'
export { arbitrary, readable, type FastCheckModule } from './arbitraries.ts'
export { describeCase, drawCase, randomTensor, tensorsOf } from './cases.ts'
export type { AttentionCase, CaseTensors, CaseVariant } from './cases.ts'
export { compareWithOracle, type Comparison } from './compare.ts'
export { Draw, drawSeeded, shrink, type Drawn, type Generator } from './draw.ts'
export { chosenBy, disagreements, type Disagreement, type ScoredUnit } from './selections.ts'
export { webgpuRunner } from './webgpu.ts'
export type { Built, Runner, VariantChoice } from './runner.ts'
export { CheckError, type Code } from './messages.ts'
