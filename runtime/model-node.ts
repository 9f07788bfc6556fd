/** `heddle/model/node`: a folder on disk as the source of a model. */

export { folderSource } from './model/source-node.ts'
