/** Chat templates: the prompts of two models' own texts, what a template may ask for, and those that do not render. */

import { describe, expect, test } from 'vitest'
import { refusal } from './tiny.ts'
import { byteLevel, tokenizerOf } from './tiny-tokenizers.ts'

/** ChatML, as Qwen 2 has it. */
const CHATML =
  "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n" +
  "You are a helpful assistant.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] " +
  "+ '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

/** Mistral's: turns alternate, and say so when they do not. */
const INSTRUCT =
  "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}" +
  "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}" +
  "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}" +
  "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% endif %}{% endfor %}"

const NAMES = { bos_token: '<s>', eos_token: '</s>' }
const ask = [{ role: 'user', content: 'What is 2 + 2?' }]

describe('prompts', () => {
  test('of Qwen, with and without the words before the answer', () => {
    const { applyChatTemplate } = tokenizerOf(byteLevel(), { chat_template: CHATML })
    const prompt =
      '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n'
    expect(applyChatTemplate(ask)).toBe(`${prompt}<|im_start|>assistant\n`)
    expect(applyChatTemplate(ask, { addGenerationPrompt: false })).toBe(prompt)
  })

  test('of Mistral, with the special tokens of the configuration', () => {
    const { applyChatTemplate } = tokenizerOf(byteLevel(), { ...NAMES, chat_template: INSTRUCT })
    const chat = [...ask, { role: 'assistant', content: '4' }, { role: 'user', content: 'And 3 + 3?' }]
    expect(applyChatTemplate(chat)).toBe('<s>[INST] What is 2 + 2? [/INST]4</s>[INST] And 3 + 3? [/INST]')
  })

  test('get the variables that a call brings', () => {
    const text = '{% if enable_thinking is defined and not enable_thinking %}no{% else %}yes{% endif %}'
    const { applyChatTemplate } = tokenizerOf(byteLevel(), { chat_template: text })
    expect(applyChatTemplate(ask)).toBe('yes')
    expect(applyChatTemplate(ask, { variables: { enable_thinking: false } })).toBe('no')
  })
})

describe('templates', () => {
  const several = [
    { name: 'default', template: 'plain{{ tools is none }}' },
    { name: 'tool_use', template: '{{ tools | length }} tools' },
  ]

  test('may be several with names; tools take their own', () => {
    const { applyChatTemplate, templates } = tokenizerOf(byteLevel(), { chat_template: several })
    expect(templates).toEqual(['default', 'tool_use'])
    expect(applyChatTemplate(ask)).toBe('plainTrue'.replace('True', 'true'))
    expect(applyChatTemplate(ask, { tools: [{}, {}] })).toBe('2 tools')
    expect(applyChatTemplate(ask, { template: 'tool_use', tools: [] })).toBe('0 tools')
  })

  test('in a file of their own come first', () => {
    const { applyChatTemplate } = tokenizerOf(byteLevel(), { chat_template: 'a' }, 'b')
    expect(applyChatTemplate(ask)).toBe('b')
  })
})

describe('refusals', () => {
  test('no template, or none of the name', async () => {
    expect(await refusal(() => tokenizerOf(byteLevel()).applyChatTemplate(ask))).toBe(
      'error[no-chat-template]: the model has no chat template default; it has none',
    )
    const { applyChatTemplate } = tokenizerOf(byteLevel(), { chat_template: 'a' })
    expect(await refusal(() => applyChatTemplate(ask, { template: 'rag' }))).toBe(
      'error[no-chat-template]: the model has no chat template rag; it has default',
    )
  })

  test('a template that says no, and one that is none', async () => {
    const instruct = tokenizerOf(byteLevel(), { ...NAMES, chat_template: INSTRUCT })
    expect(await refusal(() => instruct.applyChatTemplate([...ask, ...ask]))).toBe(
      'error[chat-template]: the chat template default does not render: Conversation roles must alternate ' +
        'user/assistant/user/assistant/...',
    )
    const broken = tokenizerOf(byteLevel(), { chat_template: '{% for x in %}' })
    expect(await refusal(() => broken.applyChatTemplate(ask))).toMatch(/^error\[chat-template\]/)
  })

  test('a field that is no template', async () => {
    expect(await refusal(() => tokenizerOf(byteLevel(), { chat_template: [{ name: 'default' }] }))).toBe(
      'error[model-field]: tokenizer_config.json: expected chat_template to be a text, or a list of records with name ' +
        'and template, got [{"name":"default"}]',
    )
  })
})
