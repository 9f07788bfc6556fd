// The kernel `list`: a record of the keys that gather.cuh walks for each (batch, head, RECORD_Q positions of queries).

constexpr int LIST_THREADS = 128;

// A warp makes a record.
KERNEL(LIST_THREADS, 1) ENTRY(list)(const __grid_constant__ Call call) {
  int const records = recordsOf(call);
  long long const record = (long long)blockIdx.x * (LIST_THREADS / 32) + (int)threadIdx.x / 32;
  if (record >= (long long)call.batch * call.qHeads * records) return;
  int const owner = (int)(record / records), own = (int)(record - (long long)owner * records), batch = owner / call.qHeads;
  Place const place = placeOf(call, batch, owner - batch * call.qHeads);
  int const first = (place.qRow + place.qShift) / max(RECORD_Q, 1);
  makeRecord(call, place, (first + own) * RECORD_Q, call.list + record * call.listStride);
}
