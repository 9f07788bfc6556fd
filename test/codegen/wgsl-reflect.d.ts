/** What the tests use of wgsl_reflect's module build, which ships no types of its own. */

declare module 'wgsl_reflect/wgsl_reflect.module.js' {
  export interface TypeInfo {
    readonly name: string
    readonly size: number
    getTypeName(): string
  }
  export interface MemberInfo {
    readonly name: string
    readonly offset: number
    readonly size: number
    readonly type: TypeInfo
  }
  export interface VariableInfo {
    readonly name: string
    readonly group: number
    readonly binding: number
    readonly access: string
    readonly size: number
    readonly members: readonly MemberInfo[] | null
    readonly type: TypeInfo
  }
  export interface FunctionInfo {
    readonly name: string
    readonly workgroupSize: readonly [number, number, number] | null
    readonly resources: readonly VariableInfo[]
  }
  export class WgslReflect {
    constructor(code: string)
    readonly uniforms: readonly VariableInfo[]
    readonly storage: readonly VariableInfo[]
    readonly entry: { readonly compute: readonly FunctionInfo[] }
  }
}
