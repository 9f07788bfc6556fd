// causal: le(kv, q)
// 64 x 64 tiles found by ranges; 128 threads, d64-f16-large48
// npx heddle build causal --target wgsl --head-dim 64 --dtype f16

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
}

@group(0) @binding(0) var<uniform> u: Uniforms;
@group(0) @binding(1) var<storage, read> metaData: array<i32>;
@group(0) @binding(2) var<storage, read> qData: array<vec2u>;
@group(0) @binding(3) var<storage, read> kData: array<vec2u>;
@group(0) @binding(4) var<storage, read> vData: array<vec2u>;
@group(0) @binding(5) var<storage, read_write> outData: array<vec2u>;
@group(0) @binding(6) var<storage, read_write> lseData: array<u32>;

var<workgroup> stage: array<array<vec4f, 9>, 128>;
var<workgroup> weights: array<array<vec4f, 17>, 64>;
var<workgroup> wildChunk: atomic<u32>;
var<workgroup> partials: array<array<f32, 16>, 64>;

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

fn keeps(q: i32, kv: i32) -> bool {
  return kv <= q;
}

@compute @workgroup_size(128)
fn attend(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.x + group.y * u.gridX;
  if (u.tileCount <= index) {
    return;
  }
  let qTiles = (u32(u.qRows) + 63u) / 64u;
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
  let firstRow = i32(qTile) * 64;
  let realLo = max(firstRow, qRow);
  let realHi = min(firstRow + 64, qRow + qLen) - 1;
  let qShift = qStart - qRow;
  let qLo = realLo + qShift;
  let qHi = realHi + qShift;
  let i = thread / 16u;
  let j = thread % 16u;
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
  var rowMax4: f32 = -1e+30;
  var rowMax5: f32 = -1e+30;
  var rowMax6: f32 = -1e+30;
  var rowMax7: f32 = -1e+30;
  var rowSum0: f32 = 0.0;
  var rowSum1: f32 = 0.0;
  var rowSum2: f32 = 0.0;
  var rowSum3: f32 = 0.0;
  var rowSum4: f32 = 0.0;
  var rowSum5: f32 = 0.0;
  var rowSum6: f32 = 0.0;
  var rowSum7: f32 = 0.0;
  var out0_0: vec4f = vec4f(0.0);
  var out1_0: vec4f = vec4f(0.0);
  var out2_0: vec4f = vec4f(0.0);
  var out3_0: vec4f = vec4f(0.0);
  var out4_0: vec4f = vec4f(0.0);
  var out5_0: vec4f = vec4f(0.0);
  var out6_0: vec4f = vec4f(0.0);
  var out7_0: vec4f = vec4f(0.0);
  if (realLo <= realHi) {
    // the kv tiles that each term of the mask may reach
    let hi = min(kvLen - 1, qHi);
    let first = 0 / 64;
    let last = select(-1, min(hi, kvLen - 1) / 64, (0 <= hi) & (0 <= hi) & (0 < kvLen));
    let lo = max(0, qLo + 1);
    let hi_2 = kvLen - 1;
    var tile: i32 = 0;
    loop {
      var next: i32 = 2147483647;
      let begin = max(tile, first);
      if (begin <= last) {
        next = min(next, begin);
      }
      if (next == 2147483647) {
        break;
      }
      tile = next;
      let kvLo = tile * 64;
      let kvHi = min(kvLo + 64, kvLen) - 1;
      let full = (kvLo + 64 <= kvLen) & !((lo <= kvHi) & (kvLo <= hi_2));
      if (full) {
        // full tiles
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
        var s4_0: f32 = 0.0;
        var s4_1: f32 = 0.0;
        var s4_2: f32 = 0.0;
        var s4_3: f32 = 0.0;
        var s5_0: f32 = 0.0;
        var s5_1: f32 = 0.0;
        var s5_2: f32 = 0.0;
        var s5_3: f32 = 0.0;
        var s6_0: f32 = 0.0;
        var s6_1: f32 = 0.0;
        var s6_2: f32 = 0.0;
        var s6_3: f32 = 0.0;
        var s7_0: f32 = 0.0;
        var s7_1: f32 = 0.0;
        var s7_2: f32 = 0.0;
        var s7_3: f32 = 0.0;
        for (var chunk: u32 = 0u; chunk < 16u; chunk += 8u) {
          // load query tile and key tile
          let element = thread;
          let row = element / 8u;
          let vector = element % 8u;
          let column = chunk + vector;
          let loaded = unpackHalf4(kData[kStart + u32(kvStart + (kvLo + i32(row))) * kStride + column]);
          let element_2 = thread + 128u;
          let row_2 = element_2 / 8u;
          let vector_2 = element_2 % 8u;
          let column_2 = chunk + vector_2;
          let loaded_2 = unpackHalf4(kData[kStart + u32(kvStart + (kvLo + i32(row_2))) * kStride + column_2]);
          let element_3 = thread + 256u;
          let row_3 = element_3 / 8u;
          let vector_3 = element_3 % 8u;
          let column_3 = chunk + vector_3;
          let loaded_3 = unpackHalf4(kData[kStart + u32(kvStart + (kvLo + i32(row_3))) * kStride + column_3]);
          let element_4 = thread + 384u;
          let row_4 = element_4 / 8u;
          let vector_4 = element_4 % 8u;
          let column_4 = chunk + vector_4;
          let loaded_4 = unpackHalf4(kData[kStart + u32(kvStart + (kvLo + i32(row_4))) * kStride + column_4]);
          let element_5 = thread;
          let row_5 = element_5 / 8u;
          let vector_5 = element_5 % 8u;
          let column_5 = chunk + vector_5;
          let there = u32(firstRow) + row_5 < u32(u.qRows);
          let loaded_5 = select(vec4f(0.0), unpackHalf4(qData[qStart_2 + select(0u, u32(firstRow) + row_5, there) * qStride + column_5]), there) * queryScale;
          let element_6 = thread + 128u;
          let row_6 = element_6 / 8u;
          let vector_6 = element_6 % 8u;
          let column_6 = chunk + vector_6;
          let there_2 = u32(firstRow) + row_6 < u32(u.qRows);
          let loaded_6 = select(vec4f(0.0), unpackHalf4(qData[qStart_2 + select(0u, u32(firstRow) + row_6, there_2) * qStride + column_6]), there_2) * queryScale;
          let element_7 = thread + 256u;
          let row_7 = element_7 / 8u;
          let vector_7 = element_7 % 8u;
          let column_7 = chunk + vector_7;
          let there_3 = u32(firstRow) + row_7 < u32(u.qRows);
          let loaded_7 = select(vec4f(0.0), unpackHalf4(qData[qStart_2 + select(0u, u32(firstRow) + row_7, there_3) * qStride + column_7]), there_3) * queryScale;
          let element_8 = thread + 384u;
          let row_8 = element_8 / 8u;
          let vector_8 = element_8 % 8u;
          let column_8 = chunk + vector_8;
          let there_4 = u32(firstRow) + row_8 < u32(u.qRows);
          let loaded_8 = select(vec4f(0.0), unpackHalf4(qData[qStart_2 + select(0u, u32(firstRow) + row_8, there_4) * qStride + column_8]), there_4) * queryScale;
          workgroupBarrier();
          stage[row % 4u * 16u + row / 4u][vector] = loaded;
          stage[row_2 % 4u * 16u + row_2 / 4u][vector_2] = loaded_2;
          stage[row_3 % 4u * 16u + row_3 / 4u][vector_3] = loaded_3;
          stage[row_4 % 4u * 16u + row_4 / 4u][vector_4] = loaded_4;
          stage[row_5 + 64u][vector_5] = loaded_5;
          stage[row_6 + 64u][vector_6] = loaded_6;
          stage[row_7 + 64u][vector_7] = loaded_7;
          stage[row_8 + 64u][vector_8] = loaded_8;
          workgroupBarrier();
          for (var d: u32 = 0u; d < 8u; d += 1u) {
            let key0 = stage[j][d];
            let key1 = stage[j + 16u][d];
            let key2 = stage[j + 32u][d];
            let key3 = stage[j + 48u][d];
            let query0 = stage[i + 64u][d];
            s0_0 = s0_0 + query0.x * key0.x + query0.y * key0.y + query0.z * key0.z + query0.w * key0.w;
            s0_1 = s0_1 + query0.x * key1.x + query0.y * key1.y + query0.z * key1.z + query0.w * key1.w;
            s0_2 = s0_2 + query0.x * key2.x + query0.y * key2.y + query0.z * key2.z + query0.w * key2.w;
            s0_3 = s0_3 + query0.x * key3.x + query0.y * key3.y + query0.z * key3.z + query0.w * key3.w;
            let query1 = stage[i + 72u][d];
            s1_0 = s1_0 + query1.x * key0.x + query1.y * key0.y + query1.z * key0.z + query1.w * key0.w;
            s1_1 = s1_1 + query1.x * key1.x + query1.y * key1.y + query1.z * key1.z + query1.w * key1.w;
            s1_2 = s1_2 + query1.x * key2.x + query1.y * key2.y + query1.z * key2.z + query1.w * key2.w;
            s1_3 = s1_3 + query1.x * key3.x + query1.y * key3.y + query1.z * key3.z + query1.w * key3.w;
            let query2 = stage[i + 80u][d];
            s2_0 = s2_0 + query2.x * key0.x + query2.y * key0.y + query2.z * key0.z + query2.w * key0.w;
            s2_1 = s2_1 + query2.x * key1.x + query2.y * key1.y + query2.z * key1.z + query2.w * key1.w;
            s2_2 = s2_2 + query2.x * key2.x + query2.y * key2.y + query2.z * key2.z + query2.w * key2.w;
            s2_3 = s2_3 + query2.x * key3.x + query2.y * key3.y + query2.z * key3.z + query2.w * key3.w;
            let query3 = stage[i + 88u][d];
            s3_0 = s3_0 + query3.x * key0.x + query3.y * key0.y + query3.z * key0.z + query3.w * key0.w;
            s3_1 = s3_1 + query3.x * key1.x + query3.y * key1.y + query3.z * key1.z + query3.w * key1.w;
            s3_2 = s3_2 + query3.x * key2.x + query3.y * key2.y + query3.z * key2.z + query3.w * key2.w;
            s3_3 = s3_3 + query3.x * key3.x + query3.y * key3.y + query3.z * key3.z + query3.w * key3.w;
            let query4 = stage[i + 96u][d];
            s4_0 = s4_0 + query4.x * key0.x + query4.y * key0.y + query4.z * key0.z + query4.w * key0.w;
            s4_1 = s4_1 + query4.x * key1.x + query4.y * key1.y + query4.z * key1.z + query4.w * key1.w;
            s4_2 = s4_2 + query4.x * key2.x + query4.y * key2.y + query4.z * key2.z + query4.w * key2.w;
            s4_3 = s4_3 + query4.x * key3.x + query4.y * key3.y + query4.z * key3.z + query4.w * key3.w;
            let query5 = stage[i + 104u][d];
            s5_0 = s5_0 + query5.x * key0.x + query5.y * key0.y + query5.z * key0.z + query5.w * key0.w;
            s5_1 = s5_1 + query5.x * key1.x + query5.y * key1.y + query5.z * key1.z + query5.w * key1.w;
            s5_2 = s5_2 + query5.x * key2.x + query5.y * key2.y + query5.z * key2.z + query5.w * key2.w;
            s5_3 = s5_3 + query5.x * key3.x + query5.y * key3.y + query5.z * key3.z + query5.w * key3.w;
            let query6 = stage[i + 112u][d];
            s6_0 = s6_0 + query6.x * key0.x + query6.y * key0.y + query6.z * key0.z + query6.w * key0.w;
            s6_1 = s6_1 + query6.x * key1.x + query6.y * key1.y + query6.z * key1.z + query6.w * key1.w;
            s6_2 = s6_2 + query6.x * key2.x + query6.y * key2.y + query6.z * key2.z + query6.w * key2.w;
            s6_3 = s6_3 + query6.x * key3.x + query6.y * key3.y + query6.z * key3.z + query6.w * key3.w;
            let query7 = stage[i + 120u][d];
            s7_0 = s7_0 + query7.x * key0.x + query7.y * key0.y + query7.z * key0.z + query7.w * key0.w;
            s7_1 = s7_1 + query7.x * key1.x + query7.y * key1.y + query7.z * key1.z + query7.w * key1.w;
            s7_2 = s7_2 + query7.x * key2.x + query7.y * key2.y + query7.z * key2.z + query7.w * key2.w;
            s7_3 = s7_3 + query7.x * key3.x + query7.y * key3.y + query7.z * key3.z + query7.w * key3.w;
          }
        }
        let best0 = max(max(max(s0_0, s0_1), s0_2), s0_3);
        let best1 = max(max(max(s1_0, s1_1), s1_2), s1_3);
        let best2 = max(max(max(s2_0, s2_1), s2_2), s2_3);
        let best3 = max(max(max(s3_0, s3_1), s3_2), s3_3);
        let best4 = max(max(max(s4_0, s4_1), s4_2), s4_3);
        let best5 = max(max(max(s5_0, s5_1), s5_2), s5_3);
        let best6 = max(max(max(s6_0, s6_1), s6_2), s6_3);
        let best7 = max(max(max(s7_0, s7_1), s7_2), s7_3);
        partials[i][j] = best0;
        partials[i + 8u][j] = best1;
        partials[i + 16u][j] = best2;
        partials[i + 24u][j] = best3;
        partials[i + 32u][j] = best4;
        partials[i + 40u][j] = best5;
        partials[i + 48u][j] = best6;
        partials[i + 56u][j] = best7;
        workgroupBarrier();
        let row0 = max(max(max(max(max(max(max(max(max(max(max(max(max(max(max(partials[i][0u], partials[i][1u]), partials[i][2u]), partials[i][3u]), partials[i][4u]), partials[i][5u]), partials[i][6u]), partials[i][7u]), partials[i][8u]), partials[i][9u]), partials[i][10u]), partials[i][11u]), partials[i][12u]), partials[i][13u]), partials[i][14u]), partials[i][15u]);
        let row1 = max(max(max(max(max(max(max(max(max(max(max(max(max(max(max(partials[i + 8u][0u], partials[i + 8u][1u]), partials[i + 8u][2u]), partials[i + 8u][3u]), partials[i + 8u][4u]), partials[i + 8u][5u]), partials[i + 8u][6u]), partials[i + 8u][7u]), partials[i + 8u][8u]), partials[i + 8u][9u]), partials[i + 8u][10u]), partials[i + 8u][11u]), partials[i + 8u][12u]), partials[i + 8u][13u]), partials[i + 8u][14u]), partials[i + 8u][15u]);
        let row2 = max(max(max(max(max(max(max(max(max(max(max(max(max(max(max(partials[i + 16u][0u], partials[i + 16u][1u]), partials[i + 16u][2u]), partials[i + 16u][3u]), partials[i + 16u][4u]), partials[i + 16u][5u]), partials[i + 16u][6u]), partials[i + 16u][7u]), partials[i + 16u][8u]), partials[i + 16u][9u]), partials[i + 16u][10u]), partials[i + 16u][11u]), partials[i + 16u][12u]), partials[i + 16u][13u]), partials[i + 16u][14u]), partials[i + 16u][15u]);
        let row3 = max(max(max(max(max(max(max(max(max(max(max(max(max(max(max(partials[i + 24u][0u], partials[i + 24u][1u]), partials[i + 24u][2u]), partials[i + 24u][3u]), partials[i + 24u][4u]), partials[i + 24u][5u]), partials[i + 24u][6u]), partials[i + 24u][7u]), partials[i + 24u][8u]), partials[i + 24u][9u]), partials[i + 24u][10u]), partials[i + 24u][11u]), partials[i + 24u][12u]), partials[i + 24u][13u]), partials[i + 24u][14u]), partials[i + 24u][15u]);
        let row4 = max(max(max(max(max(max(max(max(max(max(max(max(max(max(max(partials[i + 32u][0u], partials[i + 32u][1u]), partials[i + 32u][2u]), partials[i + 32u][3u]), partials[i + 32u][4u]), partials[i + 32u][5u]), partials[i + 32u][6u]), partials[i + 32u][7u]), partials[i + 32u][8u]), partials[i + 32u][9u]), partials[i + 32u][10u]), partials[i + 32u][11u]), partials[i + 32u][12u]), partials[i + 32u][13u]), partials[i + 32u][14u]), partials[i + 32u][15u]);
        let row5 = max(max(max(max(max(max(max(max(max(max(max(max(max(max(max(partials[i + 40u][0u], partials[i + 40u][1u]), partials[i + 40u][2u]), partials[i + 40u][3u]), partials[i + 40u][4u]), partials[i + 40u][5u]), partials[i + 40u][6u]), partials[i + 40u][7u]), partials[i + 40u][8u]), partials[i + 40u][9u]), partials[i + 40u][10u]), partials[i + 40u][11u]), partials[i + 40u][12u]), partials[i + 40u][13u]), partials[i + 40u][14u]), partials[i + 40u][15u]);
        let row6 = max(max(max(max(max(max(max(max(max(max(max(max(max(max(max(partials[i + 48u][0u], partials[i + 48u][1u]), partials[i + 48u][2u]), partials[i + 48u][3u]), partials[i + 48u][4u]), partials[i + 48u][5u]), partials[i + 48u][6u]), partials[i + 48u][7u]), partials[i + 48u][8u]), partials[i + 48u][9u]), partials[i + 48u][10u]), partials[i + 48u][11u]), partials[i + 48u][12u]), partials[i + 48u][13u]), partials[i + 48u][14u]), partials[i + 48u][15u]);
        let row7 = max(max(max(max(max(max(max(max(max(max(max(max(max(max(max(partials[i + 56u][0u], partials[i + 56u][1u]), partials[i + 56u][2u]), partials[i + 56u][3u]), partials[i + 56u][4u]), partials[i + 56u][5u]), partials[i + 56u][6u]), partials[i + 56u][7u]), partials[i + 56u][8u]), partials[i + 56u][9u]), partials[i + 56u][10u]), partials[i + 56u][11u]), partials[i + 56u][12u]), partials[i + 56u][13u]), partials[i + 56u][14u]), partials[i + 56u][15u]);
        let top0 = max(rowMax0, row0);
        let shrink0 = exp2(rowMax0 - top0);
        rowMax0 = top0;
        let p0_0 = exp2(s0_0 - top0);
        let p0_1 = exp2(s0_1 - top0);
        let p0_2 = exp2(s0_2 - top0);
        let p0_3 = exp2(s0_3 - top0);
        rowSum0 = p0_0 + p0_1 + p0_2 + p0_3 + rowSum0 * shrink0;
        weights[i][j] = vec4f(p0_0, p0_1, p0_2, p0_3);
        out0_0 = out0_0 * shrink0;
        let top1 = max(rowMax1, row1);
        let shrink1 = exp2(rowMax1 - top1);
        rowMax1 = top1;
        let p1_0 = exp2(s1_0 - top1);
        let p1_1 = exp2(s1_1 - top1);
        let p1_2 = exp2(s1_2 - top1);
        let p1_3 = exp2(s1_3 - top1);
        rowSum1 = p1_0 + p1_1 + p1_2 + p1_3 + rowSum1 * shrink1;
        weights[i + 8u][j] = vec4f(p1_0, p1_1, p1_2, p1_3);
        out1_0 = out1_0 * shrink1;
        let top2 = max(rowMax2, row2);
        let shrink2 = exp2(rowMax2 - top2);
        rowMax2 = top2;
        let p2_0 = exp2(s2_0 - top2);
        let p2_1 = exp2(s2_1 - top2);
        let p2_2 = exp2(s2_2 - top2);
        let p2_3 = exp2(s2_3 - top2);
        rowSum2 = p2_0 + p2_1 + p2_2 + p2_3 + rowSum2 * shrink2;
        weights[i + 16u][j] = vec4f(p2_0, p2_1, p2_2, p2_3);
        out2_0 = out2_0 * shrink2;
        let top3 = max(rowMax3, row3);
        let shrink3 = exp2(rowMax3 - top3);
        rowMax3 = top3;
        let p3_0 = exp2(s3_0 - top3);
        let p3_1 = exp2(s3_1 - top3);
        let p3_2 = exp2(s3_2 - top3);
        let p3_3 = exp2(s3_3 - top3);
        rowSum3 = p3_0 + p3_1 + p3_2 + p3_3 + rowSum3 * shrink3;
        weights[i + 24u][j] = vec4f(p3_0, p3_1, p3_2, p3_3);
        out3_0 = out3_0 * shrink3;
        let top4 = max(rowMax4, row4);
        let shrink4 = exp2(rowMax4 - top4);
        rowMax4 = top4;
        let p4_0 = exp2(s4_0 - top4);
        let p4_1 = exp2(s4_1 - top4);
        let p4_2 = exp2(s4_2 - top4);
        let p4_3 = exp2(s4_3 - top4);
        rowSum4 = p4_0 + p4_1 + p4_2 + p4_3 + rowSum4 * shrink4;
        weights[i + 32u][j] = vec4f(p4_0, p4_1, p4_2, p4_3);
        out4_0 = out4_0 * shrink4;
        let top5 = max(rowMax5, row5);
        let shrink5 = exp2(rowMax5 - top5);
        rowMax5 = top5;
        let p5_0 = exp2(s5_0 - top5);
        let p5_1 = exp2(s5_1 - top5);
        let p5_2 = exp2(s5_2 - top5);
        let p5_3 = exp2(s5_3 - top5);
        rowSum5 = p5_0 + p5_1 + p5_2 + p5_3 + rowSum5 * shrink5;
        weights[i + 40u][j] = vec4f(p5_0, p5_1, p5_2, p5_3);
        out5_0 = out5_0 * shrink5;
        let top6 = max(rowMax6, row6);
        let shrink6 = exp2(rowMax6 - top6);
        rowMax6 = top6;
        let p6_0 = exp2(s6_0 - top6);
        let p6_1 = exp2(s6_1 - top6);
        let p6_2 = exp2(s6_2 - top6);
        let p6_3 = exp2(s6_3 - top6);
        rowSum6 = p6_0 + p6_1 + p6_2 + p6_3 + rowSum6 * shrink6;
        weights[i + 48u][j] = vec4f(p6_0, p6_1, p6_2, p6_3);
        out6_0 = out6_0 * shrink6;
        let top7 = max(rowMax7, row7);
        let shrink7 = exp2(rowMax7 - top7);
        rowMax7 = top7;
        let p7_0 = exp2(s7_0 - top7);
        let p7_1 = exp2(s7_1 - top7);
        let p7_2 = exp2(s7_2 - top7);
        let p7_3 = exp2(s7_3 - top7);
        rowSum7 = p7_0 + p7_1 + p7_2 + p7_3 + rowSum7 * shrink7;
        weights[i + 56u][j] = vec4f(p7_0, p7_1, p7_2, p7_3);
        out7_0 = out7_0 * shrink7;
        // load value tile
        let element = thread;
        let row = element / 16u;
        let vector = element % 16u;
        let loaded = unpackHalf4(vData[vStart + u32(kvStart + (kvLo + i32(row))) * vStride + vector]);
        let element_2 = thread + 128u;
        let row_2 = element_2 / 16u;
        let vector_2 = element_2 % 16u;
        let loaded_2 = unpackHalf4(vData[vStart + u32(kvStart + (kvLo + i32(row_2))) * vStride + vector_2]);
        let element_3 = thread + 256u;
        let row_3 = element_3 / 16u;
        let vector_3 = element_3 % 16u;
        let loaded_3 = unpackHalf4(vData[vStart + u32(kvStart + (kvLo + i32(row_3))) * vStride + vector_3]);
        let element_4 = thread + 384u;
        let row_4 = element_4 / 16u;
        let vector_4 = element_4 % 16u;
        let loaded_4 = unpackHalf4(vData[vStart + u32(kvStart + (kvLo + i32(row_4))) * vStride + vector_4]);
        let element_5 = thread + 512u;
        let row_5 = element_5 / 16u;
        let vector_5 = element_5 % 16u;
        let loaded_5 = unpackHalf4(vData[vStart + u32(kvStart + (kvLo + i32(row_5))) * vStride + vector_5]);
        let element_6 = thread + 640u;
        let row_6 = element_6 / 16u;
        let vector_6 = element_6 % 16u;
        let loaded_6 = unpackHalf4(vData[vStart + u32(kvStart + (kvLo + i32(row_6))) * vStride + vector_6]);
        let element_7 = thread + 768u;
        let row_7 = element_7 / 16u;
        let vector_7 = element_7 % 16u;
        let loaded_7 = unpackHalf4(vData[vStart + u32(kvStart + (kvLo + i32(row_7))) * vStride + vector_7]);
        let element_8 = thread + 896u;
        let row_8 = element_8 / 16u;
        let vector_8 = element_8 % 16u;
        let loaded_8 = unpackHalf4(vData[vStart + u32(kvStart + (kvLo + i32(row_8))) * vStride + vector_8]);
        workgroupBarrier();
        stage[row * 2u + vector / 8u][vector % 8u] = loaded;
        stage[row_2 * 2u + vector_2 / 8u][vector_2 % 8u] = loaded_2;
        stage[row_3 * 2u + vector_3 / 8u][vector_3 % 8u] = loaded_3;
        stage[row_4 * 2u + vector_4 / 8u][vector_4 % 8u] = loaded_4;
        stage[row_5 * 2u + vector_5 / 8u][vector_5 % 8u] = loaded_5;
        stage[row_6 * 2u + vector_6 / 8u][vector_6 % 8u] = loaded_6;
        stage[row_7 * 2u + vector_7 / 8u][vector_7 % 8u] = loaded_7;
        stage[row_8 * 2u + vector_8 / 8u][vector_8 % 8u] = loaded_8;
        workgroupBarrier();
        for (var four: u32 = 0u; four < 16u; four += 1u) {
          let weight0 = weights[i][four];
          let weight1 = weights[i + 8u][four];
          let weight2 = weights[i + 16u][four];
          let weight3 = weights[i + 24u][four];
          let weight4 = weights[i + 32u][four];
          let weight5 = weights[i + 40u][four];
          let weight6 = weights[i + 48u][four];
          let weight7 = weights[i + 56u][four];
          let base0 = four * 4u * 2u;
          let value0_0 = stage[base0 + j / 8u][j % 8u];
          out0_0 = out0_0 + weight0.x * value0_0;
          out1_0 = out1_0 + weight1.x * value0_0;
          out2_0 = out2_0 + weight2.x * value0_0;
          out3_0 = out3_0 + weight3.x * value0_0;
          out4_0 = out4_0 + weight4.x * value0_0;
          out5_0 = out5_0 + weight5.x * value0_0;
          out6_0 = out6_0 + weight6.x * value0_0;
          out7_0 = out7_0 + weight7.x * value0_0;
          let base1 = (four * 4u + 1u) * 2u;
          let value1_0 = stage[base1 + j / 8u][j % 8u];
          out0_0 = out0_0 + weight0.y * value1_0;
          out1_0 = out1_0 + weight1.y * value1_0;
          out2_0 = out2_0 + weight2.y * value1_0;
          out3_0 = out3_0 + weight3.y * value1_0;
          out4_0 = out4_0 + weight4.y * value1_0;
          out5_0 = out5_0 + weight5.y * value1_0;
          out6_0 = out6_0 + weight6.y * value1_0;
          out7_0 = out7_0 + weight7.y * value1_0;
          let base2 = (four * 4u + 2u) * 2u;
          let value2_0 = stage[base2 + j / 8u][j % 8u];
          out0_0 = out0_0 + weight0.z * value2_0;
          out1_0 = out1_0 + weight1.z * value2_0;
          out2_0 = out2_0 + weight2.z * value2_0;
          out3_0 = out3_0 + weight3.z * value2_0;
          out4_0 = out4_0 + weight4.z * value2_0;
          out5_0 = out5_0 + weight5.z * value2_0;
          out6_0 = out6_0 + weight6.z * value2_0;
          out7_0 = out7_0 + weight7.z * value2_0;
          let base3 = (four * 4u + 3u) * 2u;
          let value3_0 = stage[base3 + j / 8u][j % 8u];
          out0_0 = out0_0 + weight0.w * value3_0;
          out1_0 = out1_0 + weight1.w * value3_0;
          out2_0 = out2_0 + weight2.w * value3_0;
          out3_0 = out3_0 + weight3.w * value3_0;
          out4_0 = out4_0 + weight4.w * value3_0;
          out5_0 = out5_0 + weight5.w * value3_0;
          out6_0 = out6_0 + weight6.w * value3_0;
          out7_0 = out7_0 + weight7.w * value3_0;
        }
      } else {
        // partial tiles
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
        var s4_0: f32 = 0.0;
        var s4_1: f32 = 0.0;
        var s4_2: f32 = 0.0;
        var s4_3: f32 = 0.0;
        var s5_0: f32 = 0.0;
        var s5_1: f32 = 0.0;
        var s5_2: f32 = 0.0;
        var s5_3: f32 = 0.0;
        var s6_0: f32 = 0.0;
        var s6_1: f32 = 0.0;
        var s6_2: f32 = 0.0;
        var s6_3: f32 = 0.0;
        var s7_0: f32 = 0.0;
        var s7_1: f32 = 0.0;
        var s7_2: f32 = 0.0;
        var s7_3: f32 = 0.0;
        for (var chunk: u32 = 0u; chunk < 16u; chunk += 8u) {
          // load query tile and key tile
          let element = thread;
          let row = element / 8u;
          let vector = element % 8u;
          let column = chunk + vector;
          let there = kvLo + i32(row) < kvLen;
          let loaded = select(vec4f(0.0), unpackHalf4(kData[kStart + select(0u, u32(kvStart + (kvLo + i32(row))), there) * kStride + column]), there);
          let element_2 = thread + 128u;
          let row_2 = element_2 / 8u;
          let vector_2 = element_2 % 8u;
          let column_2 = chunk + vector_2;
          let there_2 = kvLo + i32(row_2) < kvLen;
          let loaded_2 = select(vec4f(0.0), unpackHalf4(kData[kStart + select(0u, u32(kvStart + (kvLo + i32(row_2))), there_2) * kStride + column_2]), there_2);
          let element_3 = thread + 256u;
          let row_3 = element_3 / 8u;
          let vector_3 = element_3 % 8u;
          let column_3 = chunk + vector_3;
          let there_3 = kvLo + i32(row_3) < kvLen;
          let loaded_3 = select(vec4f(0.0), unpackHalf4(kData[kStart + select(0u, u32(kvStart + (kvLo + i32(row_3))), there_3) * kStride + column_3]), there_3);
          let element_4 = thread + 384u;
          let row_4 = element_4 / 8u;
          let vector_4 = element_4 % 8u;
          let column_4 = chunk + vector_4;
          let there_4 = kvLo + i32(row_4) < kvLen;
          let loaded_4 = select(vec4f(0.0), unpackHalf4(kData[kStart + select(0u, u32(kvStart + (kvLo + i32(row_4))), there_4) * kStride + column_4]), there_4);
          let element_5 = thread;
          let row_5 = element_5 / 8u;
          let vector_5 = element_5 % 8u;
          let column_5 = chunk + vector_5;
          let there_5 = u32(firstRow) + row_5 < u32(u.qRows);
          let loaded_5 = select(vec4f(0.0), unpackHalf4(qData[qStart_2 + select(0u, u32(firstRow) + row_5, there_5) * qStride + column_5]), there_5) * queryScale;
          let element_6 = thread + 128u;
          let row_6 = element_6 / 8u;
          let vector_6 = element_6 % 8u;
          let column_6 = chunk + vector_6;
          let there_6 = u32(firstRow) + row_6 < u32(u.qRows);
          let loaded_6 = select(vec4f(0.0), unpackHalf4(qData[qStart_2 + select(0u, u32(firstRow) + row_6, there_6) * qStride + column_6]), there_6) * queryScale;
          let element_7 = thread + 256u;
          let row_7 = element_7 / 8u;
          let vector_7 = element_7 % 8u;
          let column_7 = chunk + vector_7;
          let there_7 = u32(firstRow) + row_7 < u32(u.qRows);
          let loaded_7 = select(vec4f(0.0), unpackHalf4(qData[qStart_2 + select(0u, u32(firstRow) + row_7, there_7) * qStride + column_7]), there_7) * queryScale;
          let element_8 = thread + 384u;
          let row_8 = element_8 / 8u;
          let vector_8 = element_8 % 8u;
          let column_8 = chunk + vector_8;
          let there_8 = u32(firstRow) + row_8 < u32(u.qRows);
          let loaded_8 = select(vec4f(0.0), unpackHalf4(qData[qStart_2 + select(0u, u32(firstRow) + row_8, there_8) * qStride + column_8]), there_8) * queryScale;
          workgroupBarrier();
          stage[row % 4u * 16u + row / 4u][vector] = loaded;
          stage[row_2 % 4u * 16u + row_2 / 4u][vector_2] = loaded_2;
          stage[row_3 % 4u * 16u + row_3 / 4u][vector_3] = loaded_3;
          stage[row_4 % 4u * 16u + row_4 / 4u][vector_4] = loaded_4;
          stage[row_5 + 64u][vector_5] = loaded_5;
          stage[row_6 + 64u][vector_6] = loaded_6;
          stage[row_7 + 64u][vector_7] = loaded_7;
          stage[row_8 + 64u][vector_8] = loaded_8;
          workgroupBarrier();
          for (var d: u32 = 0u; d < 8u; d += 1u) {
            let key0 = stage[j][d];
            let key1 = stage[j + 16u][d];
            let key2 = stage[j + 32u][d];
            let key3 = stage[j + 48u][d];
            let query0 = stage[i + 64u][d];
            s0_0 = s0_0 + query0.x * key0.x + query0.y * key0.y + query0.z * key0.z + query0.w * key0.w;
            s0_1 = s0_1 + query0.x * key1.x + query0.y * key1.y + query0.z * key1.z + query0.w * key1.w;
            s0_2 = s0_2 + query0.x * key2.x + query0.y * key2.y + query0.z * key2.z + query0.w * key2.w;
            s0_3 = s0_3 + query0.x * key3.x + query0.y * key3.y + query0.z * key3.z + query0.w * key3.w;
            let query1 = stage[i + 72u][d];
            s1_0 = s1_0 + query1.x * key0.x + query1.y * key0.y + query1.z * key0.z + query1.w * key0.w;
            s1_1 = s1_1 + query1.x * key1.x + query1.y * key1.y + query1.z * key1.z + query1.w * key1.w;
            s1_2 = s1_2 + query1.x * key2.x + query1.y * key2.y + query1.z * key2.z + query1.w * key2.w;
            s1_3 = s1_3 + query1.x * key3.x + query1.y * key3.y + query1.z * key3.z + query1.w * key3.w;
            let query2 = stage[i + 80u][d];
            s2_0 = s2_0 + query2.x * key0.x + query2.y * key0.y + query2.z * key0.z + query2.w * key0.w;
            s2_1 = s2_1 + query2.x * key1.x + query2.y * key1.y + query2.z * key1.z + query2.w * key1.w;
            s2_2 = s2_2 + query2.x * key2.x + query2.y * key2.y + query2.z * key2.z + query2.w * key2.w;
            s2_3 = s2_3 + query2.x * key3.x + query2.y * key3.y + query2.z * key3.z + query2.w * key3.w;
            let query3 = stage[i + 88u][d];
            s3_0 = s3_0 + query3.x * key0.x + query3.y * key0.y + query3.z * key0.z + query3.w * key0.w;
            s3_1 = s3_1 + query3.x * key1.x + query3.y * key1.y + query3.z * key1.z + query3.w * key1.w;
            s3_2 = s3_2 + query3.x * key2.x + query3.y * key2.y + query3.z * key2.z + query3.w * key2.w;
            s3_3 = s3_3 + query3.x * key3.x + query3.y * key3.y + query3.z * key3.z + query3.w * key3.w;
            let query4 = stage[i + 96u][d];
            s4_0 = s4_0 + query4.x * key0.x + query4.y * key0.y + query4.z * key0.z + query4.w * key0.w;
            s4_1 = s4_1 + query4.x * key1.x + query4.y * key1.y + query4.z * key1.z + query4.w * key1.w;
            s4_2 = s4_2 + query4.x * key2.x + query4.y * key2.y + query4.z * key2.z + query4.w * key2.w;
            s4_3 = s4_3 + query4.x * key3.x + query4.y * key3.y + query4.z * key3.z + query4.w * key3.w;
            let query5 = stage[i + 104u][d];
            s5_0 = s5_0 + query5.x * key0.x + query5.y * key0.y + query5.z * key0.z + query5.w * key0.w;
            s5_1 = s5_1 + query5.x * key1.x + query5.y * key1.y + query5.z * key1.z + query5.w * key1.w;
            s5_2 = s5_2 + query5.x * key2.x + query5.y * key2.y + query5.z * key2.z + query5.w * key2.w;
            s5_3 = s5_3 + query5.x * key3.x + query5.y * key3.y + query5.z * key3.z + query5.w * key3.w;
            let query6 = stage[i + 112u][d];
            s6_0 = s6_0 + query6.x * key0.x + query6.y * key0.y + query6.z * key0.z + query6.w * key0.w;
            s6_1 = s6_1 + query6.x * key1.x + query6.y * key1.y + query6.z * key1.z + query6.w * key1.w;
            s6_2 = s6_2 + query6.x * key2.x + query6.y * key2.y + query6.z * key2.z + query6.w * key2.w;
            s6_3 = s6_3 + query6.x * key3.x + query6.y * key3.y + query6.z * key3.z + query6.w * key3.w;
            let query7 = stage[i + 120u][d];
            s7_0 = s7_0 + query7.x * key0.x + query7.y * key0.y + query7.z * key0.z + query7.w * key0.w;
            s7_1 = s7_1 + query7.x * key1.x + query7.y * key1.y + query7.z * key1.z + query7.w * key1.w;
            s7_2 = s7_2 + query7.x * key2.x + query7.y * key2.y + query7.z * key2.z + query7.w * key2.w;
            s7_3 = s7_3 + query7.x * key3.x + query7.y * key3.y + query7.z * key3.z + query7.w * key3.w;
          }
        }
        // mask
        let q0 = min(max(firstRow + i32(i) + qShift, qLo), qHi);
        let q1 = min(max(firstRow + i32(i + 8u) + qShift, qLo), qHi);
        let q2 = min(max(firstRow + i32(i + 16u) + qShift, qLo), qHi);
        let q3 = min(max(firstRow + i32(i + 24u) + qShift, qLo), qHi);
        let q4 = min(max(firstRow + i32(i + 32u) + qShift, qLo), qHi);
        let q5 = min(max(firstRow + i32(i + 40u) + qShift, qLo), qHi);
        let q6 = min(max(firstRow + i32(i + 48u) + qShift, qLo), qHi);
        let q7 = min(max(firstRow + i32(i + 56u) + qShift, qLo), qHi);
        let kv0 = min(kvLo + i32(j) * 4, kvLen - 1);
        let kv1 = min(kvLo + (i32(j) * 4 + 1), kvLen - 1);
        let kv2 = min(kvLo + (i32(j) * 4 + 2), kvLen - 1);
        let kv3 = min(kvLo + (i32(j) * 4 + 3), kvLen - 1);
        let inside0 = kvLo + i32(j) * 4 < kvLen;
        let inside1 = kvLo + (i32(j) * 4 + 1) < kvLen;
        let inside2 = kvLo + (i32(j) * 4 + 2) < kvLen;
        let inside3 = kvLo + (i32(j) * 4 + 3) < kvLen;
        s0_0 = select(-3e+38, s0_0, inside0 & keeps(q0, kv0));
        s0_1 = select(-3e+38, s0_1, inside1 & keeps(q0, kv1));
        s0_2 = select(-3e+38, s0_2, inside2 & keeps(q0, kv2));
        s0_3 = select(-3e+38, s0_3, inside3 & keeps(q0, kv3));
        s1_0 = select(-3e+38, s1_0, inside0 & keeps(q1, kv0));
        s1_1 = select(-3e+38, s1_1, inside1 & keeps(q1, kv1));
        s1_2 = select(-3e+38, s1_2, inside2 & keeps(q1, kv2));
        s1_3 = select(-3e+38, s1_3, inside3 & keeps(q1, kv3));
        s2_0 = select(-3e+38, s2_0, inside0 & keeps(q2, kv0));
        s2_1 = select(-3e+38, s2_1, inside1 & keeps(q2, kv1));
        s2_2 = select(-3e+38, s2_2, inside2 & keeps(q2, kv2));
        s2_3 = select(-3e+38, s2_3, inside3 & keeps(q2, kv3));
        s3_0 = select(-3e+38, s3_0, inside0 & keeps(q3, kv0));
        s3_1 = select(-3e+38, s3_1, inside1 & keeps(q3, kv1));
        s3_2 = select(-3e+38, s3_2, inside2 & keeps(q3, kv2));
        s3_3 = select(-3e+38, s3_3, inside3 & keeps(q3, kv3));
        s4_0 = select(-3e+38, s4_0, inside0 & keeps(q4, kv0));
        s4_1 = select(-3e+38, s4_1, inside1 & keeps(q4, kv1));
        s4_2 = select(-3e+38, s4_2, inside2 & keeps(q4, kv2));
        s4_3 = select(-3e+38, s4_3, inside3 & keeps(q4, kv3));
        s5_0 = select(-3e+38, s5_0, inside0 & keeps(q5, kv0));
        s5_1 = select(-3e+38, s5_1, inside1 & keeps(q5, kv1));
        s5_2 = select(-3e+38, s5_2, inside2 & keeps(q5, kv2));
        s5_3 = select(-3e+38, s5_3, inside3 & keeps(q5, kv3));
        s6_0 = select(-3e+38, s6_0, inside0 & keeps(q6, kv0));
        s6_1 = select(-3e+38, s6_1, inside1 & keeps(q6, kv1));
        s6_2 = select(-3e+38, s6_2, inside2 & keeps(q6, kv2));
        s6_3 = select(-3e+38, s6_3, inside3 & keeps(q6, kv3));
        s7_0 = select(-3e+38, s7_0, inside0 & keeps(q7, kv0));
        s7_1 = select(-3e+38, s7_1, inside1 & keeps(q7, kv1));
        s7_2 = select(-3e+38, s7_2, inside2 & keeps(q7, kv2));
        s7_3 = select(-3e+38, s7_3, inside3 & keeps(q7, kv3));
        let best0 = max(max(max(s0_0, s0_1), s0_2), s0_3);
        let best1 = max(max(max(s1_0, s1_1), s1_2), s1_3);
        let best2 = max(max(max(s2_0, s2_1), s2_2), s2_3);
        let best3 = max(max(max(s3_0, s3_1), s3_2), s3_3);
        let best4 = max(max(max(s4_0, s4_1), s4_2), s4_3);
        let best5 = max(max(max(s5_0, s5_1), s5_2), s5_3);
        let best6 = max(max(max(s6_0, s6_1), s6_2), s6_3);
        let best7 = max(max(max(s7_0, s7_1), s7_2), s7_3);
        partials[i][j] = best0;
        partials[i + 8u][j] = best1;
        partials[i + 16u][j] = best2;
        partials[i + 24u][j] = best3;
        partials[i + 32u][j] = best4;
        partials[i + 40u][j] = best5;
        partials[i + 48u][j] = best6;
        partials[i + 56u][j] = best7;
        workgroupBarrier();
        let row0 = max(max(max(max(max(max(max(max(max(max(max(max(max(max(max(partials[i][0u], partials[i][1u]), partials[i][2u]), partials[i][3u]), partials[i][4u]), partials[i][5u]), partials[i][6u]), partials[i][7u]), partials[i][8u]), partials[i][9u]), partials[i][10u]), partials[i][11u]), partials[i][12u]), partials[i][13u]), partials[i][14u]), partials[i][15u]);
        let row1 = max(max(max(max(max(max(max(max(max(max(max(max(max(max(max(partials[i + 8u][0u], partials[i + 8u][1u]), partials[i + 8u][2u]), partials[i + 8u][3u]), partials[i + 8u][4u]), partials[i + 8u][5u]), partials[i + 8u][6u]), partials[i + 8u][7u]), partials[i + 8u][8u]), partials[i + 8u][9u]), partials[i + 8u][10u]), partials[i + 8u][11u]), partials[i + 8u][12u]), partials[i + 8u][13u]), partials[i + 8u][14u]), partials[i + 8u][15u]);
        let row2 = max(max(max(max(max(max(max(max(max(max(max(max(max(max(max(partials[i + 16u][0u], partials[i + 16u][1u]), partials[i + 16u][2u]), partials[i + 16u][3u]), partials[i + 16u][4u]), partials[i + 16u][5u]), partials[i + 16u][6u]), partials[i + 16u][7u]), partials[i + 16u][8u]), partials[i + 16u][9u]), partials[i + 16u][10u]), partials[i + 16u][11u]), partials[i + 16u][12u]), partials[i + 16u][13u]), partials[i + 16u][14u]), partials[i + 16u][15u]);
        let row3 = max(max(max(max(max(max(max(max(max(max(max(max(max(max(max(partials[i + 24u][0u], partials[i + 24u][1u]), partials[i + 24u][2u]), partials[i + 24u][3u]), partials[i + 24u][4u]), partials[i + 24u][5u]), partials[i + 24u][6u]), partials[i + 24u][7u]), partials[i + 24u][8u]), partials[i + 24u][9u]), partials[i + 24u][10u]), partials[i + 24u][11u]), partials[i + 24u][12u]), partials[i + 24u][13u]), partials[i + 24u][14u]), partials[i + 24u][15u]);
        let row4 = max(max(max(max(max(max(max(max(max(max(max(max(max(max(max(partials[i + 32u][0u], partials[i + 32u][1u]), partials[i + 32u][2u]), partials[i + 32u][3u]), partials[i + 32u][4u]), partials[i + 32u][5u]), partials[i + 32u][6u]), partials[i + 32u][7u]), partials[i + 32u][8u]), partials[i + 32u][9u]), partials[i + 32u][10u]), partials[i + 32u][11u]), partials[i + 32u][12u]), partials[i + 32u][13u]), partials[i + 32u][14u]), partials[i + 32u][15u]);
        let row5 = max(max(max(max(max(max(max(max(max(max(max(max(max(max(max(partials[i + 40u][0u], partials[i + 40u][1u]), partials[i + 40u][2u]), partials[i + 40u][3u]), partials[i + 40u][4u]), partials[i + 40u][5u]), partials[i + 40u][6u]), partials[i + 40u][7u]), partials[i + 40u][8u]), partials[i + 40u][9u]), partials[i + 40u][10u]), partials[i + 40u][11u]), partials[i + 40u][12u]), partials[i + 40u][13u]), partials[i + 40u][14u]), partials[i + 40u][15u]);
        let row6 = max(max(max(max(max(max(max(max(max(max(max(max(max(max(max(partials[i + 48u][0u], partials[i + 48u][1u]), partials[i + 48u][2u]), partials[i + 48u][3u]), partials[i + 48u][4u]), partials[i + 48u][5u]), partials[i + 48u][6u]), partials[i + 48u][7u]), partials[i + 48u][8u]), partials[i + 48u][9u]), partials[i + 48u][10u]), partials[i + 48u][11u]), partials[i + 48u][12u]), partials[i + 48u][13u]), partials[i + 48u][14u]), partials[i + 48u][15u]);
        let row7 = max(max(max(max(max(max(max(max(max(max(max(max(max(max(max(partials[i + 56u][0u], partials[i + 56u][1u]), partials[i + 56u][2u]), partials[i + 56u][3u]), partials[i + 56u][4u]), partials[i + 56u][5u]), partials[i + 56u][6u]), partials[i + 56u][7u]), partials[i + 56u][8u]), partials[i + 56u][9u]), partials[i + 56u][10u]), partials[i + 56u][11u]), partials[i + 56u][12u]), partials[i + 56u][13u]), partials[i + 56u][14u]), partials[i + 56u][15u]);
        let top0 = max(rowMax0, row0);
        let shrink0 = exp2(rowMax0 - top0);
        rowMax0 = top0;
        let p0_0 = select(exp2(s0_0 - top0), 0.0, s0_0 < -2.9e+38);
        let p0_1 = select(exp2(s0_1 - top0), 0.0, s0_1 < -2.9e+38);
        let p0_2 = select(exp2(s0_2 - top0), 0.0, s0_2 < -2.9e+38);
        let p0_3 = select(exp2(s0_3 - top0), 0.0, s0_3 < -2.9e+38);
        rowSum0 = p0_0 + p0_1 + p0_2 + p0_3 + rowSum0 * shrink0;
        weights[i][j] = vec4f(p0_0, p0_1, p0_2, p0_3);
        out0_0 = out0_0 * shrink0;
        let top1 = max(rowMax1, row1);
        let shrink1 = exp2(rowMax1 - top1);
        rowMax1 = top1;
        let p1_0 = select(exp2(s1_0 - top1), 0.0, s1_0 < -2.9e+38);
        let p1_1 = select(exp2(s1_1 - top1), 0.0, s1_1 < -2.9e+38);
        let p1_2 = select(exp2(s1_2 - top1), 0.0, s1_2 < -2.9e+38);
        let p1_3 = select(exp2(s1_3 - top1), 0.0, s1_3 < -2.9e+38);
        rowSum1 = p1_0 + p1_1 + p1_2 + p1_3 + rowSum1 * shrink1;
        weights[i + 8u][j] = vec4f(p1_0, p1_1, p1_2, p1_3);
        out1_0 = out1_0 * shrink1;
        let top2 = max(rowMax2, row2);
        let shrink2 = exp2(rowMax2 - top2);
        rowMax2 = top2;
        let p2_0 = select(exp2(s2_0 - top2), 0.0, s2_0 < -2.9e+38);
        let p2_1 = select(exp2(s2_1 - top2), 0.0, s2_1 < -2.9e+38);
        let p2_2 = select(exp2(s2_2 - top2), 0.0, s2_2 < -2.9e+38);
        let p2_3 = select(exp2(s2_3 - top2), 0.0, s2_3 < -2.9e+38);
        rowSum2 = p2_0 + p2_1 + p2_2 + p2_3 + rowSum2 * shrink2;
        weights[i + 16u][j] = vec4f(p2_0, p2_1, p2_2, p2_3);
        out2_0 = out2_0 * shrink2;
        let top3 = max(rowMax3, row3);
        let shrink3 = exp2(rowMax3 - top3);
        rowMax3 = top3;
        let p3_0 = select(exp2(s3_0 - top3), 0.0, s3_0 < -2.9e+38);
        let p3_1 = select(exp2(s3_1 - top3), 0.0, s3_1 < -2.9e+38);
        let p3_2 = select(exp2(s3_2 - top3), 0.0, s3_2 < -2.9e+38);
        let p3_3 = select(exp2(s3_3 - top3), 0.0, s3_3 < -2.9e+38);
        rowSum3 = p3_0 + p3_1 + p3_2 + p3_3 + rowSum3 * shrink3;
        weights[i + 24u][j] = vec4f(p3_0, p3_1, p3_2, p3_3);
        out3_0 = out3_0 * shrink3;
        let top4 = max(rowMax4, row4);
        let shrink4 = exp2(rowMax4 - top4);
        rowMax4 = top4;
        let p4_0 = select(exp2(s4_0 - top4), 0.0, s4_0 < -2.9e+38);
        let p4_1 = select(exp2(s4_1 - top4), 0.0, s4_1 < -2.9e+38);
        let p4_2 = select(exp2(s4_2 - top4), 0.0, s4_2 < -2.9e+38);
        let p4_3 = select(exp2(s4_3 - top4), 0.0, s4_3 < -2.9e+38);
        rowSum4 = p4_0 + p4_1 + p4_2 + p4_3 + rowSum4 * shrink4;
        weights[i + 32u][j] = vec4f(p4_0, p4_1, p4_2, p4_3);
        out4_0 = out4_0 * shrink4;
        let top5 = max(rowMax5, row5);
        let shrink5 = exp2(rowMax5 - top5);
        rowMax5 = top5;
        let p5_0 = select(exp2(s5_0 - top5), 0.0, s5_0 < -2.9e+38);
        let p5_1 = select(exp2(s5_1 - top5), 0.0, s5_1 < -2.9e+38);
        let p5_2 = select(exp2(s5_2 - top5), 0.0, s5_2 < -2.9e+38);
        let p5_3 = select(exp2(s5_3 - top5), 0.0, s5_3 < -2.9e+38);
        rowSum5 = p5_0 + p5_1 + p5_2 + p5_3 + rowSum5 * shrink5;
        weights[i + 40u][j] = vec4f(p5_0, p5_1, p5_2, p5_3);
        out5_0 = out5_0 * shrink5;
        let top6 = max(rowMax6, row6);
        let shrink6 = exp2(rowMax6 - top6);
        rowMax6 = top6;
        let p6_0 = select(exp2(s6_0 - top6), 0.0, s6_0 < -2.9e+38);
        let p6_1 = select(exp2(s6_1 - top6), 0.0, s6_1 < -2.9e+38);
        let p6_2 = select(exp2(s6_2 - top6), 0.0, s6_2 < -2.9e+38);
        let p6_3 = select(exp2(s6_3 - top6), 0.0, s6_3 < -2.9e+38);
        rowSum6 = p6_0 + p6_1 + p6_2 + p6_3 + rowSum6 * shrink6;
        weights[i + 48u][j] = vec4f(p6_0, p6_1, p6_2, p6_3);
        out6_0 = out6_0 * shrink6;
        let top7 = max(rowMax7, row7);
        let shrink7 = exp2(rowMax7 - top7);
        rowMax7 = top7;
        let p7_0 = select(exp2(s7_0 - top7), 0.0, s7_0 < -2.9e+38);
        let p7_1 = select(exp2(s7_1 - top7), 0.0, s7_1 < -2.9e+38);
        let p7_2 = select(exp2(s7_2 - top7), 0.0, s7_2 < -2.9e+38);
        let p7_3 = select(exp2(s7_3 - top7), 0.0, s7_3 < -2.9e+38);
        rowSum7 = p7_0 + p7_1 + p7_2 + p7_3 + rowSum7 * shrink7;
        weights[i + 56u][j] = vec4f(p7_0, p7_1, p7_2, p7_3);
        out7_0 = out7_0 * shrink7;
        // load value tile
        let chunkMark = u32(kvLo) + 1u;
        let element = thread;
        let row = element / 16u;
        let vector = element % 16u;
        let there = kvLo + i32(row) < kvLen;
        let loaded = select(vec4f(0.0), unpackHalf4(vData[vStart + select(0u, u32(kvStart + (kvLo + i32(row))), there) * vStride + vector]), there);
        let element_2 = thread + 128u;
        let row_2 = element_2 / 16u;
        let vector_2 = element_2 % 16u;
        let there_2 = kvLo + i32(row_2) < kvLen;
        let loaded_2 = select(vec4f(0.0), unpackHalf4(vData[vStart + select(0u, u32(kvStart + (kvLo + i32(row_2))), there_2) * vStride + vector_2]), there_2);
        let element_3 = thread + 256u;
        let row_3 = element_3 / 16u;
        let vector_3 = element_3 % 16u;
        let there_3 = kvLo + i32(row_3) < kvLen;
        let loaded_3 = select(vec4f(0.0), unpackHalf4(vData[vStart + select(0u, u32(kvStart + (kvLo + i32(row_3))), there_3) * vStride + vector_3]), there_3);
        let element_4 = thread + 384u;
        let row_4 = element_4 / 16u;
        let vector_4 = element_4 % 16u;
        let there_4 = kvLo + i32(row_4) < kvLen;
        let loaded_4 = select(vec4f(0.0), unpackHalf4(vData[vStart + select(0u, u32(kvStart + (kvLo + i32(row_4))), there_4) * vStride + vector_4]), there_4);
        let element_5 = thread + 512u;
        let row_5 = element_5 / 16u;
        let vector_5 = element_5 % 16u;
        let there_5 = kvLo + i32(row_5) < kvLen;
        let loaded_5 = select(vec4f(0.0), unpackHalf4(vData[vStart + select(0u, u32(kvStart + (kvLo + i32(row_5))), there_5) * vStride + vector_5]), there_5);
        let element_6 = thread + 640u;
        let row_6 = element_6 / 16u;
        let vector_6 = element_6 % 16u;
        let there_6 = kvLo + i32(row_6) < kvLen;
        let loaded_6 = select(vec4f(0.0), unpackHalf4(vData[vStart + select(0u, u32(kvStart + (kvLo + i32(row_6))), there_6) * vStride + vector_6]), there_6);
        let element_7 = thread + 768u;
        let row_7 = element_7 / 16u;
        let vector_7 = element_7 % 16u;
        let there_7 = kvLo + i32(row_7) < kvLen;
        let loaded_7 = select(vec4f(0.0), unpackHalf4(vData[vStart + select(0u, u32(kvStart + (kvLo + i32(row_7))), there_7) * vStride + vector_7]), there_7);
        let element_8 = thread + 896u;
        let row_8 = element_8 / 16u;
        let vector_8 = element_8 % 16u;
        let there_8 = kvLo + i32(row_8) < kvLen;
        let loaded_8 = select(vec4f(0.0), unpackHalf4(vData[vStart + select(0u, u32(kvStart + (kvLo + i32(row_8))), there_8) * vStride + vector_8]), there_8);
        workgroupBarrier();
        stage[row * 2u + vector / 8u][vector % 8u] = loaded;
        if (isWild4(loaded)) {
          atomicStore(&wildChunk, chunkMark);
        }
        stage[row_2 * 2u + vector_2 / 8u][vector_2 % 8u] = loaded_2;
        if (isWild4(loaded_2)) {
          atomicStore(&wildChunk, chunkMark);
        }
        stage[row_3 * 2u + vector_3 / 8u][vector_3 % 8u] = loaded_3;
        if (isWild4(loaded_3)) {
          atomicStore(&wildChunk, chunkMark);
        }
        stage[row_4 * 2u + vector_4 / 8u][vector_4 % 8u] = loaded_4;
        if (isWild4(loaded_4)) {
          atomicStore(&wildChunk, chunkMark);
        }
        stage[row_5 * 2u + vector_5 / 8u][vector_5 % 8u] = loaded_5;
        if (isWild4(loaded_5)) {
          atomicStore(&wildChunk, chunkMark);
        }
        stage[row_6 * 2u + vector_6 / 8u][vector_6 % 8u] = loaded_6;
        if (isWild4(loaded_6)) {
          atomicStore(&wildChunk, chunkMark);
        }
        stage[row_7 * 2u + vector_7 / 8u][vector_7 % 8u] = loaded_7;
        if (isWild4(loaded_7)) {
          atomicStore(&wildChunk, chunkMark);
        }
        stage[row_8 * 2u + vector_8 / 8u][vector_8 % 8u] = loaded_8;
        if (isWild4(loaded_8)) {
          atomicStore(&wildChunk, chunkMark);
        }
        workgroupBarrier();
        let tame = !(atomicLoad(&wildChunk) == chunkMark);
        if (tame) {
          for (var four: u32 = 0u; four < 16u; four += 1u) {
            let weight0 = weights[i][four];
            let weight1 = weights[i + 8u][four];
            let weight2 = weights[i + 16u][four];
            let weight3 = weights[i + 24u][four];
            let weight4 = weights[i + 32u][four];
            let weight5 = weights[i + 40u][four];
            let weight6 = weights[i + 48u][four];
            let weight7 = weights[i + 56u][four];
            let base0 = four * 4u * 2u;
            let value0_0 = stage[base0 + j / 8u][j % 8u];
            out0_0 = out0_0 + weight0.x * value0_0;
            out1_0 = out1_0 + weight1.x * value0_0;
            out2_0 = out2_0 + weight2.x * value0_0;
            out3_0 = out3_0 + weight3.x * value0_0;
            out4_0 = out4_0 + weight4.x * value0_0;
            out5_0 = out5_0 + weight5.x * value0_0;
            out6_0 = out6_0 + weight6.x * value0_0;
            out7_0 = out7_0 + weight7.x * value0_0;
            let base1 = (four * 4u + 1u) * 2u;
            let value1_0 = stage[base1 + j / 8u][j % 8u];
            out0_0 = out0_0 + weight0.y * value1_0;
            out1_0 = out1_0 + weight1.y * value1_0;
            out2_0 = out2_0 + weight2.y * value1_0;
            out3_0 = out3_0 + weight3.y * value1_0;
            out4_0 = out4_0 + weight4.y * value1_0;
            out5_0 = out5_0 + weight5.y * value1_0;
            out6_0 = out6_0 + weight6.y * value1_0;
            out7_0 = out7_0 + weight7.y * value1_0;
            let base2 = (four * 4u + 2u) * 2u;
            let value2_0 = stage[base2 + j / 8u][j % 8u];
            out0_0 = out0_0 + weight0.z * value2_0;
            out1_0 = out1_0 + weight1.z * value2_0;
            out2_0 = out2_0 + weight2.z * value2_0;
            out3_0 = out3_0 + weight3.z * value2_0;
            out4_0 = out4_0 + weight4.z * value2_0;
            out5_0 = out5_0 + weight5.z * value2_0;
            out6_0 = out6_0 + weight6.z * value2_0;
            out7_0 = out7_0 + weight7.z * value2_0;
            let base3 = (four * 4u + 3u) * 2u;
            let value3_0 = stage[base3 + j / 8u][j % 8u];
            out0_0 = out0_0 + weight0.w * value3_0;
            out1_0 = out1_0 + weight1.w * value3_0;
            out2_0 = out2_0 + weight2.w * value3_0;
            out3_0 = out3_0 + weight3.w * value3_0;
            out4_0 = out4_0 + weight4.w * value3_0;
            out5_0 = out5_0 + weight5.w * value3_0;
            out6_0 = out6_0 + weight6.w * value3_0;
            out7_0 = out7_0 + weight7.w * value3_0;
          }
        } else {
          // values of masked keys are replaced
          for (var four: u32 = 0u; four < 16u; four += 1u) {
            let weight0 = weights[i][four];
            let weight1 = weights[i + 8u][four];
            let weight2 = weights[i + 16u][four];
            let weight3 = weights[i + 24u][four];
            let weight4 = weights[i + 32u][four];
            let weight5 = weights[i + 40u][four];
            let weight6 = weights[i + 48u][four];
            let weight7 = weights[i + 56u][four];
            let base0 = four * 4u * 2u;
            let value0_0 = stage[base0 + j / 8u][j % 8u];
            out0_0 = out0_0 + weight0.x * select(vec4f(0.0), value0_0, 0.0 < weight0.x);
            out1_0 = out1_0 + weight1.x * select(vec4f(0.0), value0_0, 0.0 < weight1.x);
            out2_0 = out2_0 + weight2.x * select(vec4f(0.0), value0_0, 0.0 < weight2.x);
            out3_0 = out3_0 + weight3.x * select(vec4f(0.0), value0_0, 0.0 < weight3.x);
            out4_0 = out4_0 + weight4.x * select(vec4f(0.0), value0_0, 0.0 < weight4.x);
            out5_0 = out5_0 + weight5.x * select(vec4f(0.0), value0_0, 0.0 < weight5.x);
            out6_0 = out6_0 + weight6.x * select(vec4f(0.0), value0_0, 0.0 < weight6.x);
            out7_0 = out7_0 + weight7.x * select(vec4f(0.0), value0_0, 0.0 < weight7.x);
            let base1 = (four * 4u + 1u) * 2u;
            let value1_0 = stage[base1 + j / 8u][j % 8u];
            out0_0 = out0_0 + weight0.y * select(vec4f(0.0), value1_0, 0.0 < weight0.y);
            out1_0 = out1_0 + weight1.y * select(vec4f(0.0), value1_0, 0.0 < weight1.y);
            out2_0 = out2_0 + weight2.y * select(vec4f(0.0), value1_0, 0.0 < weight2.y);
            out3_0 = out3_0 + weight3.y * select(vec4f(0.0), value1_0, 0.0 < weight3.y);
            out4_0 = out4_0 + weight4.y * select(vec4f(0.0), value1_0, 0.0 < weight4.y);
            out5_0 = out5_0 + weight5.y * select(vec4f(0.0), value1_0, 0.0 < weight5.y);
            out6_0 = out6_0 + weight6.y * select(vec4f(0.0), value1_0, 0.0 < weight6.y);
            out7_0 = out7_0 + weight7.y * select(vec4f(0.0), value1_0, 0.0 < weight7.y);
            let base2 = (four * 4u + 2u) * 2u;
            let value2_0 = stage[base2 + j / 8u][j % 8u];
            out0_0 = out0_0 + weight0.z * select(vec4f(0.0), value2_0, 0.0 < weight0.z);
            out1_0 = out1_0 + weight1.z * select(vec4f(0.0), value2_0, 0.0 < weight1.z);
            out2_0 = out2_0 + weight2.z * select(vec4f(0.0), value2_0, 0.0 < weight2.z);
            out3_0 = out3_0 + weight3.z * select(vec4f(0.0), value2_0, 0.0 < weight3.z);
            out4_0 = out4_0 + weight4.z * select(vec4f(0.0), value2_0, 0.0 < weight4.z);
            out5_0 = out5_0 + weight5.z * select(vec4f(0.0), value2_0, 0.0 < weight5.z);
            out6_0 = out6_0 + weight6.z * select(vec4f(0.0), value2_0, 0.0 < weight6.z);
            out7_0 = out7_0 + weight7.z * select(vec4f(0.0), value2_0, 0.0 < weight7.z);
            let base3 = (four * 4u + 3u) * 2u;
            let value3_0 = stage[base3 + j / 8u][j % 8u];
            out0_0 = out0_0 + weight0.w * select(vec4f(0.0), value3_0, 0.0 < weight0.w);
            out1_0 = out1_0 + weight1.w * select(vec4f(0.0), value3_0, 0.0 < weight1.w);
            out2_0 = out2_0 + weight2.w * select(vec4f(0.0), value3_0, 0.0 < weight2.w);
            out3_0 = out3_0 + weight3.w * select(vec4f(0.0), value3_0, 0.0 < weight3.w);
            out4_0 = out4_0 + weight4.w * select(vec4f(0.0), value3_0, 0.0 < weight4.w);
            out5_0 = out5_0 + weight5.w * select(vec4f(0.0), value3_0, 0.0 < weight5.w);
            out6_0 = out6_0 + weight6.w * select(vec4f(0.0), value3_0, 0.0 < weight6.w);
            out7_0 = out7_0 + weight7.w * select(vec4f(0.0), value3_0, 0.0 < weight7.w);
          }
        }
      }
      tile = tile + 1;
    }
  }
  // epilogue
  let outStart = (ownBatch * u.outBatchStride + ownHead * u.outHeadStride) / 4u;
  let outStride = u.outRowStride / 4u;
  partials[i][j] = rowSum0;
  partials[i + 8u][j] = rowSum1;
  partials[i + 16u][j] = rowSum2;
  partials[i + 24u][j] = rowSum3;
  partials[i + 32u][j] = rowSum4;
  partials[i + 40u][j] = rowSum5;
  partials[i + 48u][j] = rowSum6;
  partials[i + 56u][j] = rowSum7;
  workgroupBarrier();
  let row0 = partials[i][0u] + partials[i][1u] + partials[i][2u] + partials[i][3u] + partials[i][4u] + partials[i][5u] + partials[i][6u] + partials[i][7u] + partials[i][8u] + partials[i][9u] + partials[i][10u] + partials[i][11u] + partials[i][12u] + partials[i][13u] + partials[i][14u] + partials[i][15u];
  let row1 = partials[i + 8u][0u] + partials[i + 8u][1u] + partials[i + 8u][2u] + partials[i + 8u][3u] + partials[i + 8u][4u] + partials[i + 8u][5u] + partials[i + 8u][6u] + partials[i + 8u][7u] + partials[i + 8u][8u] + partials[i + 8u][9u] + partials[i + 8u][10u] + partials[i + 8u][11u] + partials[i + 8u][12u] + partials[i + 8u][13u] + partials[i + 8u][14u] + partials[i + 8u][15u];
  let row2 = partials[i + 16u][0u] + partials[i + 16u][1u] + partials[i + 16u][2u] + partials[i + 16u][3u] + partials[i + 16u][4u] + partials[i + 16u][5u] + partials[i + 16u][6u] + partials[i + 16u][7u] + partials[i + 16u][8u] + partials[i + 16u][9u] + partials[i + 16u][10u] + partials[i + 16u][11u] + partials[i + 16u][12u] + partials[i + 16u][13u] + partials[i + 16u][14u] + partials[i + 16u][15u];
  let row3 = partials[i + 24u][0u] + partials[i + 24u][1u] + partials[i + 24u][2u] + partials[i + 24u][3u] + partials[i + 24u][4u] + partials[i + 24u][5u] + partials[i + 24u][6u] + partials[i + 24u][7u] + partials[i + 24u][8u] + partials[i + 24u][9u] + partials[i + 24u][10u] + partials[i + 24u][11u] + partials[i + 24u][12u] + partials[i + 24u][13u] + partials[i + 24u][14u] + partials[i + 24u][15u];
  let row4 = partials[i + 32u][0u] + partials[i + 32u][1u] + partials[i + 32u][2u] + partials[i + 32u][3u] + partials[i + 32u][4u] + partials[i + 32u][5u] + partials[i + 32u][6u] + partials[i + 32u][7u] + partials[i + 32u][8u] + partials[i + 32u][9u] + partials[i + 32u][10u] + partials[i + 32u][11u] + partials[i + 32u][12u] + partials[i + 32u][13u] + partials[i + 32u][14u] + partials[i + 32u][15u];
  let row5 = partials[i + 40u][0u] + partials[i + 40u][1u] + partials[i + 40u][2u] + partials[i + 40u][3u] + partials[i + 40u][4u] + partials[i + 40u][5u] + partials[i + 40u][6u] + partials[i + 40u][7u] + partials[i + 40u][8u] + partials[i + 40u][9u] + partials[i + 40u][10u] + partials[i + 40u][11u] + partials[i + 40u][12u] + partials[i + 40u][13u] + partials[i + 40u][14u] + partials[i + 40u][15u];
  let row6 = partials[i + 48u][0u] + partials[i + 48u][1u] + partials[i + 48u][2u] + partials[i + 48u][3u] + partials[i + 48u][4u] + partials[i + 48u][5u] + partials[i + 48u][6u] + partials[i + 48u][7u] + partials[i + 48u][8u] + partials[i + 48u][9u] + partials[i + 48u][10u] + partials[i + 48u][11u] + partials[i + 48u][12u] + partials[i + 48u][13u] + partials[i + 48u][14u] + partials[i + 48u][15u];
  let row7 = partials[i + 56u][0u] + partials[i + 56u][1u] + partials[i + 56u][2u] + partials[i + 56u][3u] + partials[i + 56u][4u] + partials[i + 56u][5u] + partials[i + 56u][6u] + partials[i + 56u][7u] + partials[i + 56u][8u] + partials[i + 56u][9u] + partials[i + 56u][10u] + partials[i + 56u][11u] + partials[i + 56u][12u] + partials[i + 56u][13u] + partials[i + 56u][14u] + partials[i + 56u][15u];
  let lseStart = (batch * u.qHeads + head) * u.qRows;
  let row0_2 = firstRow + i32(i);
  if (row0_2 < u.qRows) {
    let some = (realLo <= row0_2) & (row0_2 <= realHi) & (0.0 < row0);
    let factor = 1.0 / select(1.0, row0, some);
    outData[outStart + u32(row0_2) * outStride + j] = packHalf4(select(vec4f(0.0), out0_0 * factor, some));
    if (j == 0u) {
      if (some) {
        lseData[u32(lseStart + row0_2)] = bitcast<u32>((rowMax0 + log2OrLow(row0)) * 0.6931472);
      } else {
        lseData[u32(lseStart + row0_2)] = 4286578688u;
      }
    }
  }
  let row1_2 = firstRow + i32(i + 8u);
  if (row1_2 < u.qRows) {
    let some = (realLo <= row1_2) & (row1_2 <= realHi) & (0.0 < row1);
    let factor = 1.0 / select(1.0, row1, some);
    outData[outStart + u32(row1_2) * outStride + j] = packHalf4(select(vec4f(0.0), out1_0 * factor, some));
    if (j == 0u) {
      if (some) {
        lseData[u32(lseStart + row1_2)] = bitcast<u32>((rowMax1 + log2OrLow(row1)) * 0.6931472);
      } else {
        lseData[u32(lseStart + row1_2)] = 4286578688u;
      }
    }
  }
  let row2_2 = firstRow + i32(i + 16u);
  if (row2_2 < u.qRows) {
    let some = (realLo <= row2_2) & (row2_2 <= realHi) & (0.0 < row2);
    let factor = 1.0 / select(1.0, row2, some);
    outData[outStart + u32(row2_2) * outStride + j] = packHalf4(select(vec4f(0.0), out2_0 * factor, some));
    if (j == 0u) {
      if (some) {
        lseData[u32(lseStart + row2_2)] = bitcast<u32>((rowMax2 + log2OrLow(row2)) * 0.6931472);
      } else {
        lseData[u32(lseStart + row2_2)] = 4286578688u;
      }
    }
  }
  let row3_2 = firstRow + i32(i + 24u);
  if (row3_2 < u.qRows) {
    let some = (realLo <= row3_2) & (row3_2 <= realHi) & (0.0 < row3);
    let factor = 1.0 / select(1.0, row3, some);
    outData[outStart + u32(row3_2) * outStride + j] = packHalf4(select(vec4f(0.0), out3_0 * factor, some));
    if (j == 0u) {
      if (some) {
        lseData[u32(lseStart + row3_2)] = bitcast<u32>((rowMax3 + log2OrLow(row3)) * 0.6931472);
      } else {
        lseData[u32(lseStart + row3_2)] = 4286578688u;
      }
    }
  }
  let row4_2 = firstRow + i32(i + 32u);
  if (row4_2 < u.qRows) {
    let some = (realLo <= row4_2) & (row4_2 <= realHi) & (0.0 < row4);
    let factor = 1.0 / select(1.0, row4, some);
    outData[outStart + u32(row4_2) * outStride + j] = packHalf4(select(vec4f(0.0), out4_0 * factor, some));
    if (j == 0u) {
      if (some) {
        lseData[u32(lseStart + row4_2)] = bitcast<u32>((rowMax4 + log2OrLow(row4)) * 0.6931472);
      } else {
        lseData[u32(lseStart + row4_2)] = 4286578688u;
      }
    }
  }
  let row5_2 = firstRow + i32(i + 40u);
  if (row5_2 < u.qRows) {
    let some = (realLo <= row5_2) & (row5_2 <= realHi) & (0.0 < row5);
    let factor = 1.0 / select(1.0, row5, some);
    outData[outStart + u32(row5_2) * outStride + j] = packHalf4(select(vec4f(0.0), out5_0 * factor, some));
    if (j == 0u) {
      if (some) {
        lseData[u32(lseStart + row5_2)] = bitcast<u32>((rowMax5 + log2OrLow(row5)) * 0.6931472);
      } else {
        lseData[u32(lseStart + row5_2)] = 4286578688u;
      }
    }
  }
  let row6_2 = firstRow + i32(i + 48u);
  if (row6_2 < u.qRows) {
    let some = (realLo <= row6_2) & (row6_2 <= realHi) & (0.0 < row6);
    let factor = 1.0 / select(1.0, row6, some);
    outData[outStart + u32(row6_2) * outStride + j] = packHalf4(select(vec4f(0.0), out6_0 * factor, some));
    if (j == 0u) {
      if (some) {
        lseData[u32(lseStart + row6_2)] = bitcast<u32>((rowMax6 + log2OrLow(row6)) * 0.6931472);
      } else {
        lseData[u32(lseStart + row6_2)] = 4286578688u;
      }
    }
  }
  let row7_2 = firstRow + i32(i + 56u);
  if (row7_2 < u.qRows) {
    let some = (realLo <= row7_2) & (row7_2 <= realHi) & (0.0 < row7);
    let factor = 1.0 / select(1.0, row7, some);
    outData[outStart + u32(row7_2) * outStride + j] = packHalf4(select(vec4f(0.0), out7_0 * factor, some));
    if (j == 0u) {
      if (some) {
        lseData[u32(lseStart + row7_2)] = bitcast<u32>((rowMax7 + log2OrLow(row7)) * 0.6931472);
      } else {
        lseData[u32(lseStart + row7_2)] = 4286578688u;
      }
    }
  }
}
