/** Pattern sections by hand: the flags and functions that a skeleton's text asks of a pattern, for tests of the skeleton alone. */

export interface Section {
  readonly masked?: boolean
  readonly cheap?: boolean
  readonly listed?: boolean
  readonly tested?: boolean
  /** Kept and dropped terms: the ends, in positions, over qLo and qHi; C. */
  readonly kept: readonly (readonly [lo: string, hi: string])[]
  readonly dropped: readonly (readonly [lo: string, hi: string])[]
  /** What isReached asks beyond the intervals, over tile; C. */
  readonly test?: string
  /** Over q, kv and p; C. */
  readonly keeps: string
  /** Over s, q, kv and p; C. */
  readonly score?: string
  /** Over p; C. */
  readonly sink?: string
  /** Ints of call.values that a place holds, by name. */
  readonly params?: readonly string[]
}

export function sectionText(s: Section): string {
  const kept = s.kept.map((_, i) => i)
  const dropped = s.dropped.map((_, i) => i)
  const params = s.params ?? []
  return `
constexpr int NO_TILE = 0x7fffffff;
constexpr bool MASKED = ${s.masked ?? true};
constexpr bool SCORED = ${s.score !== undefined};
constexpr bool SINK = ${s.sink !== undefined};
constexpr bool TESTED = ${s.tested ?? false};
constexpr bool LISTED = ${s.listed ?? false};
constexpr bool LOOKS = ${s.listed ?? false};
constexpr bool SHARES_LISTS = true;
constexpr bool ALIGNED = false;
constexpr bool MASK_READS_HEAD = false;
constexpr bool SCORE_READS_HEAD = true;
constexpr bool CHEAP_MASK = ${s.cheap ?? true};

struct Place {
  int batch, head, kvHead;
  int qLen, kvLen;
  int qRow, qShift, kvStart;
${params.map((name) => `  int ${name};`).join('\n')}
};
DEVICE Place placeOf(Call const& call, int batch, int head) {
  Place p;
  int const* lengths = call.lengths + 5 * batch;
  p.batch = batch;
  p.head = head;
  p.kvHead = head / (call.qHeads / call.kvHeads);
  p.qRow = readOnly(lengths);
  p.qShift = readOnly(lengths + 1) - p.qRow;
  p.qLen = readOnly(lengths + 2);
  p.kvStart = readOnly(lengths + 3);
  p.kvLen = readOnly(lengths + 4);
${params.map((name, i) => `  p.${name} = readOnly(call.values + ${i});`).join('\n')}
  return p;
}

struct Reach {
${kept.map((i) => `  int first${i}, last${i};`).join('\n')}
${dropped.map((i) => `  int lo${i}, hi${i};`).join('\n')}
};
DEVICE Reach reachOf(Call const& call, Place const& p, int qLo, int qHi) {
  Reach r;
  int lo, hi;
${s.kept
  .map(
    ([lo, hi], i) => `
  lo = max(${lo}, 0), hi = min(${hi}, p.kvLen - 1);
  r.first${i} = lo / TILE_KV;
  r.last${i} = qLo <= qHi && lo <= hi ? hi / TILE_KV : -1;`,
  )
  .join('')}
${s.dropped.map(([lo, hi], i) => `  r.lo${i} = ${lo}, r.hi${i} = ${hi};`).join('\n')}
  return r;
}
DEVICE int nextCandidate(Reach const& r, int from) {
  int next = NO_TILE, begin;
${kept.map((i) => `  begin = max(from, r.first${i});\n  if (begin <= r.last${i}) next = min(next, begin);`).join('\n')}
  return next;
}
DEVICE int candidatesEnd(Reach const& r, int begin) {
  int end = begin;
  for (int again = 0; again < ${kept.length}; again++) {
${kept.map((i) => `    if (r.first${i} <= end + 1 && r.last${i} > end) end = r.last${i};`).join('\n')}
  }
  return end;
}
DEVICE bool isReached(Call const& call, Place const& p, Reach const& r, int tile) {
  return (${kept.map((i) => `(r.first${i} <= tile && tile <= r.last${i})`).join(' || ')}) && (${s.test ?? 'true'});
}
DEVICE bool isFull(Call const& call, Place const& p, Reach const& r, int tile) {
  int kvLo = tile * TILE_KV, kvHi = kvLo + TILE_KV - 1;
  return kvHi < p.kvLen${dropped.map((i) => ` && !(r.lo${i} <= kvHi && kvLo <= r.hi${i})`).join('')};
}
DEVICE bool keeps(Call const& call, Place const& p, int q, int kv) { return ${s.keeps}; }
DEVICE float scoreOf(Call const& call, Place const& p, float s, int q, int kv) { return ${s.score ?? 's'}; }
DEVICE float sinkLogitOf(Call const& call, Place const& p) { return ${s.sink ?? '-INFINITE'}; }
`
}

export const FULL: Section = { masked: false, kept: [['0', 'p.kvLen - 1']], dropped: [], keeps: 'true' }

export const CAUSAL: Section = {
  kept: [['0', 'qHi']],
  dropped: [['qLo + 1', 'p.kvLen - 1']],
  keeps: 'kv <= q',
}

/** The first `sinkTokens` keys and a window. */
export const A_SHAPE: Section = {
  params: ['window', 'sinkTokens'],
  kept: [
    ['qLo - p.window + 1', 'qHi'],
    ['0', 'min(qHi, p.sinkTokens - 1)'],
  ],
  dropped: [
    ['qLo + 1', 'p.kvLen - 1'],
    ['p.sinkTokens', 'qHi - p.window'],
  ],
  keeps: 'kv <= q && (q - kv < p.window || kv < p.sinkTokens)',
}
