// minference-block: rows3
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
  k_most: i32,
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

fn poolRows3(batch: i32, at: i32, place: i32, channel: i32) -> f32 {
  var total: f32 = 0.0;
  var count: f32 = 0.0;
  for (var member: i32 = max((((u.kvRows - u.qRows) >> 6u) + place) * 64 - (u.kvRows - u.qRows), 0); member < min((((u.kvRows - u.qRows) >> 6u) + place) * 64 - (u.kvRows - u.qRows) + 64, u.qRows); member += 1) {
    total = total + input0(batch, at, member, channel);
    count = count + 1.0;
  }
  return select(0.0, total, 0.0 < count);
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
  rows3[((batch * u.qHeads + sharer) * (((u.kvRows + 63) >> 6u) - ((u.kvRows - u.qRows) >> 6u)) + row) * 64 + element] = poolRows3(batch, sharer, row, element);
}

// minference-block: rows3
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
  k_most: i32,
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
    for (var member: i32 = max((((u.kvRows - u.qRows) >> 6u) + row) * 64 - (u.kvRows - u.qRows), 0); member < min((((u.kvRows - u.qRows) >> 6u) + row) * 64 - (u.kvRows - u.qRows) + 64, u.qRows); member += 1) {
      let word = QData[(u32(batch) * u.qBatchStride + u32(sharer) * u.qHeadStride + u32(member) * u.qRowStride) / 2u + u32(pair_2)];
      total = total + unpack2x16float(word)[0u];
      total_2 = total_2 + unpack2x16float(word)[1u];
      count = count + 1.0;
    }
    let first = ((batch * u.qHeads + sharer) * (((u.kvRows + 63) >> 6u) - ((u.kvRows - u.qRows) >> 6u)) + row) * 64 + pair_2 * 2;
    rows3[first] = select(0.0, total, 0.0 < count);
    rows3[first + 1] = select(0.0, total_2, 0.0 < count);
  }
}

// minference-block: rows4
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
  k_most: i32,
}

@group(0) @binding(0) var<uniform> u: Uniforms;
@group(0) @binding(1) var<storage, read_write> rows4: array<f32>;
@group(0) @binding(2) var<storage, read> KData: array<u32>;

fn floorDiv(a: i32, b: i32) -> i32 {
  let sign = a >> 31u;
  return ((a ^ sign) / b) ^ sign;
}

fn input1(batch: i32, at: i32, place: i32, channel: i32) -> f32 {
  return unpack2x16float(KData[(u32(batch) * u.kBatchStride + u32(at) * u.kHeadStride + u32(place) * u.kRowStride + u32(channel)) / 2u])[(u32(batch) * u.kBatchStride + u32(at) * u.kHeadStride + u32(place) * u.kRowStride + u32(channel)) % 2u];
}

fn poolRows4(batch: i32, at: i32, place: i32, channel: i32) -> f32 {
  var total: f32 = 0.0;
  var count: f32 = 0.0;
  for (var member: i32 = max((0 + place) * 64, 0); member < min((0 + place) * 64 + 64, u.kvRows); member += 1) {
    total = total + input1(batch, at, member, channel);
    count = count + 1.0;
  }
  return select(0.0, total, 0.0 < count);
}

@compute @workgroup_size(64)
fn run(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = (group.x + group.y * u.gridX) * 64u + thread;
  let inner = u32(64);
  if (u32(u.batches * u.kvHeads * u.unitCount) * inner <= index) {
    return;
  }
  let element = i32(index % inner);
  let number = i32(index / inner);
  let row = u.unitBase + number % u.unitCount;
  let pair = number / u.unitCount;
  let sharer = pair % u.kvHeads;
  let batch = pair / u.kvHeads;
  rows4[((batch * u.kvHeads + sharer) * ((u.kvRows + 63) >> 6u) + row) * 64 + element] = poolRows4(batch, sharer, row, element);
}

// minference-block: rows4
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
  k_most: i32,
}

@group(0) @binding(0) var<uniform> u: Uniforms;
@group(0) @binding(1) var<storage, read_write> rows4: array<f32>;
@group(0) @binding(2) var<storage, read> KData: array<u32>;

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
  let sharer = pair % u.kvHeads;
  let batch = pair / u.kvHeads;
  let firstRow = above % u.unitCount;
  let firstColumn = number % across * 128;
  let row = u.unitBase + firstRow;
  let pair_2 = firstColumn / 2 + i32(thread);
  if (pair_2 < 32) {
    var total: f32 = 0.0;
    var total_2: f32 = 0.0;
    var count: f32 = 0.0;
    for (var member: i32 = max((0 + row) * 64, 0); member < min((0 + row) * 64 + 64, u.kvRows); member += 1) {
      let word = KData[(u32(batch) * u.kBatchStride + u32(sharer) * u.kHeadStride + u32(member) * u.kRowStride) / 2u + u32(pair_2)];
      total = total + unpack2x16float(word)[0u];
      total_2 = total_2 + unpack2x16float(word)[1u];
      count = count + 1.0;
    }
    let first = ((batch * u.kvHeads + sharer) * ((u.kvRows + 63) >> 6u) + row) * 64 + pair_2 * 2;
    rows4[first] = select(0.0, total, 0.0 < count);
    rows4[first + 1] = select(0.0, total_2, 0.0 < count);
  }
}

// minference-block: scores5
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
  k_most: i32,
}

@group(0) @binding(0) var<uniform> u: Uniforms;
@group(0) @binding(1) var<storage, read_write> scores5: array<f32>;
@group(0) @binding(2) var<storage, read> rows3: array<f32>;
@group(0) @binding(3) var<storage, read> rows4: array<f32>;

var<workgroup> panels: array<u32, 2080>;

fn floorDiv(a: i32, b: i32) -> i32 {
  let sign = a >> 31u;
  return ((a ^ sign) / b) ^ sign;
}

fn seesSome_head(batch: i32, at: i32, qLo: i32, qHi: i32, kvLo: i32, kvHi: i32) -> bool {
  let reached = (0 <= kvHi) & (kvLo <= min(u.kvRows - 1, qHi)) & (0 <= min(u.kvRows - 1, qHi));
  return reached;
}

fn seesAll_head(batch: i32, at: i32, qLo: i32, qHi: i32, kvLo: i32, kvHi: i32) -> bool {
  let reached = (max(0, qLo + 1) <= kvHi) & (kvLo <= u.kvRows - 1) & (max(0, qLo + 1) <= u.kvRows - 1);
  return !reached;
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
  let columns = (u.kvRows + 63) >> 6u;
  let across = (columns + 63) / 64;
  let down = (u.unitCount + 63) / 64;
  let number = i32(own);
  let above = number / across;
  let pair = above / down;
  let sharer = pair % u.qHeads;
  let batch = pair / u.qHeads;
  let firstRow = above % down * 64;
  let firstColumn = number % across * 64;
  let top = u.unitBase + firstRow;
  let end = u.unitBase + u.unitCount;
  var hiddenBits: u32 = 4286578688u;
  let place = max(min(top, ((u.kvRows + 63) >> 6u) - ((u.kvRows - u.qRows) >> 6u) - 1), 0);
  let place_2 = max(min(top + 63, ((u.kvRows + 63) >> 6u) - ((u.kvRows - u.qRows) >> 6u) - 1), 0);
  let place_3 = max(min(firstColumn, ((u.kvRows + 63) >> 6u) - 1), 0);
  let place_4 = max(min(firstColumn + 63, ((u.kvRows + 63) >> 6u) - 1), 0);
  let some = seesSome_head(batch, sharer, u.kvRows - u.qRows + max((((u.kvRows - u.qRows) >> 6u) + place) * 64 - (u.kvRows - u.qRows), 0), u.kvRows - u.qRows + (min((((u.kvRows - u.qRows) >> 6u) + place_2) * 64 - (u.kvRows - u.qRows) + 64, u.qRows) - 1), max((0 + place_3) * 64, 0), min((0 + place_4) * 64 + 64, u.kvRows) - 1);
  let all_2 = seesAll_head(batch, sharer, u.kvRows - u.qRows + max((((u.kvRows - u.qRows) >> 6u) + place) * 64 - (u.kvRows - u.qRows), 0), u.kvRows - u.qRows + (min((((u.kvRows - u.qRows) >> 6u) + place_2) * 64 - (u.kvRows - u.qRows) + 64, u.qRows) - 1), max((0 + place_3) * 64, 0), min((0 + place_4) * 64 + 64, u.kvRows) - 1);
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
          let there = (u.unitBase <= top + row) & (top + row < end);
          let element = u32(((batch * u.qHeads + sharer) * (((u.kvRows + 63) >> 6u) - ((u.kvRows - u.qRows) >> 6u)) + (top + row)) * 64 + channel);
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
          let there = firstColumn + row < columns;
          let element = u32(((batch * u.kvHeads + sharer / (u.qHeads / u.kvHeads)) * ((u.kvRows + 63) >> 6u) + (firstColumn + row)) * 64 + channel);
          var panelValue = 0.0;
          if (there & (channel < 64)) {
            let panelElement = element;
            panelValue = rows4[panelElement];
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
    let whole = all_2 & ((u.unitBase <= top) & (top + 63 < end) & (firstColumn + 63 < columns));
    if (whole) {
      for (var cell = 0; cell < 16; cell++) {
        let row = i32(thread) / 16 + cell / 4 * 16;
        let column = i32(thread) % 16 + cell % 4 * 16;
        let product = sums[cell / 4][cell % 4];
        var bits: u32 = 4286578688u;
        if (true) {
          bits = bitcast<u32>(product);
        }
        scores5[((batch * u.qHeads + sharer) * u.unitCount + (top + row - u.unitBase)) * ((u.kvRows + 63) >> 6u) + (firstColumn + column)] = bitcast<f32>(bits);
      }
    } else {
      for (var cell = 0; cell < 16; cell++) {
        let row = i32(thread) / 16 + cell / 4 * 16;
        let column = i32(thread) % 16 + cell % 4 * 16;
        if ((u.unitBase <= top + row) & (top + row < end) & (firstColumn + column < columns)) {
          let sees = all_2 | seesSome_head(batch, sharer, u.kvRows - u.qRows + max((((u.kvRows - u.qRows) >> 6u) + (top + row)) * 64 - (u.kvRows - u.qRows), 0), u.kvRows - u.qRows + (min((((u.kvRows - u.qRows) >> 6u) + (top + row)) * 64 - (u.kvRows - u.qRows) + 64, u.qRows) - 1), max((0 + (firstColumn + column)) * 64, 0), min((0 + (firstColumn + column)) * 64 + 64, u.kvRows) - 1);
          let product = sums[cell / 4][cell % 4];
          var bits: u32 = 4286578688u;
          if (sees) {
            bits = bitcast<u32>(product);
          }
          scores5[((batch * u.qHeads + sharer) * u.unitCount + (top + row - u.unitBase)) * ((u.kvRows + 63) >> 6u) + (firstColumn + column)] = bitcast<f32>(bits);
        }
      }
    }
  } else {
    for (var cell = 0; cell < 16; cell++) {
      let row = i32(thread) / 16 + cell / 4 * 16;
      let column = i32(thread) % 16 + cell % 4 * 16;
      if ((u.unitBase <= top + row) & (top + row < end) & (firstColumn + column < columns)) {
        scores5[((batch * u.qHeads + sharer) * u.unitCount + (top + row - u.unitBase)) * ((u.kvRows + 63) >> 6u) + (firstColumn + column)] = bitcast<f32>(hiddenBits);
      }
    }
  }
}

// minference-block: select7
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
  k_most: i32,
}

@group(0) @binding(0) var<uniform> u: Uniforms;
@group(0) @binding(1) var<storage, read> metaData: array<i32>;
@group(0) @binding(2) var<storage, read> scores5: array<f32>;
@group(0) @binding(3) var<storage, read_write> ids7: array<i32>;

var<workgroup> teamCounters: array<atomic<u32>, 256>;
var<workgroup> teamKeys: array<u32, 1024>;
var<workgroup> teamFound: array<u32, 2>;
var<workgroup> teamWords: array<u32, 64>;
var<workgroup> teamGroups: array<u32, 8>;

fn floorDiv(a: i32, b: i32) -> i32 {
  let sign = a >> 31u;
  return ((a ^ sign) / b) ^ sign;
}

fn fill6(batch: i32, at: i32, row: i32, column: i32) -> f32 {
  return f32(metaData[u.batches * 5 + at]);
}

fn dot5Seen(batch: i32, at: i32, row: i32, column: i32) -> bool {
  let bits = scores5[((batch * u.qHeads + at) * u.unitCount + (row - u.unitBase)) * ((u.kvRows + 63) >> 6u) + column];
  return !(bitcast<u32>(bits) == 4286578688u);
}

fn dot5(batch: i32, at: i32, row: i32, column: i32) -> f32 {
  let bits = scores5[((batch * u.qHeads + at) * u.unitCount + (row - u.unitBase)) * ((u.kvRows + 63) >> 6u) + column];
  return bits;
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
  let lane = i32(thread);
  let number = i32(own);
  let row = u.unitBase + number % u.unitCount;
  let pair = number / u.unitCount;
  let sharer = pair % u.qHeads;
  let batch = pair / u.qHeads;
  let amount = fill6(batch, sharer, 0, 0);
  for (var bin: i32 = lane; bin < 256; bin += 64) {
    atomicStore(&teamCounters[bin], 0u);
  }
  if (lane == 0) {
    teamFound[0] = 4294967295u;
  }
  workgroupBarrier();
  for (var column: i32 = lane; column < ((u.kvRows + 63) >> 6u); column += 64) {
    let seen = dot5Seen(batch, sharer, row, column);
    let value = dot5(batch, sharer, row, column);
    let bits = bitcast<u32>(select(value, 0.0, value == 0.0));
    let key = select(0u, select(bits | 2147483648u, ~bits, !((bits & 2147483648u) == 0u)), seen & (-3e+38 < value));
    if (column < 1024) {
      teamKeys[column] = key;
    }
    if (key - 1u < 4294967294u) {
      atomicAdd(&teamCounters[key >> 24u], 1u);
    }
  }
  let needed = i32(max(min(select(8388608.0, ceil(amount), amount <= 8388608.0), 8388608.0), 0.0));
  var above: u32 = 0u;
  workgroupBarrier();
  var counted: u32 = 0u;
  for (var i: i32 = 0; i < 4; i += 1) {
    counted = counted + atomicLoad(&teamCounters[255 - (lane * 4 + i)]);
  }
  teamWords[lane] = counted;
  workgroupBarrier();
  var before: u32 = 0u;
  let group_2 = lane / 8;
  for (var other: i32 = group_2 * 8; other < lane; other += 1) {
    before = before + teamWords[other];
  }
  if (lane % 8 == 7) {
    teamGroups[group_2] = before + counted;
  }
  workgroupBarrier();
  var all_2: u32 = 0u;
  for (var other: i32 = 0; other < 8; other += 1) {
    let theirs = teamGroups[other];
    all_2 = all_2 + theirs;
    before = before + select(0u, theirs, other < group_2);
  }
  var sum: u32 = above + before;
  if (!(needed <= i32(sum)) & (needed <= i32(sum + counted))) {
    for (var i: i32 = 0; i < 4; i += 1) {
      let more = sum + atomicLoad(&teamCounters[255 - (lane * 4 + i)]);
      if (!(needed <= i32(sum)) & (needed <= i32(more))) {
        teamFound[0] = u32(255 - (lane * 4 + i));
        teamFound[1] = sum;
      }
      sum = more;
    }
  }
  workgroupBarrier();
  var prefix: u32 = 0u;
  var knownBits: u32 = 4278190080u;
  if (!(teamFound[0] == 4294967295u)) {
    prefix = teamFound[0] << 24u;
    above = teamFound[1];
  }
  for (var n: i32 = 1; n < 4; n += 1) {
    let shift = u32(max(24 - n * 8, 0));
    workgroupBarrier();
    for (var bin: i32 = lane; bin < 256; bin += 64) {
      atomicStore(&teamCounters[bin], 0u);
    }
    if (lane == 0) {
      teamFound[0] = 4294967295u;
    }
    workgroupBarrier();
    for (var column: i32 = lane; column < min((u.kvRows + 63) >> 6u, 1024); column += 64) {
      let key = teamKeys[column];
      if ((key - 1u < 4294967294u) & ((key & knownBits) == prefix)) {
        atomicAdd(&teamCounters[(key >> u32(shift)) & 255u], 1u);
      }
    }
    for (var column: i32 = 1024 + lane; column < ((u.kvRows + 63) >> 6u); column += 64) {
      let seen = dot5Seen(batch, sharer, row, column);
      let value = dot5(batch, sharer, row, column);
      let bits = bitcast<u32>(select(value, 0.0, value == 0.0));
      let key = select(0u, select(bits | 2147483648u, ~bits, !((bits & 2147483648u) == 0u)), seen & (-3e+38 < value));
      if ((key - 1u < 4294967294u) & ((key & knownBits) == prefix)) {
        atomicAdd(&teamCounters[(key >> u32(shift)) & 255u], 1u);
      }
    }
    workgroupBarrier();
    var counted_2: u32 = 0u;
    for (var i: i32 = 0; i < 4; i += 1) {
      counted_2 = counted_2 + atomicLoad(&teamCounters[255 - (lane * 4 + i)]);
    }
    teamWords[lane] = counted_2;
    workgroupBarrier();
    var before_2: u32 = 0u;
    let group_3 = lane / 8;
    for (var other: i32 = group_3 * 8; other < lane; other += 1) {
      before_2 = before_2 + teamWords[other];
    }
    if (lane % 8 == 7) {
      teamGroups[group_3] = before_2 + counted_2;
    }
    workgroupBarrier();
    var all_3: u32 = 0u;
    for (var other: i32 = 0; other < 8; other += 1) {
      let theirs = teamGroups[other];
      all_3 = all_3 + theirs;
      before_2 = before_2 + select(0u, theirs, other < group_3);
    }
    var sum_2: u32 = above + before_2;
    if (!(needed <= i32(sum_2)) & (needed <= i32(sum_2 + counted_2))) {
      for (var i: i32 = 0; i < 4; i += 1) {
        let more = sum_2 + atomicLoad(&teamCounters[255 - (lane * 4 + i)]);
        if (!(needed <= i32(sum_2)) & (needed <= i32(more))) {
          teamFound[0] = u32(255 - (lane * 4 + i));
          teamFound[1] = sum_2;
        }
        sum_2 = more;
      }
    }
    workgroupBarrier();
    if (!(teamFound[0] == 4294967295u)) {
      prefix = prefix | (teamFound[0] << u32(shift));
      above = teamFound[1];
    }
    knownBits = ~((1u << u32(shift)) - 1u);
  }
  let bound = select(select(prefix, 0u, i32(all_2) < needed), 4294967295u, needed <= 0);
  let wanted = i32(max(min(amount - f32(above), 8388608.0), 0.0));
  let record = (batch * u.qHeads + sharer) * (((u.kvRows + 63) >> 6u) - ((u.kvRows - u.qRows) >> 6u)) + row;
  let most = min(u.k_most, (u.kvRows + 63) >> 6u);
  let ids = u.batches * u.qHeads * (((u.kvRows + 63) >> 6u) - ((u.kvRows - u.qRows) >> 6u)) * 2 + 4 + record * most;
  var listed: i32 = 0;
  var equals: i32 = 0;
  workgroupBarrier();
  for (var from_2: i32 = 0; from_2 < ((u.kvRows + 63) >> 6u); from_2 += 2048) {
    atomicStore(&teamCounters[lane], 0u);
    atomicStore(&teamCounters[lane + 64], 0u);
    workgroupBarrier();
    for (var column: i32 = from_2 + lane; column < min(min(from_2 + 2048, (u.kvRows + 63) >> 6u), 1024); column += 64) {
      let key = teamKeys[column];
      let place = column - from_2;
      if ((key == 4294967295u) | (bound < key)) {
        atomicOr(&teamCounters[place / 32], 1u << u32(u32(place & 31)));
      } else {
        if ((key == bound) & !(bound == 0u)) {
          atomicOr(&teamCounters[place / 32 + 64], 1u << u32(u32(place & 31)));
        }
      }
    }
    for (var column: i32 = max(from_2, 1024) + lane; column < min(from_2 + 2048, (u.kvRows + 63) >> 6u); column += 64) {
      let seen = dot5Seen(batch, sharer, row, column);
      let value = dot5(batch, sharer, row, column);
      let bits = bitcast<u32>(select(value, 0.0, value == 0.0));
      let key = select(0u, select(bits | 2147483648u, ~bits, !((bits & 2147483648u) == 0u)), seen & (-3e+38 < value));
      let place = column - from_2;
      if ((key == 4294967295u) | (bound < key)) {
        atomicOr(&teamCounters[place / 32], 1u << u32(u32(place & 31)));
      } else {
        if ((key == bound) & !(bound == 0u)) {
          atomicOr(&teamCounters[place / 32 + 64], 1u << u32(u32(place & 31)));
        }
      }
    }
    workgroupBarrier();
    let flagged = atomicLoad(&teamCounters[lane]);
    let flagged_2 = atomicLoad(&teamCounters[lane + 64]);
    let ownWord = countOneBits(flagged) * 65536u + countOneBits(flagged_2);
    teamWords[lane] = ownWord;
    workgroupBarrier();
    var before_2: u32 = 0u;
    let group_3 = lane / 8;
    for (var other: i32 = group_3 * 8; other < lane; other += 1) {
      before_2 = before_2 + teamWords[other];
    }
    if (lane % 8 == 7) {
      teamGroups[group_3] = before_2 + ownWord;
    }
    workgroupBarrier();
    var all_3: u32 = 0u;
    for (var other: i32 = 0; other < 8; other += 1) {
      let theirs = teamGroups[other];
      all_3 = all_3 + theirs;
      before_2 = before_2 + select(0u, theirs, other < group_3);
    }
    let rank = equals + i32(before_2 & 65535u);
    let left = max(wanted - rank, 0);
    var taken: u32 = flagged | flagged_2;
    if (left < i32(countOneBits(flagged_2))) {
      taken = flagged;
      var open: u32 = flagged_2;
      for (var n: i32 = 0; n < left; n += 1) {
        let next = open & (open - 1u);
        taken = taken | (open ^ next);
        open = next;
      }
    }
    let reached = equals + i32(all_3 & 65535u);
    let word = from_2 / 32 + lane;
    var next: i32 = listed + (i32(before_2 >> 16u) + (min(rank, wanted) - min(equals, wanted)));
    var rest: u32 = taken;
    loop {
      if (rest == 0u) {
        break;
      }
      let low = (rest & (~rest + 1u)) - 1u;
      let bit = i32(countOneBits(low));
      if (next < most) {
        ids7[ids + next] = word * 32 + bit;
      }
      next = next + 1;
      rest = rest & (rest - 1u);
    }
    listed = listed + (i32(all_3 >> 16u) + (min(reached, wanted) - min(equals, wanted)));
    equals = reached;
  }
  if (lane == 0) {
    ids7[record + 4] = min(listed, most);
    ids7[record + 4 + u.batches * u.qHeads * (((u.kvRows + 63) >> 6u) - ((u.kvRows - u.qRows) >> 6u))] = record * most;
  }
}

// minference-block: select7
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
  k_most: i32,
}

@group(0) @binding(0) var<uniform> u: Uniforms;
@group(0) @binding(1) var<storage, read> metaData: array<i32>;
@group(0) @binding(2) var<storage, read> scores5: array<f32>;
@group(0) @binding(3) var<storage, read_write> ids7: array<i32>;

var<workgroup> teamFlags: array<atomic<u32>, 192>;
var<workgroup> teamKeys: array<u32, 1088>;
var<workgroup> teamWords: array<u32, 128>;
var<workgroup> teamGroups: array<u32, 80>;

fn floorDiv(a: i32, b: i32) -> i32 {
  let sign = a >> 31u;
  return ((a ^ sign) / b) ^ sign;
}

fn fill6(batch: i32, at: i32, row: i32, column: i32) -> f32 {
  return f32(metaData[u.batches * 5 + at]);
}

fn dot5Seen(batch: i32, at: i32, row: i32, column: i32) -> bool {
  let bits = scores5[((batch * u.qHeads + at) * u.unitCount + (row - u.unitBase)) * ((u.kvRows + 63) >> 6u) + column];
  return !(bitcast<u32>(bits) == 4286578688u);
}

fn dot5(batch: i32, at: i32, row: i32, column: i32) -> f32 {
  let bits = scores5[((batch * u.qHeads + at) * u.unitCount + (row - u.unitBase)) * ((u.kvRows + 63) >> 6u) + column];
  return bits;
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
  let team = i32(thread) / 16;
  let lane = i32(thread) % 16;
  let number = i32(own);
  let down = (u.unitCount + 3) / 4;
  let pair = number / down;
  let sharer = pair % u.qHeads;
  let batch = pair / u.qHeads;
  let place = number % down * 4 + team;
  let there = place < u.unitCount;
  let row = u.unitBase + min(place, u.unitCount - 1);
  let amount = fill6(batch, sharer, 0, 0);
  for (var column: i32 = lane; column < ((u.kvRows + 63) >> 6u); column += 16) {
    let seen = dot5Seen(batch, sharer, row, column);
    let value = dot5(batch, sharer, row, column);
    let bits = bitcast<u32>(select(value, 0.0, value == 0.0));
    let key = select(0u, select(bits | 2147483648u, ~bits, !((bits & 2147483648u) == 0u)), seen & (-3e+38 < value));
    teamKeys[team * 272 + column] = key;
  }
  let needed = i32(max(min(select(8388608.0, ceil(amount), amount <= 8388608.0), 8388608.0), 0.0));
  var bound: u32 = 0u;
  var above: u32 = 0u;
  for (var n: i32 = 0; n < 32; n += 1) {
    let trial = bound | (1u << u32(u32(31 - n)));
    var part: u32 = 0u;
    for (var column: i32 = lane; column < ((u.kvRows + 63) >> 6u); column += 16) {
      let key = teamKeys[team * 272 + column];
      part = part + select(0u, 1u, key - trial < 4294967295u - trial);
    }
    teamWords[team * 32 + lane] = part;
    workgroupBarrier();
    if (lane < 4) {
      var weight: u32 = teamWords[team * 32 + lane];
      for (var other: i32 = lane + 4; other < 16; other += 4) {
        weight = weight + teamWords[team * 32 + other];
      }
      teamGroups[team * 20 + lane] = weight;
    }
    workgroupBarrier();
    var weight: u32 = teamGroups[team * 20];
    for (var other: i32 = 1; other < 4; other += 1) {
      weight = weight + teamGroups[team * 20 + other];
    }
    let enough = needed <= i32(weight);
    bound = select(bound, trial, enough);
    above = select(weight, above, enough);
  }
  let wanted = i32(max(min(amount - f32(above), 8388608.0), 0.0));
  let record = (batch * u.qHeads + sharer) * (((u.kvRows + 63) >> 6u) - ((u.kvRows - u.qRows) >> 6u)) + row;
  let most = min(u.k_most, (u.kvRows + 63) >> 6u);
  let ids = u.batches * u.qHeads * (((u.kvRows + 63) >> 6u) - ((u.kvRows - u.qRows) >> 6u)) * 2 + 4 + record * most;
  var listed: i32 = 0;
  var equals: i32 = 0;
  workgroupBarrier();
  atomicStore(&teamFlags[team * 48 + lane], 0u);
  atomicStore(&teamFlags[team * 48 + (lane + 16)], 0u);
  workgroupBarrier();
  for (var column: i32 = lane; column < min(512, (u.kvRows + 63) >> 6u); column += 16) {
    let key = teamKeys[team * 272 + column];
    if ((key == 4294967295u) | (bound < key)) {
      atomicOr(&teamFlags[team * 48 + column / 32], 1u << u32(u32(column & 31)));
    } else {
      if ((key == bound) & !(bound == 0u)) {
        atomicOr(&teamFlags[team * 48 + (column / 32 + 16)], 1u << u32(u32(column & 31)));
      }
    }
  }
  workgroupBarrier();
  let flagged = atomicLoad(&teamFlags[team * 48 + lane]);
  let flagged_2 = atomicLoad(&teamFlags[team * 48 + (lane + 16)]);
  let ownWord = countOneBits(flagged) * 65536u + countOneBits(flagged_2);
  teamWords[team * 32 + lane] = ownWord;
  workgroupBarrier();
  var before: u32 = 0u;
  let group_2 = lane / 4;
  for (var other: i32 = group_2 * 4; other < lane; other += 1) {
    before = before + teamWords[team * 32 + other];
  }
  if (lane % 4 == 3) {
    teamGroups[team * 20 + group_2] = before + ownWord;
  }
  workgroupBarrier();
  var all_2: u32 = 0u;
  for (var other: i32 = 0; other < 4; other += 1) {
    let theirs = teamGroups[team * 20 + other];
    all_2 = all_2 + theirs;
    before = before + select(0u, theirs, other < group_2);
  }
  let rank = equals + i32(before & 65535u);
  let left = max(wanted - rank, 0);
  var taken: u32 = flagged | flagged_2;
  if (left < i32(countOneBits(flagged_2))) {
    taken = flagged;
    var open: u32 = flagged_2;
    for (var n: i32 = 0; n < left; n += 1) {
      let next = open & (open - 1u);
      taken = taken | (open ^ next);
      open = next;
    }
  }
  let reached = equals + i32(all_2 & 65535u);
  var next: i32 = listed + (i32(before >> 16u) + (min(rank, wanted) - min(equals, wanted)));
  var rest: u32 = taken;
  loop {
    if (rest == 0u) {
      break;
    }
    let low = (rest & (~rest + 1u)) - 1u;
    let bit = i32(countOneBits(low));
    if (there & (next < most)) {
      ids7[ids + next] = lane * 32 + bit;
    }
    next = next + 1;
    rest = rest & (rest - 1u);
  }
  listed = listed + (i32(all_2 >> 16u) + (min(reached, wanted) - min(equals, wanted)));
  equals = reached;
  if (there & (lane == 0)) {
    ids7[record + 4] = min(listed, most);
    ids7[record + 4 + u.batches * u.qHeads * (((u.kvRows + 63) >> 6u) - ((u.kvRows - u.qRows) >> 6u))] = record * most;
  }
}

// minference-block: select7
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
  k_most: i32,
}

@group(0) @binding(0) var<uniform> u: Uniforms;
@group(0) @binding(1) var<storage, read> metaData: array<i32>;
@group(0) @binding(2) var<storage, read> scores5: array<f32>;
@group(0) @binding(3) var<storage, read_write> ids7: array<i32>;

var<workgroup> teamCounters: array<atomic<u32>, 512>;
var<workgroup> teamKeys: array<u32, 2048>;
var<workgroup> teamFound: array<u32, 2>;
var<workgroup> teamWords: array<u32, 256>;
var<workgroup> teamGroups: array<u32, 16>;

fn floorDiv(a: i32, b: i32) -> i32 {
  let sign = a >> 31u;
  return ((a ^ sign) / b) ^ sign;
}

fn fill6(batch: i32, at: i32, row: i32, column: i32) -> f32 {
  return f32(metaData[u.batches * 5 + at]);
}

fn dot5Seen(batch: i32, at: i32, row: i32, column: i32) -> bool {
  let bits = scores5[((batch * u.qHeads + at) * u.unitCount + (row - u.unitBase)) * ((u.kvRows + 63) >> 6u) + column];
  return !(bitcast<u32>(bits) == 4286578688u);
}

fn dot5(batch: i32, at: i32, row: i32, column: i32) -> f32 {
  let bits = scores5[((batch * u.qHeads + at) * u.unitCount + (row - u.unitBase)) * ((u.kvRows + 63) >> 6u) + column];
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
  let lane = i32(thread);
  let number = i32(own);
  let row = u.unitBase + number % u.unitCount;
  let pair = number / u.unitCount;
  let sharer = pair % u.qHeads;
  let batch = pair / u.qHeads;
  let amount = fill6(batch, sharer, 0, 0);
  for (var bin: i32 = lane; bin < 256; bin += 256) {
    atomicStore(&teamCounters[bin], 0u);
  }
  if (lane == 0) {
    teamFound[0] = 4294967295u;
  }
  workgroupBarrier();
  for (var column: i32 = lane; column < ((u.kvRows + 63) >> 6u); column += 256) {
    let seen = dot5Seen(batch, sharer, row, column);
    let value = dot5(batch, sharer, row, column);
    let bits = bitcast<u32>(select(value, 0.0, value == 0.0));
    let key = select(0u, select(bits | 2147483648u, ~bits, !((bits & 2147483648u) == 0u)), seen & (-3e+38 < value));
    if (column < 2048) {
      teamKeys[column] = key;
    }
    if (key - 1u < 4294967294u) {
      atomicAdd(&teamCounters[key >> 24u], 1u);
    }
  }
  let needed = i32(max(min(select(8388608.0, ceil(amount), amount <= 8388608.0), 8388608.0), 0.0));
  var above: u32 = 0u;
  workgroupBarrier();
  var counted: u32 = 0u;
  for (var i: i32 = 0; i < 1; i += 1) {
    counted = counted + atomicLoad(&teamCounters[255 - (lane + i)]);
  }
  teamWords[lane] = counted;
  workgroupBarrier();
  var before: u32 = 0u;
  let group_2 = lane / 16;
  for (var other: i32 = group_2 * 16; other < lane; other += 1) {
    before = before + teamWords[other];
  }
  if (lane % 16 == 15) {
    teamGroups[group_2] = before + counted;
  }
  workgroupBarrier();
  var all_2: u32 = 0u;
  for (var other: i32 = 0; other < 16; other += 1) {
    let theirs = teamGroups[other];
    all_2 = all_2 + theirs;
    before = before + select(0u, theirs, other < group_2);
  }
  var sum: u32 = above + before;
  if (!(needed <= i32(sum)) & (needed <= i32(sum + counted))) {
    for (var i: i32 = 0; i < 1; i += 1) {
      let more = sum + atomicLoad(&teamCounters[255 - (lane + i)]);
      if (!(needed <= i32(sum)) & (needed <= i32(more))) {
        teamFound[0] = u32(255 - (lane + i));
        teamFound[1] = sum;
      }
      sum = more;
    }
  }
  workgroupBarrier();
  var prefix: u32 = 0u;
  var knownBits: u32 = 4278190080u;
  if (!(teamFound[0] == 4294967295u)) {
    prefix = teamFound[0] << 24u;
    above = teamFound[1];
  }
  for (var n: i32 = 1; n < 4; n += 1) {
    let shift = u32(max(24 - n * 8, 0));
    workgroupBarrier();
    for (var bin: i32 = lane; bin < 256; bin += 256) {
      atomicStore(&teamCounters[bin], 0u);
    }
    if (lane == 0) {
      teamFound[0] = 4294967295u;
    }
    workgroupBarrier();
    for (var column: i32 = lane; column < min((u.kvRows + 63) >> 6u, 2048); column += 256) {
      let key = teamKeys[column];
      if ((key - 1u < 4294967294u) & ((key & knownBits) == prefix)) {
        atomicAdd(&teamCounters[(key >> u32(shift)) & 255u], 1u);
      }
    }
    for (var column: i32 = 2048 + lane; column < ((u.kvRows + 63) >> 6u); column += 256) {
      let seen = dot5Seen(batch, sharer, row, column);
      let value = dot5(batch, sharer, row, column);
      let bits = bitcast<u32>(select(value, 0.0, value == 0.0));
      let key = select(0u, select(bits | 2147483648u, ~bits, !((bits & 2147483648u) == 0u)), seen & (-3e+38 < value));
      if ((key - 1u < 4294967294u) & ((key & knownBits) == prefix)) {
        atomicAdd(&teamCounters[(key >> u32(shift)) & 255u], 1u);
      }
    }
    workgroupBarrier();
    var counted_2: u32 = 0u;
    for (var i: i32 = 0; i < 1; i += 1) {
      counted_2 = counted_2 + atomicLoad(&teamCounters[255 - (lane + i)]);
    }
    teamWords[lane] = counted_2;
    workgroupBarrier();
    var before_2: u32 = 0u;
    let group_3 = lane / 16;
    for (var other: i32 = group_3 * 16; other < lane; other += 1) {
      before_2 = before_2 + teamWords[other];
    }
    if (lane % 16 == 15) {
      teamGroups[group_3] = before_2 + counted_2;
    }
    workgroupBarrier();
    var all_3: u32 = 0u;
    for (var other: i32 = 0; other < 16; other += 1) {
      let theirs = teamGroups[other];
      all_3 = all_3 + theirs;
      before_2 = before_2 + select(0u, theirs, other < group_3);
    }
    var sum_2: u32 = above + before_2;
    if (!(needed <= i32(sum_2)) & (needed <= i32(sum_2 + counted_2))) {
      for (var i: i32 = 0; i < 1; i += 1) {
        let more = sum_2 + atomicLoad(&teamCounters[255 - (lane + i)]);
        if (!(needed <= i32(sum_2)) & (needed <= i32(more))) {
          teamFound[0] = u32(255 - (lane + i));
          teamFound[1] = sum_2;
        }
        sum_2 = more;
      }
    }
    workgroupBarrier();
    if (!(teamFound[0] == 4294967295u)) {
      prefix = prefix | (teamFound[0] << u32(shift));
      above = teamFound[1];
    }
    knownBits = ~((1u << u32(shift)) - 1u);
  }
  let bound = select(select(prefix, 0u, i32(all_2) < needed), 4294967295u, needed <= 0);
  let wanted = i32(max(min(amount - f32(above), 8388608.0), 0.0));
  let record = (batch * u.qHeads + sharer) * (((u.kvRows + 63) >> 6u) - ((u.kvRows - u.qRows) >> 6u)) + row;
  let most = min(u.k_most, (u.kvRows + 63) >> 6u);
  let ids = u.batches * u.qHeads * (((u.kvRows + 63) >> 6u) - ((u.kvRows - u.qRows) >> 6u)) * 2 + 4 + record * most;
  var listed: i32 = 0;
  var equals: i32 = 0;
  workgroupBarrier();
  for (var from_2: i32 = 0; from_2 < ((u.kvRows + 63) >> 6u); from_2 += 8192) {
    atomicStore(&teamCounters[lane], 0u);
    atomicStore(&teamCounters[lane + 256], 0u);
    workgroupBarrier();
    for (var column: i32 = from_2 + lane; column < min(min(from_2 + 8192, (u.kvRows + 63) >> 6u), 2048); column += 256) {
      let key = teamKeys[column];
      let place = column - from_2;
      if ((key == 4294967295u) | (bound < key)) {
        atomicOr(&teamCounters[place / 32], 1u << u32(u32(place & 31)));
      } else {
        if ((key == bound) & !(bound == 0u)) {
          atomicOr(&teamCounters[place / 32 + 256], 1u << u32(u32(place & 31)));
        }
      }
    }
    for (var column: i32 = max(from_2, 2048) + lane; column < min(from_2 + 8192, (u.kvRows + 63) >> 6u); column += 256) {
      let seen = dot5Seen(batch, sharer, row, column);
      let value = dot5(batch, sharer, row, column);
      let bits = bitcast<u32>(select(value, 0.0, value == 0.0));
      let key = select(0u, select(bits | 2147483648u, ~bits, !((bits & 2147483648u) == 0u)), seen & (-3e+38 < value));
      let place = column - from_2;
      if ((key == 4294967295u) | (bound < key)) {
        atomicOr(&teamCounters[place / 32], 1u << u32(u32(place & 31)));
      } else {
        if ((key == bound) & !(bound == 0u)) {
          atomicOr(&teamCounters[place / 32 + 256], 1u << u32(u32(place & 31)));
        }
      }
    }
    workgroupBarrier();
    let flagged = atomicLoad(&teamCounters[lane]);
    let flagged_2 = atomicLoad(&teamCounters[lane + 256]);
    let ownWord = countOneBits(flagged) * 65536u + countOneBits(flagged_2);
    teamWords[lane] = ownWord;
    workgroupBarrier();
    var before_2: u32 = 0u;
    let group_3 = lane / 16;
    for (var other: i32 = group_3 * 16; other < lane; other += 1) {
      before_2 = before_2 + teamWords[other];
    }
    if (lane % 16 == 15) {
      teamGroups[group_3] = before_2 + ownWord;
    }
    workgroupBarrier();
    var all_3: u32 = 0u;
    for (var other: i32 = 0; other < 16; other += 1) {
      let theirs = teamGroups[other];
      all_3 = all_3 + theirs;
      before_2 = before_2 + select(0u, theirs, other < group_3);
    }
    let rank = equals + i32(before_2 & 65535u);
    let left = max(wanted - rank, 0);
    var taken: u32 = flagged | flagged_2;
    if (left < i32(countOneBits(flagged_2))) {
      taken = flagged;
      var open: u32 = flagged_2;
      for (var n: i32 = 0; n < left; n += 1) {
        let next = open & (open - 1u);
        taken = taken | (open ^ next);
        open = next;
      }
    }
    let reached = equals + i32(all_3 & 65535u);
    let word = from_2 / 32 + lane;
    var next: i32 = listed + (i32(before_2 >> 16u) + (min(rank, wanted) - min(equals, wanted)));
    var rest: u32 = taken;
    loop {
      if (rest == 0u) {
        break;
      }
      let low = (rest & (~rest + 1u)) - 1u;
      let bit = i32(countOneBits(low));
      if (next < most) {
        ids7[ids + next] = word * 32 + bit;
      }
      next = next + 1;
      rest = rest & (rest - 1u);
    }
    listed = listed + (i32(all_3 >> 16u) + (min(reached, wanted) - min(equals, wanted)));
    equals = reached;
  }
  if (lane == 0) {
    ids7[record + 4] = min(listed, most);
    ids7[record + 4 + u.batches * u.qHeads * (((u.kvRows + 63) >> 6u) - ((u.kvRows - u.qRows) >> 6u))] = record * most;
  }
}

// minference-block: le(kv, q)
// 32 x 32 tiles found by 1 given list; 64 threads, d64-f16-portable
// npx heddle build minference-block --target wgsl --head-dim 64 --dtype f16

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
@group(0) @binding(7) var<storage, read> list0: array<i32>;

var<workgroup> stage: array<array<vec4f, 9>, 64>;
var<workgroup> weights: array<array<f32, 33>, 32>;
var<workgroup> wildChunk: atomic<u32>;
var<workgroup> partials: array<array<f32, 8>, 32>;

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

fn keeps(q: i32, kv: i32) -> bool {
  return kv <= q;
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
  let qTiles = ((u32(u.qRows) + 63u) / 64u + 1u) * 2u;
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
  let unit = (firstPosition >> 6u) + i32(qTile / 2u);
  let unitStart = unit * 64;
  let unitRow = unitStart - firstPosition;
  let firstOfUnit = qTile % 2u * 32u;
  let firstRow = unitRow + i32(firstOfUnit);
  let endRow = min(min(unitRow + 64, unitRow + (i32(firstOfUnit + 31u) + 1)), u.qRows);
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
  if (realLo <= realHi) {
    // list 0: blocks of 64 keys for 64 queries of a head
    let units = list0[0];
    let record = (batch * u.qHeads + head) * units + ((unitStart >> 6u) - (qStart >> 6u)) + 4;
    let records = u.batches * u.qHeads * units;
    let count = list0[record];
    let ids = list0[record + records] + records * 2 + 4;
    let lo = max(0, qLo + 1);
    let hi = kvLen - 1;
    for (var n: i32 = 0; n < count; n += 1) {
      let id = list0[ids + n];
      let there = (0 <= id) & (id < (kvLen + 63) / 64);
      let begin = select(kvLen, id * 64, there);
      let end = min(begin + 64, kvLen);
      for (var kvLo: i32 = begin; kvLo < end; kvLo += 32) {
        let kvHi = min(kvLo + 32, kvLen) - 1;
        let full = (kvLo + 32 <= kvLen) & !((lo <= kvHi) & (kvLo <= hi));
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
            let there_2 = kvLo + i32(row) < kvLen;
            stage[row % 4u * 8u + row / 4u][vector] = select(vec4f(0.0), unpackHalf4(kData[kStart + select(0u, u32(kvStart + (kvLo + i32(row))), there_2) * kStride + column]), there_2);
          }
          for (var element: u32 = thread; element < 256u; element += 64u) {
            let row = element / 8u;
            let vector = element % 8u;
            let column = chunk + vector;
            let there_2 = (startRow <= unitRow + i32(firstOfUnit + row)) & (unitRow + i32(firstOfUnit + row) < endRow);
            stage[row + 32u][vector] = select(vec4f(0.0), unpackHalf4(qData[qStart_2 + select(0u, u32(unitRow + i32(firstOfUnit + row)), there_2) * qStride + column]), there_2) * queryScale;
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
          let q0 = min(max(unitRow + i32(firstOfUnit + i) + qShift, qLo), qHi);
          let q1 = min(max(unitRow + i32(firstOfUnit + (i + 8u)) + qShift, qLo), qHi);
          let q2 = min(max(unitRow + i32(firstOfUnit + (i + 16u)) + qShift, qLo), qHi);
          let q3 = min(max(unitRow + i32(firstOfUnit + (i + 24u)) + qShift, qLo), qHi);
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
          let there_2 = kvLo + i32(row) < kvLen;
          let loaded = select(vec4f(0.0), unpackHalf4(vData[vStart + select(0u, u32(kvStart + (kvLo + i32(row))), there_2) * vStride + vector]), there_2);
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
  let lseStart = (batch * u.qHeads + head) * u.qRows;
  let row0_2 = unitRow + i32(firstOfUnit + i);
  if ((startRow <= row0_2) & (row0_2 < endRow)) {
    let some = (realLo <= row0_2) & (row0_2 <= realHi) & (0.0 < row0);
    let factor = 1.0 / select(1.0, row0, some);
    outData[outStart + u32(row0_2) * outStride + j] = packHalf4(select(vec4f(0.0), out0_0 * factor, some));
    outData[outStart + u32(row0_2) * outStride + (j + 8u)] = packHalf4(select(vec4f(0.0), out0_1 * factor, some));
    if (j == 0u) {
      if (some) {
        lseData[u32(lseStart + row0_2)] = bitcast<u32>((rowMax0 + log2OrLow(row0)) * 0.6931472);
      } else {
        lseData[u32(lseStart + row0_2)] = 4286578688u;
      }
    }
  }
  let row1_2 = unitRow + i32(firstOfUnit + (i + 8u));
  if ((startRow <= row1_2) & (row1_2 < endRow)) {
    let some = (realLo <= row1_2) & (row1_2 <= realHi) & (0.0 < row1);
    let factor = 1.0 / select(1.0, row1, some);
    outData[outStart + u32(row1_2) * outStride + j] = packHalf4(select(vec4f(0.0), out1_0 * factor, some));
    outData[outStart + u32(row1_2) * outStride + (j + 8u)] = packHalf4(select(vec4f(0.0), out1_1 * factor, some));
    if (j == 0u) {
      if (some) {
        lseData[u32(lseStart + row1_2)] = bitcast<u32>((rowMax1 + log2OrLow(row1)) * 0.6931472);
      } else {
        lseData[u32(lseStart + row1_2)] = 4286578688u;
      }
    }
  }
  let row2_2 = unitRow + i32(firstOfUnit + (i + 16u));
  if ((startRow <= row2_2) & (row2_2 < endRow)) {
    let some = (realLo <= row2_2) & (row2_2 <= realHi) & (0.0 < row2);
    let factor = 1.0 / select(1.0, row2, some);
    outData[outStart + u32(row2_2) * outStride + j] = packHalf4(select(vec4f(0.0), out2_0 * factor, some));
    outData[outStart + u32(row2_2) * outStride + (j + 8u)] = packHalf4(select(vec4f(0.0), out2_1 * factor, some));
    if (j == 0u) {
      if (some) {
        lseData[u32(lseStart + row2_2)] = bitcast<u32>((rowMax2 + log2OrLow(row2)) * 0.6931472);
      } else {
        lseData[u32(lseStart + row2_2)] = 4286578688u;
      }
    }
  }
  let row3_2 = unitRow + i32(firstOfUnit + (i + 24u));
  if ((startRow <= row3_2) & (row3_2 < endRow)) {
    let some = (realLo <= row3_2) & (row3_2 <= realHi) & (0.0 < row3);
    let factor = 1.0 / select(1.0, row3, some);
    outData[outStart + u32(row3_2) * outStride + j] = packHalf4(select(vec4f(0.0), out3_0 * factor, some));
    outData[outStart + u32(row3_2) * outStride + (j + 8u)] = packHalf4(select(vec4f(0.0), out3_1 * factor, some));
    if (j == 0u) {
      if (some) {
        lseData[u32(lseStart + row3_2)] = bitcast<u32>((rowMax3 + log2OrLow(row3)) * 0.6931472);
      } else {
        lseData[u32(lseStart + row3_2)] = 4286578688u;
      }
    }
  }
}
