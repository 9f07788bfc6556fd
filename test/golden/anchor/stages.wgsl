// anchor: rows3
// 64 threads, d64 f16

struct Uniforms {
  batches: i32,
  qHeads: i32,
  kvHeads: i32,
  indexHeads: i32,
  qRows: i32,
  kvRows: i32,
  unitBase: i32,
  unitCount: i32,
  gridX: u32,
  groupCount: u32,
  scale: f32,
  qBatchStride: u32,
  qHeadStride: u32,
  qRowStride: u32,
  kBatchStride: u32,
  kHeadStride: u32,
  kRowStride: u32,
  vBatchStride: u32,
  vHeadStride: u32,
  vRowStride: u32,
  outBatchStride: u32,
  outHeadStride: u32,
  outRowStride: u32,
  theta: f32,
}

@group(0) @binding(0) var<uniform> u: Uniforms;
@group(0) @binding(1) var<storage, read_write> rows3: array<f32>;
@group(0) @binding(2) var<storage, read> QData: array<u32>;

fn floorDiv(a: i32, b: i32) -> i32 {
  let sign = a >> 31u;
  return ((a ^ sign) / b) ^ sign;
}

fn input0(batch: i32, at: i32, place: i32, channel: i32) -> f32 {
  return unpack2x16float(QData[(u32(batch) * u.qBatchStride + u32(at) * u.qHeadStride + u32(place) * u.qRowStride + u32(channel)) / 2u])[(u32(batch) * u.qBatchStride + u32(at) * u.qHeadStride + u32(place) * u.qRowStride + u32(channel)) % 2u];
}

fn poolRows7(batch: i32, at: i32, place: i32, channel: i32) -> f32 {
  var total: f32 = 0.0;
  var count: f32 = 0.0;
  for (var member: i32 = max((((u.kvRows - u.qRows) >> 7u) + place) * 128 - (u.kvRows - u.qRows), 0); member < min((((u.kvRows - u.qRows) >> 7u) + place) * 128 - (u.kvRows - u.qRows) + 128, u.qRows); member += 1) {
    total = total + input0(batch, at, member, channel);
    count = count + 1.0;
  }
  return select(0.0, total / max(count, 1.0), 0.0 < count);
}

@compute @workgroup_size(64)
fn run(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = (group.x + group.y * u.gridX) * 64u + thread;
  let inner = u32(64);
  if (u32(u.batches * u.qHeads * u.unitCount) * inner <= index) {
    return;
  }
  let element = i32(index % inner);
  let number = i32(index / inner);
  let row = u.unitBase + number % u.unitCount;
  let pair = number / u.unitCount;
  let sharer = pair % u.qHeads;
  let batch = pair / u.qHeads;
  rows3[((batch * u.qHeads + sharer) * (((u.kvRows + 127) >> 7u) - ((u.kvRows - u.qRows) >> 7u)) + row) * 64 + element] = poolRows7(batch, sharer, row, element);
}

// anchor: rows3
// 64 threads, d64 f16

struct Uniforms {
  batches: i32,
  qHeads: i32,
  kvHeads: i32,
  indexHeads: i32,
  qRows: i32,
  kvRows: i32,
  unitBase: i32,
  unitCount: i32,
  gridX: u32,
  groupCount: u32,
  scale: f32,
  qBatchStride: u32,
  qHeadStride: u32,
  qRowStride: u32,
  kBatchStride: u32,
  kHeadStride: u32,
  kRowStride: u32,
  vBatchStride: u32,
  vHeadStride: u32,
  vRowStride: u32,
  outBatchStride: u32,
  outHeadStride: u32,
  outRowStride: u32,
  theta: f32,
}

@group(0) @binding(0) var<uniform> u: Uniforms;
@group(0) @binding(1) var<storage, read_write> rows3: array<f32>;
@group(0) @binding(2) var<storage, read> QData: array<u32>;

fn floorDiv(a: i32, b: i32) -> i32 {
  let sign = a >> 31u;
  return ((a ^ sign) / b) ^ sign;
}

@compute @workgroup_size(64)
fn run(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let own = group.x + group.y * u.gridX;
  if (u.groupCount <= own) {
    return;
  }
  let across = 191 / 128;
  let number = i32(own);
  let above = number / across;
  let pair = above / u.unitCount;
  let sharer = pair % u.qHeads;
  let batch = pair / u.qHeads;
  let firstRow = above % u.unitCount;
  let firstColumn = number % across * 128;
  let row = u.unitBase + firstRow;
  let pair_2 = firstColumn / 2 + i32(thread);
  if (pair_2 < 32) {
    var total: f32 = 0.0;
    var total_2: f32 = 0.0;
    var count: f32 = 0.0;
    for (var member: i32 = max((((u.kvRows - u.qRows) >> 7u) + row) * 128 - (u.kvRows - u.qRows), 0); member < min((((u.kvRows - u.qRows) >> 7u) + row) * 128 - (u.kvRows - u.qRows) + 128, u.qRows); member += 1) {
      let word = QData[(u32(batch) * u.qBatchStride + u32(sharer) * u.qHeadStride + u32(member) * u.qRowStride) / 2u + u32(pair_2)];
      total = total + unpack2x16float(word)[0u];
      total_2 = total_2 + unpack2x16float(word)[1u];
      count = count + 1.0;
    }
    let first = ((batch * u.qHeads + sharer) * (((u.kvRows + 127) >> 7u) - ((u.kvRows - u.qRows) >> 7u)) + row) * 64 + pair_2 * 2;
    rows3[first] = select(0.0, total / max(count, 1.0), 0.0 < count);
    rows3[first + 1] = select(0.0, total_2 / max(count, 1.0), 0.0 < count);
  }
}

// anchor: and(le(kv, q), or(lt(kv, 128), eq(floorDiv(q, 2048), floorDiv(kv, 2048))))
// 32 x 32 tiles found by ranges; 64 threads, d64-f16-portable
// npx heddle build anchor --target wgsl --head-dim 64 --dtype f16

struct Uniforms {
  batch: i32,
  batches: i32,
  qHeads: i32,
  kvHeads: i32,
  heads: i32,
  batchBase: i32,
  headBase: i32,
  qRows: i32,
  kvRows: i32,
  gridX: u32,
  tileCount: u32,
  scale: f32,
  listStride: u32,
  qBatchStride: u32,
  qHeadStride: u32,
  qRowStride: u32,
  kBatchStride: u32,
  kHeadStride: u32,
  kRowStride: u32,
  vBatchStride: u32,
  vHeadStride: u32,
  vRowStride: u32,
  outBatchStride: u32,
  outHeadStride: u32,
  outRowStride: u32,
  theta: f32,
}

@group(0) @binding(0) var<uniform> u: Uniforms;
@group(0) @binding(1) var<storage, read> metaData: array<i32>;
@group(0) @binding(2) var<storage, read> qData: array<vec2u>;
@group(0) @binding(3) var<storage, read> kData: array<vec2u>;
@group(0) @binding(4) var<storage, read> vData: array<vec2u>;
@group(0) @binding(5) var<storage, read_write> stateData: array<vec4f>;

var<workgroup> stage: array<array<vec4f, 9>, 64>;
var<workgroup> weights: array<array<f32, 33>, 32>;
var<workgroup> wildChunk: atomic<u32>;
var<workgroup> partials: array<array<f32, 8>, 32>;

fn floorDiv(a: i32, b: i32) -> i32 {
  let sign = a >> 31u;
  return ((a ^ sign) / b) ^ sign;
}

fn alignDown(a: i32, b: i32) -> i32 {
  return b * floorDiv(a, b);
}

fn unpackHalf4(w: vec2u) -> vec4f {
  return vec4f(unpack2x16float(w.x), unpack2x16float(w.y));
}

fn isWild4(x: vec4f) -> bool {
  return any((bitcast<vec4u>(x) & vec4u(0x7f800000u)) == vec4u(0x7f800000u));
}

fn keeps(q: i32, kv: i32, ofColumn: bool, ofRow: i32, ofColumn_2: i32) -> bool {
  return (kv <= q) & (ofColumn | (ofRow == ofColumn_2));
}

@compute @workgroup_size(64)
fn attend(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.x + group.y * u.gridX;
  if (u.tileCount <= index) {
    return;
  }
  let qTiles = (u32(u.qRows) + 31u) / 32u;
  let slot = index / qTiles;
  let qTile = qTiles - 1u - index % qTiles;
  let ownBatch = slot / u32(u.heads);
  let ownHead = slot % u32(u.heads);
  let batch = u.batchBase + i32(ownBatch);
  let head = u.headBase + i32(ownHead);
  let headsPerKv = u.qHeads / u.kvHeads;
  let kvHead = head / headsPerKv;
  let ownKvHead = u32(kvHead - u.headBase / headsPerKv);
  let lengths = batch * 5;
  let qRow = metaData[lengths];
  let qStart = metaData[lengths + 1];
  let qLen = metaData[lengths + 2];
  let kvStart = metaData[lengths + 3];
  let kvLen = metaData[lengths + 4];
  let firstRow = i32(qTile) * 32;
  let realLo = max(firstRow, qRow);
  let realHi = min(firstRow + 32, qRow + qLen) - 1;
  let qShift = qStart - qRow;
  let qLo = realLo + qShift;
  let qHi = realHi + qShift;
  let i = thread / 8u;
  let j = thread % 8u;
  let qStart_2 = (ownBatch * u.qBatchStride + ownHead * u.qHeadStride) / 4u;
  let qStride = u.qRowStride / 4u;
  let kStart = (ownBatch * u.kBatchStride + ownKvHead * u.kHeadStride) / 4u;
  let kStride = u.kRowStride / 4u;
  let vStart = (ownBatch * u.vBatchStride + ownKvHead * u.vHeadStride) / 4u;
  let vStride = u.vRowStride / 4u;
  let queryScale = u.scale * 1.442695;
  var rowMax0: f32 = -1e+30;
  var rowMax1: f32 = -1e+30;
  var rowMax2: f32 = -1e+30;
  var rowMax3: f32 = -1e+30;
  var rowSum0: f32 = 0.0;
  var rowSum1: f32 = 0.0;
  var rowSum2: f32 = 0.0;
  var rowSum3: f32 = 0.0;
  var out0_0: vec4f = vec4f(0.0);
  var out0_1: vec4f = vec4f(0.0);
  var out1_0: vec4f = vec4f(0.0);
  var out1_1: vec4f = vec4f(0.0);
  var out2_0: vec4f = vec4f(0.0);
  var out2_1: vec4f = vec4f(0.0);
  var out3_0: vec4f = vec4f(0.0);
  var out3_1: vec4f = vec4f(0.0);
  if (realLo <= realHi) {
    // the kv tiles that each term of the mask may reach
    let hi = min(min(kvLen - 1, qHi), 127);
    let first = 0 / 32;
    let last = select(-1, min(hi, kvLen - 1) / 32, (0 <= hi) & (0 <= hi) & (0 < kvLen));
    let lo = max(0, qLo & -2048);
    let hi_2 = min(min(kvLen - 1, qHi), (qHi & -2048) + 2047);
    let first_2 = max(lo, 0) / 32;
    let last_2 = select(-1, min(hi_2, kvLen - 1) / 32, (lo <= hi_2) & (0 <= hi_2) & (0 < kvLen));
    let lo_2 = max(0, qLo + 1);
    let hi_3 = kvLen - 1;
    let lo_3 = max(128, (qLo & -2048) + 2048);
    let hi_4 = min(hi_3, (qHi & -2048) - 1);
    var tile: i32 = 0;
    loop {
      var next: i32 = 2147483647;
      let begin = max(tile, first);
      if (begin <= last) {
        next = min(next, begin);
      }
      let begin_2 = max(tile, first_2);
      if (begin_2 <= last_2) {
        next = min(next, begin_2);
      }
      if (next == 2147483647) {
        break;
      }
      tile = next;
      let kvLo = tile * 32;
      let kvHi = min(kvLo + 32, kvLen) - 1;
      let full = (kvLo + 32 <= kvLen) & !(((lo_2 <= kvHi) & (kvLo <= hi_3)) | ((lo_3 <= kvHi) & (kvLo <= hi_3)) | ((128 <= kvHi) & (kvLo <= hi_4)));
      var s0_0: f32 = 0.0;
      var s0_1: f32 = 0.0;
      var s0_2: f32 = 0.0;
      var s0_3: f32 = 0.0;
      var s1_0: f32 = 0.0;
      var s1_1: f32 = 0.0;
      var s1_2: f32 = 0.0;
      var s1_3: f32 = 0.0;
      var s2_0: f32 = 0.0;
      var s2_1: f32 = 0.0;
      var s2_2: f32 = 0.0;
      var s2_3: f32 = 0.0;
      var s3_0: f32 = 0.0;
      var s3_1: f32 = 0.0;
      var s3_2: f32 = 0.0;
      var s3_3: f32 = 0.0;
      for (var chunk: u32 = 0u; chunk < 16u; chunk += 8u) {
        // load query tile and key tile
        workgroupBarrier();
        for (var element: u32 = thread; element < 256u; element += 64u) {
          let row = element / 8u;
          let vector = element % 8u;
          let column = chunk + vector;
          let there = kvLo + i32(row) < kvLen;
          stage[row % 4u * 8u + row / 4u][vector] = select(vec4f(0.0), unpackHalf4(kData[kStart + select(0u, u32(kvStart + (kvLo + i32(row))), there) * kStride + column]), there);
        }
        for (var element: u32 = thread; element < 256u; element += 64u) {
          let row = element / 8u;
          let vector = element % 8u;
          let column = chunk + vector;
          let there = u32(firstRow) + row < u32(u.qRows);
          stage[row + 32u][vector] = select(vec4f(0.0), unpackHalf4(qData[qStart_2 + select(0u, u32(firstRow) + row, there) * qStride + column]), there) * queryScale;
        }
        workgroupBarrier();
        for (var d: u32 = 0u; d < 8u; d += 1u) {
          let key0 = stage[j][d];
          let key1 = stage[j + 8u][d];
          let key2 = stage[j + 16u][d];
          let key3 = stage[j + 24u][d];
          let query0 = stage[i + 32u][d];
          s0_0 = s0_0 + query0.x * key0.x + query0.y * key0.y + query0.z * key0.z + query0.w * key0.w;
          s0_1 = s0_1 + query0.x * key1.x + query0.y * key1.y + query0.z * key1.z + query0.w * key1.w;
          s0_2 = s0_2 + query0.x * key2.x + query0.y * key2.y + query0.z * key2.z + query0.w * key2.w;
          s0_3 = s0_3 + query0.x * key3.x + query0.y * key3.y + query0.z * key3.z + query0.w * key3.w;
          let query1 = stage[i + 40u][d];
          s1_0 = s1_0 + query1.x * key0.x + query1.y * key0.y + query1.z * key0.z + query1.w * key0.w;
          s1_1 = s1_1 + query1.x * key1.x + query1.y * key1.y + query1.z * key1.z + query1.w * key1.w;
          s1_2 = s1_2 + query1.x * key2.x + query1.y * key2.y + query1.z * key2.z + query1.w * key2.w;
          s1_3 = s1_3 + query1.x * key3.x + query1.y * key3.y + query1.z * key3.z + query1.w * key3.w;
          let query2 = stage[i + 48u][d];
          s2_0 = s2_0 + query2.x * key0.x + query2.y * key0.y + query2.z * key0.z + query2.w * key0.w;
          s2_1 = s2_1 + query2.x * key1.x + query2.y * key1.y + query2.z * key1.z + query2.w * key1.w;
          s2_2 = s2_2 + query2.x * key2.x + query2.y * key2.y + query2.z * key2.z + query2.w * key2.w;
          s2_3 = s2_3 + query2.x * key3.x + query2.y * key3.y + query2.z * key3.z + query2.w * key3.w;
          let query3 = stage[i + 56u][d];
          s3_0 = s3_0 + query3.x * key0.x + query3.y * key0.y + query3.z * key0.z + query3.w * key0.w;
          s3_1 = s3_1 + query3.x * key1.x + query3.y * key1.y + query3.z * key1.z + query3.w * key1.w;
          s3_2 = s3_2 + query3.x * key2.x + query3.y * key2.y + query3.z * key2.z + query3.w * key2.w;
          s3_3 = s3_3 + query3.x * key3.x + query3.y * key3.y + query3.z * key3.z + query3.w * key3.w;
        }
      }
      if (!full) {
        // partial tiles
        // mask
        let q0 = min(max(firstRow + i32(i) + qShift, qLo), qHi);
        let ofRow = q0 >> 11u;
        let q1 = min(max(firstRow + i32(i + 8u) + qShift, qLo), qHi);
        let ofRow_2 = q1 >> 11u;
        let q2 = min(max(firstRow + i32(i + 16u) + qShift, qLo), qHi);
        let ofRow_3 = q2 >> 11u;
        let q3 = min(max(firstRow + i32(i + 24u) + qShift, qLo), qHi);
        let ofRow_4 = q3 >> 11u;
        let kv0 = min(kvLo + i32(j) * 4, kvLen - 1);
        let ofColumn = kv0 < 128;
        let ofColumn_2 = kv0 >> 11u;
        let kv1 = min(kvLo + (i32(j) * 4 + 1), kvLen - 1);
        let ofColumn_3 = kv1 < 128;
        let ofColumn_4 = kv1 >> 11u;
        let kv2 = min(kvLo + (i32(j) * 4 + 2), kvLen - 1);
        let ofColumn_5 = kv2 < 128;
        let ofColumn_6 = kv2 >> 11u;
        let kv3 = min(kvLo + (i32(j) * 4 + 3), kvLen - 1);
        let ofColumn_7 = kv3 < 128;
        let ofColumn_8 = kv3 >> 11u;
        let inside0 = kvLo + i32(j) * 4 < kvLen;
        let inside1 = kvLo + (i32(j) * 4 + 1) < kvLen;
        let inside2 = kvLo + (i32(j) * 4 + 2) < kvLen;
        let inside3 = kvLo + (i32(j) * 4 + 3) < kvLen;
        s0_0 = select(-3e+38, s0_0, inside0 & keeps(q0, kv0, ofColumn, ofRow, ofColumn_2));
        s0_1 = select(-3e+38, s0_1, inside1 & keeps(q0, kv1, ofColumn_3, ofRow, ofColumn_4));
        s0_2 = select(-3e+38, s0_2, inside2 & keeps(q0, kv2, ofColumn_5, ofRow, ofColumn_6));
        s0_3 = select(-3e+38, s0_3, inside3 & keeps(q0, kv3, ofColumn_7, ofRow, ofColumn_8));
        s1_0 = select(-3e+38, s1_0, inside0 & keeps(q1, kv0, ofColumn, ofRow_2, ofColumn_2));
        s1_1 = select(-3e+38, s1_1, inside1 & keeps(q1, kv1, ofColumn_3, ofRow_2, ofColumn_4));
        s1_2 = select(-3e+38, s1_2, inside2 & keeps(q1, kv2, ofColumn_5, ofRow_2, ofColumn_6));
        s1_3 = select(-3e+38, s1_3, inside3 & keeps(q1, kv3, ofColumn_7, ofRow_2, ofColumn_8));
        s2_0 = select(-3e+38, s2_0, inside0 & keeps(q2, kv0, ofColumn, ofRow_3, ofColumn_2));
        s2_1 = select(-3e+38, s2_1, inside1 & keeps(q2, kv1, ofColumn_3, ofRow_3, ofColumn_4));
        s2_2 = select(-3e+38, s2_2, inside2 & keeps(q2, kv2, ofColumn_5, ofRow_3, ofColumn_6));
        s2_3 = select(-3e+38, s2_3, inside3 & keeps(q2, kv3, ofColumn_7, ofRow_3, ofColumn_8));
        s3_0 = select(-3e+38, s3_0, inside0 & keeps(q3, kv0, ofColumn, ofRow_4, ofColumn_2));
        s3_1 = select(-3e+38, s3_1, inside1 & keeps(q3, kv1, ofColumn_3, ofRow_4, ofColumn_4));
        s3_2 = select(-3e+38, s3_2, inside2 & keeps(q3, kv2, ofColumn_5, ofRow_4, ofColumn_6));
        s3_3 = select(-3e+38, s3_3, inside3 & keeps(q3, kv3, ofColumn_7, ofRow_4, ofColumn_8));
      }
      let best0 = max(max(max(s0_0, s0_1), s0_2), s0_3);
      let best1 = max(max(max(s1_0, s1_1), s1_2), s1_3);
      let best2 = max(max(max(s2_0, s2_1), s2_2), s2_3);
      let best3 = max(max(max(s3_0, s3_1), s3_2), s3_3);
      partials[i][j] = best0;
      partials[i + 8u][j] = best1;
      partials[i + 16u][j] = best2;
      partials[i + 24u][j] = best3;
      workgroupBarrier();
      var row0: f32 = partials[i][0u];
      var row1: f32 = partials[i + 8u][0u];
      var row2: f32 = partials[i + 16u][0u];
      var row3: f32 = partials[i + 24u][0u];
      for (var part: u32 = 1u; part < 8u; part += 1u) {
        row0 = max(row0, partials[i][part]);
        row1 = max(row1, partials[i + 8u][part]);
        row2 = max(row2, partials[i + 16u][part]);
        row3 = max(row3, partials[i + 24u][part]);
      }
      let top0 = max(rowMax0, row0);
      let shrink0 = exp2(rowMax0 - top0);
      rowMax0 = top0;
      let p0_0 = select(exp2(s0_0 - top0), 0.0, s0_0 < -2.9e+38);
      let p0_1 = select(exp2(s0_1 - top0), 0.0, s0_1 < -2.9e+38);
      let p0_2 = select(exp2(s0_2 - top0), 0.0, s0_2 < -2.9e+38);
      let p0_3 = select(exp2(s0_3 - top0), 0.0, s0_3 < -2.9e+38);
      rowSum0 = p0_0 + p0_1 + p0_2 + p0_3 + rowSum0 * shrink0;
      weights[i][j * 4u] = p0_0;
      weights[i][j * 4u + 1u] = p0_1;
      weights[i][j * 4u + 2u] = p0_2;
      weights[i][j * 4u + 3u] = p0_3;
      out0_0 = out0_0 * shrink0;
      out0_1 = out0_1 * shrink0;
      let top1 = max(rowMax1, row1);
      let shrink1 = exp2(rowMax1 - top1);
      rowMax1 = top1;
      let p1_0 = select(exp2(s1_0 - top1), 0.0, s1_0 < -2.9e+38);
      let p1_1 = select(exp2(s1_1 - top1), 0.0, s1_1 < -2.9e+38);
      let p1_2 = select(exp2(s1_2 - top1), 0.0, s1_2 < -2.9e+38);
      let p1_3 = select(exp2(s1_3 - top1), 0.0, s1_3 < -2.9e+38);
      rowSum1 = p1_0 + p1_1 + p1_2 + p1_3 + rowSum1 * shrink1;
      weights[i + 8u][j * 4u] = p1_0;
      weights[i + 8u][j * 4u + 1u] = p1_1;
      weights[i + 8u][j * 4u + 2u] = p1_2;
      weights[i + 8u][j * 4u + 3u] = p1_3;
      out1_0 = out1_0 * shrink1;
      out1_1 = out1_1 * shrink1;
      let top2 = max(rowMax2, row2);
      let shrink2 = exp2(rowMax2 - top2);
      rowMax2 = top2;
      let p2_0 = select(exp2(s2_0 - top2), 0.0, s2_0 < -2.9e+38);
      let p2_1 = select(exp2(s2_1 - top2), 0.0, s2_1 < -2.9e+38);
      let p2_2 = select(exp2(s2_2 - top2), 0.0, s2_2 < -2.9e+38);
      let p2_3 = select(exp2(s2_3 - top2), 0.0, s2_3 < -2.9e+38);
      rowSum2 = p2_0 + p2_1 + p2_2 + p2_3 + rowSum2 * shrink2;
      weights[i + 16u][j * 4u] = p2_0;
      weights[i + 16u][j * 4u + 1u] = p2_1;
      weights[i + 16u][j * 4u + 2u] = p2_2;
      weights[i + 16u][j * 4u + 3u] = p2_3;
      out2_0 = out2_0 * shrink2;
      out2_1 = out2_1 * shrink2;
      let top3 = max(rowMax3, row3);
      let shrink3 = exp2(rowMax3 - top3);
      rowMax3 = top3;
      let p3_0 = select(exp2(s3_0 - top3), 0.0, s3_0 < -2.9e+38);
      let p3_1 = select(exp2(s3_1 - top3), 0.0, s3_1 < -2.9e+38);
      let p3_2 = select(exp2(s3_2 - top3), 0.0, s3_2 < -2.9e+38);
      let p3_3 = select(exp2(s3_3 - top3), 0.0, s3_3 < -2.9e+38);
      rowSum3 = p3_0 + p3_1 + p3_2 + p3_3 + rowSum3 * shrink3;
      weights[i + 24u][j * 4u] = p3_0;
      weights[i + 24u][j * 4u + 1u] = p3_1;
      weights[i + 24u][j * 4u + 2u] = p3_2;
      weights[i + 24u][j * 4u + 3u] = p3_3;
      out3_0 = out3_0 * shrink3;
      out3_1 = out3_1 * shrink3;
      // load value tile
      let chunkMark = u32(kvLo) + 1u;
      workgroupBarrier();
      for (var element: u32 = thread; element < 512u; element += 64u) {
        let row = element / 16u;
        let vector = element % 16u;
        let there = kvLo + i32(row) < kvLen;
        let loaded = select(vec4f(0.0), unpackHalf4(vData[vStart + select(0u, u32(kvStart + (kvLo + i32(row))), there) * vStride + vector]), there);
        stage[row * 2u + vector / 8u][vector % 8u] = loaded;
        if (isWild4(loaded)) {
          atomicStore(&wildChunk, chunkMark);
        }
      }
      workgroupBarrier();
      let tame = !(atomicLoad(&wildChunk) == chunkMark);
      if (full | tame) {
        for (var key: u32 = 0u; key < 32u; key += 1u) {
          let weight0 = weights[i][key];
          let weight1 = weights[i + 8u][key];
          let weight2 = weights[i + 16u][key];
          let weight3 = weights[i + 24u][key];
          let base = key * 2u;
          let value_0 = stage[base][j];
          out0_0 = out0_0 + weight0 * value_0;
          out1_0 = out1_0 + weight1 * value_0;
          out2_0 = out2_0 + weight2 * value_0;
          out3_0 = out3_0 + weight3 * value_0;
          let value_1 = stage[base + 1u][j];
          out0_1 = out0_1 + weight0 * value_1;
          out1_1 = out1_1 + weight1 * value_1;
          out2_1 = out2_1 + weight2 * value_1;
          out3_1 = out3_1 + weight3 * value_1;
        }
      } else {
        // values of masked keys are replaced
        for (var key: u32 = 0u; key < 32u; key += 1u) {
          let weight0 = weights[i][key];
          let weight1 = weights[i + 8u][key];
          let weight2 = weights[i + 16u][key];
          let weight3 = weights[i + 24u][key];
          let base = key * 2u;
          let value_0 = stage[base][j];
          out0_0 = out0_0 + weight0 * select(vec4f(0.0), value_0, 0.0 < weight0);
          out1_0 = out1_0 + weight1 * select(vec4f(0.0), value_0, 0.0 < weight1);
          out2_0 = out2_0 + weight2 * select(vec4f(0.0), value_0, 0.0 < weight2);
          out3_0 = out3_0 + weight3 * select(vec4f(0.0), value_0, 0.0 < weight3);
          let value_1 = stage[base + 1u][j];
          out0_1 = out0_1 + weight0 * select(vec4f(0.0), value_1, 0.0 < weight0);
          out1_1 = out1_1 + weight1 * select(vec4f(0.0), value_1, 0.0 < weight1);
          out2_1 = out2_1 + weight2 * select(vec4f(0.0), value_1, 0.0 < weight2);
          out3_1 = out3_1 + weight3 * select(vec4f(0.0), value_1, 0.0 < weight3);
        }
      }
      tile = tile + 1;
    }
  }
  // epilogue
  partials[i][j] = rowSum0;
  partials[i + 8u][j] = rowSum1;
  partials[i + 16u][j] = rowSum2;
  partials[i + 24u][j] = rowSum3;
  workgroupBarrier();
  var row0: f32 = partials[i][0u];
  var row1: f32 = partials[i + 8u][0u];
  var row2: f32 = partials[i + 16u][0u];
  var row3: f32 = partials[i + 24u][0u];
  for (var part: u32 = 1u; part < 8u; part += 1u) {
    row0 = row0 + partials[i][part];
    row1 = row1 + partials[i + 8u][part];
    row2 = row2 + partials[i + 16u][part];
    row3 = row3 + partials[i + 24u][part];
  }
  let row0_2 = firstRow + i32(i);
  if (row0_2 < u.qRows) {
    let stateRow = ((u32(batch) * u32(u.qHeads) + u32(head)) * u32(u.qRows) + u32(row0_2)) * 17u;
    if (j == 0u) {
      stateData[stateRow] = vec4f(rowMax0, row0, 0.0, 0.0);
    }
    if (j < 16u) {
      stateData[stateRow + 1u + j] = out0_0;
    }
    if (j + 8u < 16u) {
      stateData[stateRow + 1u + (j + 8u)] = out0_1;
    }
  }
  let row1_2 = firstRow + i32(i + 8u);
  if (row1_2 < u.qRows) {
    let stateRow = ((u32(batch) * u32(u.qHeads) + u32(head)) * u32(u.qRows) + u32(row1_2)) * 17u;
    if (j == 0u) {
      stateData[stateRow] = vec4f(rowMax1, row1, 0.0, 0.0);
    }
    if (j < 16u) {
      stateData[stateRow + 1u + j] = out1_0;
    }
    if (j + 8u < 16u) {
      stateData[stateRow + 1u + (j + 8u)] = out1_1;
    }
  }
  let row2_2 = firstRow + i32(i + 16u);
  if (row2_2 < u.qRows) {
    let stateRow = ((u32(batch) * u32(u.qHeads) + u32(head)) * u32(u.qRows) + u32(row2_2)) * 17u;
    if (j == 0u) {
      stateData[stateRow] = vec4f(rowMax2, row2, 0.0, 0.0);
    }
    if (j < 16u) {
      stateData[stateRow + 1u + j] = out2_0;
    }
    if (j + 8u < 16u) {
      stateData[stateRow + 1u + (j + 8u)] = out2_1;
    }
  }
  let row3_2 = firstRow + i32(i + 24u);
  if (row3_2 < u.qRows) {
    let stateRow = ((u32(batch) * u32(u.qHeads) + u32(head)) * u32(u.qRows) + u32(row3_2)) * 17u;
    if (j == 0u) {
      stateData[stateRow] = vec4f(rowMax3, row3, 0.0, 0.0);
    }
    if (j < 16u) {
      stateData[stateRow + 1u + j] = out3_0;
    }
    if (j + 8u < 16u) {
      stateData[stateRow + 1u + (j + 8u)] = out3_1;
    }
  }
}

// anchor: scores8
// 64 threads, d64 f16

struct Uniforms {
  batches: i32,
  qHeads: i32,
  kvHeads: i32,
  indexHeads: i32,
  qRows: i32,
  kvRows: i32,
  unitBase: i32,
  unitCount: i32,
  gridX: u32,
  groupCount: u32,
  scale: f32,
  qBatchStride: u32,
  qHeadStride: u32,
  qRowStride: u32,
  kBatchStride: u32,
  kHeadStride: u32,
  kRowStride: u32,
  vBatchStride: u32,
  vHeadStride: u32,
  vRowStride: u32,
  outBatchStride: u32,
  outHeadStride: u32,
  outRowStride: u32,
  theta: f32,
}

@group(0) @binding(0) var<uniform> u: Uniforms;
@group(0) @binding(1) var<storage, read_write> scores8: array<f32>;
@group(0) @binding(2) var<storage, read> state6: array<f32>;

fn floorDiv(a: i32, b: i32) -> i32 {
  let sign = a >> 31u;
  return ((a ^ sign) / b) ^ sign;
}

fn seesSome_head(batch: i32, at: i32, qLo: i32, qHi: i32, kvLo: i32, kvHi: i32) -> bool {
  let reached = (0 <= kvHi) & (kvLo <= min(u.kvRows - 1, qHi)) & (0 <= min(u.kvRows - 1, qHi));
  return reached;
}

fn poolScores6Seen(batch: i32, at: i32, row: i32, column: i32) -> bool {
  return seesSome_head(batch, at, u.kvRows - u.qRows + max((((u.kvRows - u.qRows) >> 7u) + row) * 128 - (u.kvRows - u.qRows), 0), u.kvRows - u.qRows + (min((((u.kvRows - u.qRows) >> 7u) + row) * 128 - (u.kvRows - u.qRows) + 128, u.qRows) - 1), 0, u.kvRows - 1);
}

fn stateMax5Seen(batch: i32, at: i32, row: i32, column: i32) -> bool {
  return true;
}

fn stateMax5(batch: i32, at: i32, row: i32, column: i32) -> f32 {
  let index = ((batch * u.qHeads + at) * u.qRows + row) * 68;
  let top = state6[index] * 0.6931472;
  return top;
}

fn poolScores6(batch: i32, at: i32, row: i32, column: i32) -> f32 {
  var total: f32 = 0.0;
  var count: f32 = 0.0;
  for (var sharer: i32 = at; sharer < at + 1; sharer += 1) {
    for (var row_2: i32 = max((((u.kvRows - u.qRows) >> 7u) + row) * 128 - (u.kvRows - u.qRows), 0); row_2 < min((((u.kvRows - u.qRows) >> 7u) + row) * 128 - (u.kvRows - u.qRows) + 128, u.qRows); row_2 += 1) {
      for (var column_2: i32 = column; column_2 < column + 1; column_2 += 1) {
        if (stateMax5Seen(batch, sharer, row_2, 0)) {
          let own = stateMax5(batch, sharer, row_2, 0);
          total = total + own;
          count = count + 1.0;
        }
      }
    }
  }
  return select(0.0, total / select(1.0, count, 0.0 < count), 0.0 < count);
}

@compute @workgroup_size(64)
fn run(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = (group.x + group.y * u.gridX) * 64u + thread;
  let inner = u32(1);
  if (u32(u.batches * u.qHeads * u.unitCount) * inner <= index) {
    return;
  }
  let element = i32(index % inner);
  let number = i32(index / inner);
  let row = u.unitBase + number % u.unitCount;
  let pair = number / u.unitCount;
  let sharer = pair % u.qHeads;
  let batch = pair / u.qHeads;
  var bits: u32 = 4286578688u;
  if (poolScores6Seen(batch, sharer, row, 0)) {
    bits = bitcast<u32>(poolScores6(batch, sharer, row, 0));
  }
  scores8[(batch * u.qHeads + sharer) * (((u.kvRows + 127) >> 7u) - ((u.kvRows - u.qRows) >> 7u)) + row + element] = bitcast<f32>(bits);
}

// anchor: filter10
// 256 threads, d64 f16

struct Uniforms {
  batches: i32,
  qHeads: i32,
  kvHeads: i32,
  indexHeads: i32,
  qRows: i32,
  kvRows: i32,
  unitBase: i32,
  unitCount: i32,
  gridX: u32,
  groupCount: u32,
  scale: f32,
  qBatchStride: u32,
  qHeadStride: u32,
  qRowStride: u32,
  kBatchStride: u32,
  kHeadStride: u32,
  kRowStride: u32,
  vBatchStride: u32,
  vHeadStride: u32,
  vRowStride: u32,
  outBatchStride: u32,
  outHeadStride: u32,
  outRowStride: u32,
  theta: f32,
}

@group(0) @binding(0) var<uniform> u: Uniforms;
@group(0) @binding(1) var<storage, read_write> bits10: array<u32>;
@group(0) @binding(2) var<storage, read> rows3: array<f32>;
@group(0) @binding(3) var<storage, read> KData: array<u32>;
@group(0) @binding(4) var<storage, read> scores8: array<f32>;

var<workgroup> panels: array<u32, 2080>;
var<workgroup> words: array<atomic<u32>, 8>;

fn floorDiv(a: i32, b: i32) -> i32 {
  let sign = a >> 31u;
  return ((a ^ sign) / b) ^ sign;
}

fn size() -> i32 {
  let value = u.kvRows - u.qRows;
  return (value >> 7u) - 16 * (value >> 11u);
}

fn seesSome_head(batch: i32, at: i32, qLo: i32, qHi: i32, kvLo: i32, kvHi: i32) -> bool {
  let reached = (0 <= kvHi) & (kvLo <= min(u.kvRows - 1, qHi)) & (0 <= min(u.kvRows - 1, qHi));
  return reached;
}

fn seesAll_head(batch: i32, at: i32, qLo: i32, qHi: i32, kvLo: i32, kvHi: i32) -> bool {
  let reached = (max(0, qLo + 1) <= kvHi) & (kvLo <= u.kvRows - 1) & (max(0, qLo + 1) <= u.kvRows - 1);
  return !reached;
}

fn poolScores6Seen(batch: i32, at: i32, row: i32, column: i32) -> bool {
  let bits = scores8[(batch * u.qHeads + at) * (((u.kvRows + 127) >> 7u) - ((u.kvRows - u.qRows) >> 7u)) + row + column];
  return !(bitcast<u32>(bits) == 4286578688u);
}

fn poolScores6(batch: i32, at: i32, row: i32, column: i32) -> f32 {
  let bits = scores8[(batch * u.qHeads + at) * (((u.kvRows + 127) >> 7u) - ((u.kvRows - u.qRows) >> 7u)) + row + column];
  return bits;
}

@compute @workgroup_size(256)
fn run(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let own = group.x + group.y * u.gridX;
  if (u.groupCount <= own) {
    return;
  }
  let across = (u.kvRows + 63) / 64;
  let down = (u.unitCount + 63) / 64;
  let number = i32(own);
  let above = number / across;
  let pair = above / down;
  let sharer = pair % u.qHeads;
  let batch = pair / u.qHeads;
  let firstRow = above % down * 64;
  let firstColumn = number % across * 64;
  let top = firstRow - size();
  let end = ((u.kvRows + 127) >> 7u) - ((u.kvRows - u.qRows) >> 7u);
  let lane = i32(thread);
  for (var word: i32 = lane; word < 8; word += 256) {
    atomicStore(&words[word], 0u);
  }
  workgroupBarrier();
  let place = max(min(top, ((u.kvRows + 127) >> 7u) - ((u.kvRows - u.qRows) >> 7u) - 1), 0);
  let place_2 = max(min(top + 63, ((u.kvRows + 127) >> 7u) - ((u.kvRows - u.qRows) >> 7u) - 1), 0);
  let place_3 = max(min(firstColumn, u.kvRows - 1), 0);
  let place_4 = max(min(firstColumn + 63, u.kvRows - 1), 0);
  let some = seesSome_head(batch, sharer, u.kvRows - u.qRows + max((((u.kvRows - u.qRows) >> 7u) + place) * 128 - (u.kvRows - u.qRows), 0), u.kvRows - u.qRows + (min((((u.kvRows - u.qRows) >> 7u) + place_2) * 128 - (u.kvRows - u.qRows) + 128, u.qRows) - 1), place_3, place_4 + 1 - 1);
  let all_2 = seesAll_head(batch, sharer, u.kvRows - u.qRows + max((((u.kvRows - u.qRows) >> 7u) + place) * 128 - (u.kvRows - u.qRows), 0), u.kvRows - u.qRows + (min((((u.kvRows - u.qRows) >> 7u) + place_2) * 128 - (u.kvRows - u.qRows) + 128, u.qRows) - 1), place_3, place_4 + 1 - 1);
  if (some) {
    var sums = array<array<f32, 4>, 4>();
    {
      let panelY = i32(thread) / 16;
      let panelX = i32(thread) % 16;
      var panelSum00 = sums[0][0];
      var panelSum01 = sums[0][1];
      var panelSum02 = sums[0][2];
      var panelSum03 = sums[0][3];
      var panelSum10 = sums[1][0];
      var panelSum11 = sums[1][1];
      var panelSum12 = sums[1][2];
      var panelSum13 = sums[1][3];
      var panelSum20 = sums[2][0];
      var panelSum21 = sums[2][1];
      var panelSum22 = sums[2][2];
      var panelSum23 = sums[2][3];
      var panelSum30 = sums[3][0];
      var panelSum31 = sums[3][1];
      var panelSum32 = sums[3][2];
      var panelSum33 = sums[3][3];
      for (var panelBegin = 0; panelBegin < 64; panelBegin += 16) {
        workgroupBarrier();
        for (var panelN = i32(thread); panelN < 1024; panelN += 256) {
          let row = panelN / 16;
          let first = panelBegin;
          let channel = panelBegin + panelN % 16;
          let there = (0 <= top + row) & (top + row < end);
          let element = u32(((batch * u.qHeads + sharer) * (((u.kvRows + 127) >> 7u) - ((u.kvRows - u.qRows) >> 7u)) + (top + row)) * 64 + channel);
          var panelValue = 0.0;
          if (there & (channel < 64)) {
            let panelElement = element;
            panelValue = rows3[panelElement];
          }
          panels[0 + panelN % 16 * 65 + row] = bitcast<u32>(panelValue);
        }
        for (var panelN = i32(thread); panelN < 1024; panelN += 256) {
          let row = panelN / 16;
          let first = panelBegin;
          let channel = panelBegin + panelN % 16;
          let there = firstColumn + row < u.kvRows;
          let element = u32(batch) * u.kBatchStride + u32(sharer / (u.qHeads / u.kvHeads)) * u.kHeadStride + u32(firstColumn + row) * u.kRowStride + u32(channel);
          var panelValue = 0.0;
          if (there & (channel < 64)) {
            let panelElement = element;
            panelValue = unpack2x16float(KData[panelElement >> 1u])[panelElement & 1u];
          }
          panels[1040 + panelN % 16 * 65 + row] = bitcast<u32>(panelValue);
        }
        workgroupBarrier();
        for (var panelK = 0; panelK < 16; panelK++) {
          let panelA0 = bitcast<f32>(panels[0 + panelK * 65 + panelY]);
          let panelA1 = bitcast<f32>(panels[16 + panelK * 65 + panelY]);
          let panelA2 = bitcast<f32>(panels[32 + panelK * 65 + panelY]);
          let panelA3 = bitcast<f32>(panels[48 + panelK * 65 + panelY]);
          let panelB0 = bitcast<f32>(panels[1040 + panelK * 65 + panelX]);
          let panelB1 = bitcast<f32>(panels[1056 + panelK * 65 + panelX]);
          let panelB2 = bitcast<f32>(panels[1072 + panelK * 65 + panelX]);
          let panelB3 = bitcast<f32>(panels[1088 + panelK * 65 + panelX]);
          panelSum00 = panelSum00 + panelA0 * panelB0;
          panelSum01 = panelSum01 + panelA0 * panelB1;
          panelSum02 = panelSum02 + panelA0 * panelB2;
          panelSum03 = panelSum03 + panelA0 * panelB3;
          panelSum10 = panelSum10 + panelA1 * panelB0;
          panelSum11 = panelSum11 + panelA1 * panelB1;
          panelSum12 = panelSum12 + panelA1 * panelB2;
          panelSum13 = panelSum13 + panelA1 * panelB3;
          panelSum20 = panelSum20 + panelA2 * panelB0;
          panelSum21 = panelSum21 + panelA2 * panelB1;
          panelSum22 = panelSum22 + panelA2 * panelB2;
          panelSum23 = panelSum23 + panelA2 * panelB3;
          panelSum30 = panelSum30 + panelA3 * panelB0;
          panelSum31 = panelSum31 + panelA3 * panelB1;
          panelSum32 = panelSum32 + panelA3 * panelB2;
          panelSum33 = panelSum33 + panelA3 * panelB3;
        }
      }
      sums[0][0] = panelSum00;
      sums[0][1] = panelSum01;
      sums[0][2] = panelSum02;
      sums[0][3] = panelSum03;
      sums[1][0] = panelSum10;
      sums[1][1] = panelSum11;
      sums[1][2] = panelSum12;
      sums[1][3] = panelSum13;
      sums[2][0] = panelSum20;
      sums[2][1] = panelSum21;
      sums[2][2] = panelSum22;
      sums[2][3] = panelSum23;
      sums[3][0] = panelSum30;
      sums[3][1] = panelSum31;
      sums[3][2] = panelSum32;
      sums[3][3] = panelSum33;
    }
    let whole = all_2 & ((0 <= top) & (top + 63 < end) & (firstColumn + 63 < u.kvRows));
    if (whole) {
      for (var cell = 0; cell < 16; cell++) {
        let row = i32(thread) / 16 + cell / 4 * 16;
        let column = i32(thread) % 16 + cell % 4 * 16;
        let product = sums[cell / 4][cell % 4] * u.scale;
        var kept: f32 = 0.0;
        if (poolScores6Seen(batch, sharer, top + row, 0)) {
          if (poolScores6(batch, sharer, top + row, 0) <= product + u.theta) {
            kept = 1.0;
          }
        }
        sums[cell / 4][cell % 4] = kept;
      }
    } else {
      for (var cell = 0; cell < 16; cell++) {
        let row = i32(thread) / 16 + cell / 4 * 16;
        let column = i32(thread) % 16 + cell % 4 * 16;
        if ((0 <= top + row) & (top + row < end) & (firstColumn + column < u.kvRows)) {
          let sees = all_2 | seesSome_head(batch, sharer, u.kvRows - u.qRows + max((((u.kvRows - u.qRows) >> 7u) + (top + row)) * 128 - (u.kvRows - u.qRows), 0), u.kvRows - u.qRows + (min((((u.kvRows - u.qRows) >> 7u) + (top + row)) * 128 - (u.kvRows - u.qRows) + 128, u.qRows) - 1), firstColumn + column, firstColumn + column + 1 - 1);
          let product = sums[cell / 4][cell % 4] * u.scale;
          var kept: f32 = 0.0;
          if (sees & poolScores6Seen(batch, sharer, top + row, 0)) {
            if (poolScores6(batch, sharer, top + row, 0) <= product + u.theta) {
              kept = 1.0;
            }
          }
          sums[cell / 4][cell % 4] = kept;
        } else {
          sums[cell / 4][cell % 4] = 0.0;
        }
      }
    }
    for (var panelN = 0; panelN < 16; panelN++) {
  if (sums[panelN / 4][panelN % 4] != 0.0) {
    let panelRow = i32(thread) / 16 + panelN / 4 * 16;
    let panelColumn = i32(thread) % 16 + panelN % 4 * 16;
    let panelWord = panelRow / 16 * 2 + panelColumn / 32;
    atomicOr(&words[panelWord], 1u << u32(panelColumn % 32));
  }
}
  }
  workgroupBarrier();
  let perRow = (u.kvRows + 31) / 32;
  let records = ((u.kvRows + 2047) >> 11u) - ((u.kvRows - u.qRows) >> 11u);
  for (var word: i32 = lane; word < 8; word += 256) {
    let row = firstRow / 16 + word / 2;
    let column = firstColumn / 32 + word % 2;
    if ((row < records) & (column < perRow)) {
      bits10[((batch * u.qHeads + sharer) * (((u.kvRows + 2047) >> 11u) - ((u.kvRows - u.qRows) >> 11u)) + row) * perRow + column + 4] = atomicLoad(&words[word]);
    }
  }
}

// anchor: and(le(kv, q), not(or(lt(kv, 128), eq(floorDiv(q, 2048), floorDiv(kv, 2048)))))
// 32 x 32 tiles found by 1 given list; 64 threads, d64-f16-portable
// npx heddle build anchor --target wgsl --head-dim 64 --dtype f16

struct Uniforms {
  batch: i32,
  batches: i32,
  qHeads: i32,
  kvHeads: i32,
  heads: i32,
  batchBase: i32,
  headBase: i32,
  qRows: i32,
  kvRows: i32,
  gridX: u32,
  tileCount: u32,
  scale: f32,
  listStride: u32,
  qBatchStride: u32,
  qHeadStride: u32,
  qRowStride: u32,
  kBatchStride: u32,
  kHeadStride: u32,
  kRowStride: u32,
  vBatchStride: u32,
  vHeadStride: u32,
  vRowStride: u32,
  outBatchStride: u32,
  outHeadStride: u32,
  outRowStride: u32,
  theta: f32,
}

@group(0) @binding(0) var<uniform> u: Uniforms;
@group(0) @binding(1) var<storage, read> metaData: array<i32>;
@group(0) @binding(2) var<storage, read> qData: array<vec2u>;
@group(0) @binding(3) var<storage, read> kData: array<vec2u>;
@group(0) @binding(4) var<storage, read> vData: array<vec2u>;
@group(0) @binding(5) var<storage, read_write> outData: array<vec2u>;
@group(0) @binding(6) var<storage, read_write> lseData: array<u32>;
@group(0) @binding(7) var<storage, read> beforeData: array<vec4f>;
@group(0) @binding(8) var<storage, read> list0: array<i32>;

var<workgroup> stage: array<array<vec4f, 9>, 64>;
var<workgroup> weights: array<array<f32, 33>, 32>;
var<workgroup> wildChunk: atomic<u32>;
var<workgroup> partials: array<array<f32, 8>, 32>;
var<workgroup> keyAt: array<i32, 32>;

fn floorDiv(a: i32, b: i32) -> i32 {
  let sign = a >> 31u;
  return ((a ^ sign) / b) ^ sign;
}

fn unpackHalf4(w: vec2u) -> vec4f {
  return vec4f(unpack2x16float(w.x), unpack2x16float(w.y));
}

fn isWild4(x: vec4f) -> bool {
  return any((bitcast<vec4u>(x) & vec4u(0x7f800000u)) == vec4u(0x7f800000u));
}

fn packHalf4(x: vec4f) -> vec2u {
  let y = clamp(x, vec4f(-65504.0), vec4f(65504.0));
  return vec2u(pack2x16float(y.xy), pack2x16float(y.zw));
}

fn log2OrLow(x: f32) -> f32 {
  return select(-3.0e38, log2(x), x > 0.0);
}

fn keeps(q: i32, kv: i32, ofColumn: bool, ofRow: i32, ofColumn_2: i32) -> bool {
  return (kv <= q) & !(ofColumn | (ofRow == ofColumn_2));
}

@compute @workgroup_size(64)
fn attend(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.x + group.y * u.gridX;
  if (u.tileCount <= index) {
    return;
  }
  let qTiles = ((u32(u.qRows) + 2047u) / 2048u + 1u) * 64u;
  let slot = index / qTiles;
  let qTile = qTiles - 1u - index % qTiles;
  let ownBatch = slot / u32(u.heads);
  let ownHead = slot % u32(u.heads);
  let batch = u.batchBase + i32(ownBatch);
  let head = u.headBase + i32(ownHead);
  let headsPerKv = u.qHeads / u.kvHeads;
  let kvHead = head / headsPerKv;
  let ownKvHead = u32(kvHead - u.headBase / headsPerKv);
  let lengths = batch * 5;
  let qRow = metaData[lengths];
  let qStart = metaData[lengths + 1];
  let qLen = metaData[lengths + 2];
  let kvStart = metaData[lengths + 3];
  let kvLen = metaData[lengths + 4];
  let firstPosition = qStart - qRow;
  let unit = (firstPosition >> 11u) + i32(qTile / 64u);
  let unitStart = unit * 2048;
  let unitRow = unitStart - firstPosition;
  let firstOfUnit = qTile % 64u * 32u;
  let firstRow = unitRow + i32(firstOfUnit);
  let endRow = min(min(unitRow + 2048, unitRow + (i32(firstOfUnit + 31u) + 1)), u.qRows);
  let startRow = max(firstRow, 0);
  let realLo = max(firstRow, qRow);
  let realHi = min(endRow, qRow + qLen) - 1;
  let qShift = qStart - qRow;
  let qLo = realLo + qShift;
  let qHi = realHi + qShift;
  let i = thread / 8u;
  let j = thread % 8u;
  let qStart_2 = (ownBatch * u.qBatchStride + ownHead * u.qHeadStride) / 4u;
  let qStride = u.qRowStride / 4u;
  let kStart = (ownBatch * u.kBatchStride + ownKvHead * u.kHeadStride) / 4u;
  let kStride = u.kRowStride / 4u;
  let vStart = (ownBatch * u.vBatchStride + ownKvHead * u.vHeadStride) / 4u;
  let vStride = u.vRowStride / 4u;
  let queryScale = u.scale * 1.442695;
  var rowMax0: f32 = -1e+30;
  var rowMax1: f32 = -1e+30;
  var rowMax2: f32 = -1e+30;
  var rowMax3: f32 = -1e+30;
  var rowSum0: f32 = 0.0;
  var rowSum1: f32 = 0.0;
  var rowSum2: f32 = 0.0;
  var rowSum3: f32 = 0.0;
  var out0_0: vec4f = vec4f(0.0);
  var out0_1: vec4f = vec4f(0.0);
  var out1_0: vec4f = vec4f(0.0);
  var out1_1: vec4f = vec4f(0.0);
  var out2_0: vec4f = vec4f(0.0);
  var out2_1: vec4f = vec4f(0.0);
  var out3_0: vec4f = vec4f(0.0);
  var out3_1: vec4f = vec4f(0.0);
  // the state so far
  let row0 = unitRow + i32(firstOfUnit + i);
  if ((realLo <= row0) & (row0 <= realHi)) {
    let stateRow = ((u32(batch) * u32(u.qHeads) + u32(head)) * u32(u.qRows) + u32(row0)) * 17u;
    let own = beforeData[stateRow];
    rowMax0 = own.x;
    rowSum0 = select(0.0, own.y, j == 0u);
    out0_0 = select(vec4f(0.0), beforeData[stateRow + 1u + select(0u, j, j < 16u)], j < 16u);
    out0_1 = select(vec4f(0.0), beforeData[stateRow + 1u + select(0u, j + 8u, j + 8u < 16u)], j + 8u < 16u);
  }
  let row1 = unitRow + i32(firstOfUnit + (i + 8u));
  if ((realLo <= row1) & (row1 <= realHi)) {
    let stateRow = ((u32(batch) * u32(u.qHeads) + u32(head)) * u32(u.qRows) + u32(row1)) * 17u;
    let own = beforeData[stateRow];
    rowMax1 = own.x;
    rowSum1 = select(0.0, own.y, j == 0u);
    out1_0 = select(vec4f(0.0), beforeData[stateRow + 1u + select(0u, j, j < 16u)], j < 16u);
    out1_1 = select(vec4f(0.0), beforeData[stateRow + 1u + select(0u, j + 8u, j + 8u < 16u)], j + 8u < 16u);
  }
  let row2 = unitRow + i32(firstOfUnit + (i + 16u));
  if ((realLo <= row2) & (row2 <= realHi)) {
    let stateRow = ((u32(batch) * u32(u.qHeads) + u32(head)) * u32(u.qRows) + u32(row2)) * 17u;
    let own = beforeData[stateRow];
    rowMax2 = own.x;
    rowSum2 = select(0.0, own.y, j == 0u);
    out2_0 = select(vec4f(0.0), beforeData[stateRow + 1u + select(0u, j, j < 16u)], j < 16u);
    out2_1 = select(vec4f(0.0), beforeData[stateRow + 1u + select(0u, j + 8u, j + 8u < 16u)], j + 8u < 16u);
  }
  let row3 = unitRow + i32(firstOfUnit + (i + 24u));
  if ((realLo <= row3) & (row3 <= realHi)) {
    let stateRow = ((u32(batch) * u32(u.qHeads) + u32(head)) * u32(u.qRows) + u32(row3)) * 17u;
    let own = beforeData[stateRow];
    rowMax3 = own.x;
    rowSum3 = select(0.0, own.y, j == 0u);
    out3_0 = select(vec4f(0.0), beforeData[stateRow + 1u + select(0u, j, j < 16u)], j < 16u);
    out3_1 = select(vec4f(0.0), beforeData[stateRow + 1u + select(0u, j + 8u, j + 8u < 16u)], j + 8u < 16u);
  }
  if (realLo <= realHi) {
    // list 0: keys for 2048 queries of a head
    let units = list0[0];
    let words = (kvLen + 31) / 32;
    let ids = ((batch * u.qHeads + head) * units + ((unitStart >> 11u) - (qStart >> 11u))) * words + 4;
    var holder: i32 = 0;
    var behind: i32 = 0;
    var drawnKeys: i32 = 0;
    loop {
      if (words <= holder) {
        break;
      }
      let length_2 = countOneBits(list0[ids + holder]);
      if (behind < length_2) {
        break;
      }
      behind = behind - length_2;
      holder = holder + 1;
    }
    loop {
      if (words <= holder) {
        break;
      }
      if (thread < 32u) {
        var own: i32 = holder;
        var left: i32 = behind + i32(thread);
        loop {
          if (words <= own) {
            break;
          }
          let length_2 = countOneBits(list0[ids + own]);
          if (left < length_2) {
            break;
          }
          left = left - length_2;
          own = own + 1;
        }
        var found: i32 = -1;
        if (own < words) {
          var rest: i32 = list0[ids + own];
          for (var skipped: i32 = 0; skipped < left; skipped += 1) {
            rest = rest & (rest - 1);
          }
          found = own * 32 + countOneBits((rest & -rest) - 1);
        }
        keyAt[thread] = select(-1, found, (0 <= found) & (found < kvLen));
      }
      workgroupBarrier();
      var s0_0: f32 = 0.0;
      var s0_1: f32 = 0.0;
      var s0_2: f32 = 0.0;
      var s0_3: f32 = 0.0;
      var s1_0: f32 = 0.0;
      var s1_1: f32 = 0.0;
      var s1_2: f32 = 0.0;
      var s1_3: f32 = 0.0;
      var s2_0: f32 = 0.0;
      var s2_1: f32 = 0.0;
      var s2_2: f32 = 0.0;
      var s2_3: f32 = 0.0;
      var s3_0: f32 = 0.0;
      var s3_1: f32 = 0.0;
      var s3_2: f32 = 0.0;
      var s3_3: f32 = 0.0;
      for (var chunk: u32 = 0u; chunk < 16u; chunk += 8u) {
        // load query tile and key tile
        workgroupBarrier();
        for (var element: u32 = thread; element < 256u; element += 64u) {
          let row = element / 8u;
          let vector = element % 8u;
          let column = chunk + vector;
          let there = 0 <= keyAt[row];
          stage[row % 4u * 8u + row / 4u][vector] = select(vec4f(0.0), unpackHalf4(kData[kStart + select(0u, u32(kvStart + keyAt[row]), there) * kStride + column]), there);
        }
        for (var element: u32 = thread; element < 256u; element += 64u) {
          let row = element / 8u;
          let vector = element % 8u;
          let column = chunk + vector;
          let there = (startRow <= unitRow + i32(firstOfUnit + row)) & (unitRow + i32(firstOfUnit + row) < endRow);
          stage[row + 32u][vector] = select(vec4f(0.0), unpackHalf4(qData[qStart_2 + select(0u, u32(unitRow + i32(firstOfUnit + row)), there) * qStride + column]), there) * queryScale;
        }
        workgroupBarrier();
        for (var d: u32 = 0u; d < 8u; d += 1u) {
          let key0 = stage[j][d];
          let key1 = stage[j + 8u][d];
          let key2 = stage[j + 16u][d];
          let key3 = stage[j + 24u][d];
          let query0 = stage[i + 32u][d];
          s0_0 = s0_0 + query0.x * key0.x + query0.y * key0.y + query0.z * key0.z + query0.w * key0.w;
          s0_1 = s0_1 + query0.x * key1.x + query0.y * key1.y + query0.z * key1.z + query0.w * key1.w;
          s0_2 = s0_2 + query0.x * key2.x + query0.y * key2.y + query0.z * key2.z + query0.w * key2.w;
          s0_3 = s0_3 + query0.x * key3.x + query0.y * key3.y + query0.z * key3.z + query0.w * key3.w;
          let query1 = stage[i + 40u][d];
          s1_0 = s1_0 + query1.x * key0.x + query1.y * key0.y + query1.z * key0.z + query1.w * key0.w;
          s1_1 = s1_1 + query1.x * key1.x + query1.y * key1.y + query1.z * key1.z + query1.w * key1.w;
          s1_2 = s1_2 + query1.x * key2.x + query1.y * key2.y + query1.z * key2.z + query1.w * key2.w;
          s1_3 = s1_3 + query1.x * key3.x + query1.y * key3.y + query1.z * key3.z + query1.w * key3.w;
          let query2 = stage[i + 48u][d];
          s2_0 = s2_0 + query2.x * key0.x + query2.y * key0.y + query2.z * key0.z + query2.w * key0.w;
          s2_1 = s2_1 + query2.x * key1.x + query2.y * key1.y + query2.z * key1.z + query2.w * key1.w;
          s2_2 = s2_2 + query2.x * key2.x + query2.y * key2.y + query2.z * key2.z + query2.w * key2.w;
          s2_3 = s2_3 + query2.x * key3.x + query2.y * key3.y + query2.z * key3.z + query2.w * key3.w;
          let query3 = stage[i + 56u][d];
          s3_0 = s3_0 + query3.x * key0.x + query3.y * key0.y + query3.z * key0.z + query3.w * key0.w;
          s3_1 = s3_1 + query3.x * key1.x + query3.y * key1.y + query3.z * key1.z + query3.w * key1.w;
          s3_2 = s3_2 + query3.x * key2.x + query3.y * key2.y + query3.z * key2.z + query3.w * key2.w;
          s3_3 = s3_3 + query3.x * key3.x + query3.y * key3.y + query3.z * key3.z + query3.w * key3.w;
        }
      }
      // mask
      let q0 = min(max(unitRow + i32(firstOfUnit + i) + qShift, qLo), qHi);
      let ofRow = q0 >> 11u;
      let q1 = min(max(unitRow + i32(firstOfUnit + (i + 8u)) + qShift, qLo), qHi);
      let ofRow_2 = q1 >> 11u;
      let q2 = min(max(unitRow + i32(firstOfUnit + (i + 16u)) + qShift, qLo), qHi);
      let ofRow_3 = q2 >> 11u;
      let q3 = min(max(unitRow + i32(firstOfUnit + (i + 24u)) + qShift, qLo), qHi);
      let ofRow_4 = q3 >> 11u;
      let kv0 = max(keyAt[i32(j) * 4], 0);
      let ofColumn = kv0 < 128;
      let ofColumn_2 = kv0 >> 11u;
      let kv1 = max(keyAt[i32(j) * 4 + 1], 0);
      let ofColumn_3 = kv1 < 128;
      let ofColumn_4 = kv1 >> 11u;
      let kv2 = max(keyAt[i32(j) * 4 + 2], 0);
      let ofColumn_5 = kv2 < 128;
      let ofColumn_6 = kv2 >> 11u;
      let kv3 = max(keyAt[i32(j) * 4 + 3], 0);
      let ofColumn_7 = kv3 < 128;
      let ofColumn_8 = kv3 >> 11u;
      let inside0 = 0 <= keyAt[i32(j) * 4];
      let inside1 = 0 <= keyAt[i32(j) * 4 + 1];
      let inside2 = 0 <= keyAt[i32(j) * 4 + 2];
      let inside3 = 0 <= keyAt[i32(j) * 4 + 3];
      s0_0 = select(-3e+38, s0_0, inside0 & keeps(q0, kv0, ofColumn, ofRow, ofColumn_2));
      s0_1 = select(-3e+38, s0_1, inside1 & keeps(q0, kv1, ofColumn_3, ofRow, ofColumn_4));
      s0_2 = select(-3e+38, s0_2, inside2 & keeps(q0, kv2, ofColumn_5, ofRow, ofColumn_6));
      s0_3 = select(-3e+38, s0_3, inside3 & keeps(q0, kv3, ofColumn_7, ofRow, ofColumn_8));
      s1_0 = select(-3e+38, s1_0, inside0 & keeps(q1, kv0, ofColumn, ofRow_2, ofColumn_2));
      s1_1 = select(-3e+38, s1_1, inside1 & keeps(q1, kv1, ofColumn_3, ofRow_2, ofColumn_4));
      s1_2 = select(-3e+38, s1_2, inside2 & keeps(q1, kv2, ofColumn_5, ofRow_2, ofColumn_6));
      s1_3 = select(-3e+38, s1_3, inside3 & keeps(q1, kv3, ofColumn_7, ofRow_2, ofColumn_8));
      s2_0 = select(-3e+38, s2_0, inside0 & keeps(q2, kv0, ofColumn, ofRow_3, ofColumn_2));
      s2_1 = select(-3e+38, s2_1, inside1 & keeps(q2, kv1, ofColumn_3, ofRow_3, ofColumn_4));
      s2_2 = select(-3e+38, s2_2, inside2 & keeps(q2, kv2, ofColumn_5, ofRow_3, ofColumn_6));
      s2_3 = select(-3e+38, s2_3, inside3 & keeps(q2, kv3, ofColumn_7, ofRow_3, ofColumn_8));
      s3_0 = select(-3e+38, s3_0, inside0 & keeps(q3, kv0, ofColumn, ofRow_4, ofColumn_2));
      s3_1 = select(-3e+38, s3_1, inside1 & keeps(q3, kv1, ofColumn_3, ofRow_4, ofColumn_4));
      s3_2 = select(-3e+38, s3_2, inside2 & keeps(q3, kv2, ofColumn_5, ofRow_4, ofColumn_6));
      s3_3 = select(-3e+38, s3_3, inside3 & keeps(q3, kv3, ofColumn_7, ofRow_4, ofColumn_8));
      let best0 = max(max(max(s0_0, s0_1), s0_2), s0_3);
      let best1 = max(max(max(s1_0, s1_1), s1_2), s1_3);
      let best2 = max(max(max(s2_0, s2_1), s2_2), s2_3);
      let best3 = max(max(max(s3_0, s3_1), s3_2), s3_3);
      partials[i][j] = best0;
      partials[i + 8u][j] = best1;
      partials[i + 16u][j] = best2;
      partials[i + 24u][j] = best3;
      workgroupBarrier();
      var row0_2: f32 = partials[i][0u];
      var row1_2: f32 = partials[i + 8u][0u];
      var row2_2: f32 = partials[i + 16u][0u];
      var row3_2: f32 = partials[i + 24u][0u];
      for (var part: u32 = 1u; part < 8u; part += 1u) {
        row0_2 = max(row0_2, partials[i][part]);
        row1_2 = max(row1_2, partials[i + 8u][part]);
        row2_2 = max(row2_2, partials[i + 16u][part]);
        row3_2 = max(row3_2, partials[i + 24u][part]);
      }
      let top0 = max(rowMax0, row0_2);
      let shrink0 = exp2(rowMax0 - top0);
      rowMax0 = top0;
      let p0_0 = select(exp2(s0_0 - top0), 0.0, s0_0 < -2.9e+38);
      let p0_1 = select(exp2(s0_1 - top0), 0.0, s0_1 < -2.9e+38);
      let p0_2 = select(exp2(s0_2 - top0), 0.0, s0_2 < -2.9e+38);
      let p0_3 = select(exp2(s0_3 - top0), 0.0, s0_3 < -2.9e+38);
      rowSum0 = p0_0 + p0_1 + p0_2 + p0_3 + rowSum0 * shrink0;
      weights[i][j * 4u] = p0_0;
      weights[i][j * 4u + 1u] = p0_1;
      weights[i][j * 4u + 2u] = p0_2;
      weights[i][j * 4u + 3u] = p0_3;
      out0_0 = out0_0 * shrink0;
      out0_1 = out0_1 * shrink0;
      let top1 = max(rowMax1, row1_2);
      let shrink1 = exp2(rowMax1 - top1);
      rowMax1 = top1;
      let p1_0 = select(exp2(s1_0 - top1), 0.0, s1_0 < -2.9e+38);
      let p1_1 = select(exp2(s1_1 - top1), 0.0, s1_1 < -2.9e+38);
      let p1_2 = select(exp2(s1_2 - top1), 0.0, s1_2 < -2.9e+38);
      let p1_3 = select(exp2(s1_3 - top1), 0.0, s1_3 < -2.9e+38);
      rowSum1 = p1_0 + p1_1 + p1_2 + p1_3 + rowSum1 * shrink1;
      weights[i + 8u][j * 4u] = p1_0;
      weights[i + 8u][j * 4u + 1u] = p1_1;
      weights[i + 8u][j * 4u + 2u] = p1_2;
      weights[i + 8u][j * 4u + 3u] = p1_3;
      out1_0 = out1_0 * shrink1;
      out1_1 = out1_1 * shrink1;
      let top2 = max(rowMax2, row2_2);
      let shrink2 = exp2(rowMax2 - top2);
      rowMax2 = top2;
      let p2_0 = select(exp2(s2_0 - top2), 0.0, s2_0 < -2.9e+38);
      let p2_1 = select(exp2(s2_1 - top2), 0.0, s2_1 < -2.9e+38);
      let p2_2 = select(exp2(s2_2 - top2), 0.0, s2_2 < -2.9e+38);
      let p2_3 = select(exp2(s2_3 - top2), 0.0, s2_3 < -2.9e+38);
      rowSum2 = p2_0 + p2_1 + p2_2 + p2_3 + rowSum2 * shrink2;
      weights[i + 16u][j * 4u] = p2_0;
      weights[i + 16u][j * 4u + 1u] = p2_1;
      weights[i + 16u][j * 4u + 2u] = p2_2;
      weights[i + 16u][j * 4u + 3u] = p2_3;
      out2_0 = out2_0 * shrink2;
      out2_1 = out2_1 * shrink2;
      let top3 = max(rowMax3, row3_2);
      let shrink3 = exp2(rowMax3 - top3);
      rowMax3 = top3;
      let p3_0 = select(exp2(s3_0 - top3), 0.0, s3_0 < -2.9e+38);
      let p3_1 = select(exp2(s3_1 - top3), 0.0, s3_1 < -2.9e+38);
      let p3_2 = select(exp2(s3_2 - top3), 0.0, s3_2 < -2.9e+38);
      let p3_3 = select(exp2(s3_3 - top3), 0.0, s3_3 < -2.9e+38);
      rowSum3 = p3_0 + p3_1 + p3_2 + p3_3 + rowSum3 * shrink3;
      weights[i + 24u][j * 4u] = p3_0;
      weights[i + 24u][j * 4u + 1u] = p3_1;
      weights[i + 24u][j * 4u + 2u] = p3_2;
      weights[i + 24u][j * 4u + 3u] = p3_3;
      out3_0 = out3_0 * shrink3;
      out3_1 = out3_1 * shrink3;
      // load value tile
      let chunkMark = u32(drawnKeys) + 8388609u;
      workgroupBarrier();
      for (var element: u32 = thread; element < 512u; element += 64u) {
        let row = element / 16u;
        let vector = element % 16u;
        let there = 0 <= keyAt[row];
        let loaded = select(vec4f(0.0), unpackHalf4(vData[vStart + select(0u, u32(kvStart + keyAt[row]), there) * vStride + vector]), there);
        stage[row * 2u + vector / 8u][vector % 8u] = loaded;
        if (isWild4(loaded)) {
          atomicStore(&wildChunk, chunkMark);
        }
      }
      workgroupBarrier();
      let tame = !(atomicLoad(&wildChunk) == chunkMark);
      if (tame) {
        for (var key: u32 = 0u; key < 32u; key += 1u) {
          let weight0 = weights[i][key];
          let weight1 = weights[i + 8u][key];
          let weight2 = weights[i + 16u][key];
          let weight3 = weights[i + 24u][key];
          let base = key * 2u;
          let value_0 = stage[base][j];
          out0_0 = out0_0 + weight0 * value_0;
          out1_0 = out1_0 + weight1 * value_0;
          out2_0 = out2_0 + weight2 * value_0;
          out3_0 = out3_0 + weight3 * value_0;
          let value_1 = stage[base + 1u][j];
          out0_1 = out0_1 + weight0 * value_1;
          out1_1 = out1_1 + weight1 * value_1;
          out2_1 = out2_1 + weight2 * value_1;
          out3_1 = out3_1 + weight3 * value_1;
        }
      } else {
        // values of masked keys are replaced
        for (var key: u32 = 0u; key < 32u; key += 1u) {
          let weight0 = weights[i][key];
          let weight1 = weights[i + 8u][key];
          let weight2 = weights[i + 16u][key];
          let weight3 = weights[i + 24u][key];
          let base = key * 2u;
          let value_0 = stage[base][j];
          out0_0 = out0_0 + weight0 * select(vec4f(0.0), value_0, 0.0 < weight0);
          out1_0 = out1_0 + weight1 * select(vec4f(0.0), value_0, 0.0 < weight1);
          out2_0 = out2_0 + weight2 * select(vec4f(0.0), value_0, 0.0 < weight2);
          out3_0 = out3_0 + weight3 * select(vec4f(0.0), value_0, 0.0 < weight3);
          let value_1 = stage[base + 1u][j];
          out0_1 = out0_1 + weight0 * select(vec4f(0.0), value_1, 0.0 < weight0);
          out1_1 = out1_1 + weight1 * select(vec4f(0.0), value_1, 0.0 < weight1);
          out2_1 = out2_1 + weight2 * select(vec4f(0.0), value_1, 0.0 < weight2);
          out3_1 = out3_1 + weight3 * select(vec4f(0.0), value_1, 0.0 < weight3);
        }
      }
      drawnKeys = drawnKeys + 32;
      behind = behind + 32;
      loop {
        if (words <= holder) {
          break;
        }
        let length_2 = countOneBits(list0[ids + holder]);
        if (behind < length_2) {
          break;
        }
        behind = behind - length_2;
        holder = holder + 1;
      }
    }
  }
  // epilogue
  let outStart = (ownBatch * u.outBatchStride + ownHead * u.outHeadStride) / 4u;
  let outStride = u.outRowStride / 4u;
  partials[i][j] = rowSum0;
  partials[i + 8u][j] = rowSum1;
  partials[i + 16u][j] = rowSum2;
  partials[i + 24u][j] = rowSum3;
  workgroupBarrier();
  var row0_2: f32 = partials[i][0u];
  var row1_2: f32 = partials[i + 8u][0u];
  var row2_2: f32 = partials[i + 16u][0u];
  var row3_2: f32 = partials[i + 24u][0u];
  for (var part: u32 = 1u; part < 8u; part += 1u) {
    row0_2 = row0_2 + partials[i][part];
    row1_2 = row1_2 + partials[i + 8u][part];
    row2_2 = row2_2 + partials[i + 16u][part];
    row3_2 = row3_2 + partials[i + 24u][part];
  }
  let lseStart = (batch * u.qHeads + head) * u.qRows;
  let row0_3 = unitRow + i32(firstOfUnit + i);
  if ((startRow <= row0_3) & (row0_3 < endRow)) {
    let some = (realLo <= row0_3) & (row0_3 <= realHi) & (0.0 < row0_2);
    let factor = 1.0 / select(1.0, row0_2, some);
    outData[outStart + u32(row0_3) * outStride + j] = packHalf4(select(vec4f(0.0), out0_0 * factor, some));
    outData[outStart + u32(row0_3) * outStride + (j + 8u)] = packHalf4(select(vec4f(0.0), out0_1 * factor, some));
    if (j == 0u) {
      if (some) {
        lseData[u32(lseStart + row0_3)] = bitcast<u32>((rowMax0 + log2OrLow(row0_2)) * 0.6931472);
      } else {
        lseData[u32(lseStart + row0_3)] = 4286578688u;
      }
    }
  }
  let row1_3 = unitRow + i32(firstOfUnit + (i + 8u));
  if ((startRow <= row1_3) & (row1_3 < endRow)) {
    let some = (realLo <= row1_3) & (row1_3 <= realHi) & (0.0 < row1_2);
    let factor = 1.0 / select(1.0, row1_2, some);
    outData[outStart + u32(row1_3) * outStride + j] = packHalf4(select(vec4f(0.0), out1_0 * factor, some));
    outData[outStart + u32(row1_3) * outStride + (j + 8u)] = packHalf4(select(vec4f(0.0), out1_1 * factor, some));
    if (j == 0u) {
      if (some) {
        lseData[u32(lseStart + row1_3)] = bitcast<u32>((rowMax1 + log2OrLow(row1_2)) * 0.6931472);
      } else {
        lseData[u32(lseStart + row1_3)] = 4286578688u;
      }
    }
  }
  let row2_3 = unitRow + i32(firstOfUnit + (i + 16u));
  if ((startRow <= row2_3) & (row2_3 < endRow)) {
    let some = (realLo <= row2_3) & (row2_3 <= realHi) & (0.0 < row2_2);
    let factor = 1.0 / select(1.0, row2_2, some);
    outData[outStart + u32(row2_3) * outStride + j] = packHalf4(select(vec4f(0.0), out2_0 * factor, some));
    outData[outStart + u32(row2_3) * outStride + (j + 8u)] = packHalf4(select(vec4f(0.0), out2_1 * factor, some));
    if (j == 0u) {
      if (some) {
        lseData[u32(lseStart + row2_3)] = bitcast<u32>((rowMax2 + log2OrLow(row2_2)) * 0.6931472);
      } else {
        lseData[u32(lseStart + row2_3)] = 4286578688u;
      }
    }
  }
  let row3_3 = unitRow + i32(firstOfUnit + (i + 24u));
  if ((startRow <= row3_3) & (row3_3 < endRow)) {
    let some = (realLo <= row3_3) & (row3_3 <= realHi) & (0.0 < row3_2);
    let factor = 1.0 / select(1.0, row3_2, some);
    outData[outStart + u32(row3_3) * outStride + j] = packHalf4(select(vec4f(0.0), out3_0 * factor, some));
    outData[outStart + u32(row3_3) * outStride + (j + 8u)] = packHalf4(select(vec4f(0.0), out3_1 * factor, some));
    if (j == 0u) {
      if (some) {
        lseData[u32(lseStart + row3_3)] = bitcast<u32>((rowMax3 + log2OrLow(row3_2)) * 0.6931472);
      } else {
        lseData[u32(lseStart + row3_3)] = 4286578688u;
      }
    }
  }
}
