export { and } from 'heddle'
export { causal } from 'heddle/patterns'
