import * as fs from 'node:fs'
import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import { expandFiles, globToRegExp, readableFile, shown, writeFiles } from '../../runtime/cli/files.ts'
import { progressOn, REAL_DISK, reasonOf, systemCode } from '../../runtime/cli/io.ts'
import { failingWith, filesIn, temporaryFolder, testIo } from './helpers.ts'

describe('expandFiles', () => {
  const tree = {
    'a.ts': '',
    'b.ts': '',
    'b.js': '',
    '.hidden.ts': '',
    'sub/c.ts': '',
    'sub/deep/d.ts': '',
    'node_modules/x/e.ts': '',
    '[odd].ts': '',
  }
  const expand = (...globs: string[]) => {
    const io = testIo(temporaryFolder(tree))
    return expandFiles(io, globs).map(
      ({ file, named }) => `${path.relative(io.cwd, file)}${named ? ' named' : ''}`,
    )
  }

  it('matches what a shell would', () => {
    expect(expand('?.ts')).toEqual(['a.ts', 'b.ts'])
    expect(expand('*.ts')).toEqual(['[odd].ts', 'a.ts', 'b.ts'])
    expect(expand('**/*.ts')).toEqual(['[odd].ts', 'a.ts', 'b.ts', 'sub/c.ts', 'sub/deep/d.ts'])
    expect(expand('sub/*/*.ts')).toEqual(['sub/deep/d.ts'])
    expect(expand('{a,b}.{ts,js}')).toEqual(['a.ts', 'b.js', 'b.ts'])
    expect(expand('[!a].ts')).toEqual(['b.ts'])
    expect(expand('./s*/c.ts')).toEqual(['sub/c.ts'])
  })

  it('names a file once, in the order given, and prefers a file that is called like a glob', () => {
    expect(expand('b.ts', '?.ts', 'a.ts')).toEqual(['b.ts named', 'a.ts named'])
    expect(expand('[odd].ts')).toEqual(['[odd].ts named'])
  })

  it('refuses a glob without a match, a missing file and a folder', () => {
    expect(() => expand('*.md')).toThrow('no file matches `*.md`')
    expect(() => expand('nowhere/*.ts')).toThrow('no file matches `nowhere/*.ts`')
    expect(() => expand('zzz.ts')).toThrow('zzz.ts: no such file')
    expect(() => expand('sub')).toThrow('sub: cannot be read: it is a folder')
    const io = testIo(temporaryFolder(tree))
    expect(() => readableFile(io, 'a.ts/b.ts')).toThrow(
      'a.ts/b.ts: cannot be read: a part of the path is a file, not a folder',
    )
  })

  it('reads the signs of a glob literally where they are none', () => {
    expect(globToRegExp('a.b+(c)').test('a.b+(c)')).toBe(true)
    expect(globToRegExp('a,b').test('a,b')).toBe(true)
    expect(globToRegExp('a.ts').test('axts')).toBe(false)
  })
})

describe('shown', () => {
  it('is relative inside the folder, absolute outside', () => {
    const io = testIo('/work/here')
    expect([shown(io, '/work/here/a.ts'), shown(io, '/work/b.ts'), shown(io, '/work/here')]).toEqual([
      'a.ts',
      '/work/b.ts',
      '.',
    ])
  })
})

describe('writeFiles', () => {
  it('writes all files and leaves nothing else', () => {
    const io = testIo(temporaryFolder({ 'old.txt': 'old' }))
    writeFiles(io, [
      { path: path.join(io.cwd, 'x/new.txt'), bytes: 'new' },
      { path: path.join(io.cwd, 'old.txt'), bytes: Uint8Array.of(65) },
    ])
    expect(filesIn(io.cwd)).toEqual(['old.txt', 'x/new.txt'])
    expect(fs.readFileSync(path.join(io.cwd, 'old.txt'), 'utf8')).toBe('A')
  })

  it('leaves the files as they were when the disk is full, also in the middle', () => {
    const cwd = temporaryFolder({ 'a.txt': 'old' })
    let written = 0
    const disk = {
      ...REAL_DISK,
      write: (file: string, bytes: string | Uint8Array) => {
        // A full disk takes a part of the second file.
        if (++written === 2) {
          fs.writeFileSync(file, bytes.slice(0, 3))
          failingWith('ENOSPC')()
        }
        REAL_DISK.write(file, bytes)
      },
    }
    const io = testIo(cwd, { disk })
    const files = ['a.txt', 'b.txt'].map((name) => ({ path: path.join(cwd, name), bytes: 'new text' }))
    expect(() => writeFiles(io, files)).toThrow(
      'b.txt: cannot be written: no space is left on the disk; nothing was left half-written',
    )
    expect(filesIn(cwd)).toEqual(['a.txt'])
    expect(fs.readFileSync(path.join(cwd, 'a.txt'), 'utf8')).toBe('old')
  })

  it('says why a folder cannot be made, and keeps a failing clean-up to itself', () => {
    const cwd = temporaryFolder({ file: '' })
    expect(() => writeFiles(testIo(cwd), [{ path: path.join(cwd, 'file/a.txt'), bytes: '' }])).toThrow(
      /file\/a.txt: cannot be written: (a file is in the way|a part of the path)/,
    )
    const readOnly = {
      mkdir: failingWith('EROFS'),
      write: failingWith('EROFS'),
      rename: failingWith('EROFS'),
      remove: failingWith('EROFS'),
    }
    expect(() =>
      writeFiles(testIo(cwd, { disk: readOnly }), [{ path: path.join(cwd, 'a.txt'), bytes: '' }]),
    ).toThrow('a.txt: cannot be written: the file system is read-only')
    expect(() =>
      writeFiles(
        testIo(cwd, {
          disk: {
            ...REAL_DISK,
            write: () => {
              throw new TypeError('a bug')
            },
          },
        }),
        [{ path: path.join(cwd, 'a.txt'), bytes: '' }],
      ),
    ).toThrow(TypeError)
  })
})

describe('io', () => {
  it('tells a system error from any other', () => {
    expect(systemCode(Object.assign(new Error('x'), { code: 'ENOSPC' }))).toBe('ENOSPC')
    expect(systemCode(Object.assign(new Error('x'), { code: 'no-adapter' }))).toBe(null)
    expect([systemCode('x'), reasonOf('EXDEV')]).toEqual([null, 'EXDEV'])
  })

  it('overwrites one line of a terminal, and writes nothing elsewhere', () => {
    const terminal = testIo('/', { tty: true, columns: 10 })
    const progress = progressOn(terminal)
    progress.show('a long line of text')
    progress.show('short')
    progress.clear()
    progress.clear()
    expect(terminal.text.err).toBe('\ra long li\rshort    \r     \r')
    const file = testIo('/')
    progressOn(file).show('x')
    progressOn(file).clear()
    expect(file.text.err).toBe('')
  })
})
