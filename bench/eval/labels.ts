/** Points of a picture with their names in; places for the names, none over another name or over a point, out. In pixels, y downwards. */

export interface Named {
  readonly name: string
  readonly x: number
  readonly y: number
}

export interface Label {
  /** Where the text begins, at half its height; it ends there if `isLeft`. */
  readonly x: number
  readonly y: number
  readonly isLeft: boolean
}

/** Of a letter, on the average, and of a line. */
const LETTER = 5
const LINE = 11
const GAP = 7

interface Box {
  readonly left: number
  readonly right: number
  readonly top: number
  readonly bottom: number
}

const meets = (a: Box, b: Box) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
const around = (x: number, y: number, half: number): Box => ({
  left: x - half,
  right: x + half,
  top: y - half,
  bottom: y + half,
})

/** Beside its point, or as few lines above or below as it takes; names are within the width and the height. */
export function placeLabels(points: readonly Named[], width: number, height: number): Label[] {
  const taken: Box[] = points.map(({ x, y }) => around(x, y, 3))
  return points.map(({ name, x, y }) => {
    const long = LETTER * name.length
    const isLeft = x + GAP + long > width
    const at = isLeft ? x - GAP : x + GAP
    const boxAt = (line: number): Box => {
      const middle = y + line * LINE
      const [left, right] = isLeft ? [at - long, at] : [at, at + long]
      return { left, right, top: middle - LINE / 2, bottom: middle + LINE / 2 }
    }
    const lines = Array.from({ length: 2 * points.length }, (_, n) => (n % 2 === 0 ? -n / 2 : (n + 1) / 2))
    const free = lines.find((line) => {
      const box = boxAt(line)
      return box.top >= -LINE && box.bottom <= height + LINE && !taken.some((other) => meets(box, other))
    })
    taken.push(boxAt(free ?? 0))
    return { x: at, y: y + (free ?? 0) * LINE, isLeft }
  })
}
