/** Chat templates: Jinja texts of a model's folder in, the prompt of a list of messages out. */

import { Template } from '@huggingface/jinja'
import { HeddleError } from '../messages.ts'
import { isRecord, type Fields } from './fields.ts'

/** What templates read of a message; most have a role and a content. */
export interface ChatMessage {
  readonly role: string
  readonly content?: unknown
  readonly [field: string]: unknown
}

export interface ChatOptions {
  /** With the words after which the model answers. True by default. */
  readonly addGenerationPrompt?: boolean
  /** Descriptions of functions that the model may call, as JSON Schema. */
  readonly tools?: readonly unknown[]
  /** Which template; `default`, or `tool_use` where there are tools and such a template. */
  readonly template?: string
  /** More variables of the template, such as `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>>
}

export interface ChatTemplates {
  readonly names: readonly string[]
  render(messages: readonly ChatMessage[], options?: ChatOptions): string
}

/** The templates of tokenizer_config.json, one text or several with names; a file of its own stands in for its default. */
export function chatTemplates(
  config: Fields,
  file: string | null,
  named: Readonly<Record<string, string>>,
): ChatTemplates {
  const texts = new Map(configured(config))
  if (file !== null) texts.set('default', file)
  const parsed = new Map<string, Template>()

  return {
    names: [...texts.keys()],
    render(messages, { addGenerationPrompt = true, tools, template, variables } = {}) {
      const name = template ?? (tools && texts.has('tool_use') ? 'tool_use' : 'default')
      const text = texts.get(name)
      if (text === undefined) throw new HeddleError('no-chat-template', { name, present: [...texts.keys()] })
      try {
        const compiled = parsed.get(name) ?? new Template(text)
        parsed.set(name, compiled)
        return compiled.render({
          ...named,
          messages,
          tools: tools ?? null,
          documents: null,
          add_generation_prompt: addGenerationPrompt,
          ...variables,
        })
      } catch (cause) {
        const detail = cause instanceof Error ? cause.message : String(cause)
        throw new HeddleError('chat-template', { name, detail }, { cause })
      }
    },
  }
}

function configured(config: Fields): [name: string, text: string][] {
  const given = config.raw('chat_template')
  if (given === undefined) return []
  if (typeof given === 'string') return [['default', given]]
  const rows: readonly unknown[] = Array.isArray(given) ? given : []
  const pairs = rows.flatMap((row): [string, string][] => {
    if (!isRecord(row)) return []
    const { name, template } = row
    return typeof name === 'string' && typeof template === 'string' ? [[name, template]] : []
  })
  if (pairs.length === 0 || pairs.length < rows.length) {
    throw config.refuse('chat_template', 'a text, or a list of records with name and template')
  }
  return pairs
}
