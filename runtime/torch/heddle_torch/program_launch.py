"""A planned program on a device; its launches, each with an argument of its own, the places in them that hold addresses, and what
one workspace has to hold, out."""

from __future__ import annotations

import ctypes
from typing import Any, List, Mapping, NamedTuple, Sequence, Tuple, Union

from .artifact import Artifact
from .call import CallBuffer, Layout, Shape, fill_call, scalars_of, shape_of, variables_of
from .driver import Launch, MapSlot
from .memory import Memory
from .modules import Modules
from .program import FasterLaunch, Header, KernelLaunch, Program, keys_of
from .program_call import Buffer, ProgramCall
from .rules import size
from .stage_schema import text_of
from .stored import HEADER_WORDS, aligned

# Of a call's pointers the first five, as tensor maps count them too; its tables and its rows follow in their order.
GIVEN = ("q", "k", "v", "out", "lse")


class Copy:
    """A list's first words, from a buffer of the device's."""

    def __init__(self, words: Memory, offset: int) -> None:
        self._from, self._offset = words, offset
        self._to = ctypes.c_uint64()
        self._size = ctypes.c_size_t(4 * HEADER_WORDS)

    def into(self, base: int) -> None:
        self._to.value = base + self._offset

    def run(self, copy: Any, stream: ctypes.c_void_p) -> int:
        """`copy`: the driver's, between places on the device."""
        return copy(self._to, ctypes.c_uint64(self._from.pointer), self._size, stream)


class Patches:
    """Places of the launches' arguments that hold addresses of one kind, written when those are others than the last call's."""

    def __init__(self) -> None:
        self._places: List[Tuple[Any, int, int]] = []
        self._last: Any = None

    def add(self, words: Any, slot: int, at: int) -> None:
        self._places.append((words, slot, at))

    def point(self, pointers: Sequence[int]) -> None:
        """`at` counts among these."""
        if pointers != self._last:
            for words, slot, at in self._places:
                words[slot] = pointers[at]
            self._last = pointers

    def base(self, base: int) -> bool:
        """`at` is an offset from this. Says whether it is another one than it was."""
        if base == self._last:
            return False
        for words, slot, at in self._places:
            words[slot] = base + at
        self._last = base
        return True


class On(NamedTuple):
    """What launches need beside the plan: the device, and the call's words on it."""

    artifact: Artifact
    modules: Modules
    layout: Layout
    call: ProgramCall
    dtype: str
    shapes: Mapping[str, Sequence[int]]
    vectors: bool
    index: int
    capability: int
    multiprocessors: int
    meta: Memory
    # By the rows of the keys that are met; None: the call's.
    lengths: Mapping[Optional[int], Memory]
    values: Memory
    headers: Mapping[str, Memory]


class Armed:
    """`steps` run in order. `given`, `stored` and `counted` hold where pointers of the call, addresses in the workspace and the
    counters' stand; `bytes`: of the workspace; `parts`: of what lies in it, by name."""

    def __init__(self, on: On, made: Program) -> None:
        self._on, self._made = on, made
        artifact = on.artifact
        names: List[Buffer] = [(n, None) for n in GIVEN]
        names += [*(("table", n) for n in artifact.table_names), *(("rows", n) for n in artifact.row_names)]
        self._places = {name: i for i, name in enumerate(names)}
        self.given, self.stored, self.counted = Patches(), Patches(), Patches()
        self.steps: List[Union[Launch, Copy]] = []
        self.copies: List[Copy] = []
        self.maps: List[MapSlot] = []
        # Of what a launch leaves in the workspace for itself, at which offset.
        self.own_maps: List[Tuple[MapSlot, int]] = []
        # Launches know no more of them than where they lie.
        self._arguments: List[Any] = []
        faster = [work for work in made.launches if isinstance(work, FasterLaunch)]
        shapes = {id(work): shape_of(work.faster["variant"], work.sizes(on.call.sizes), on.multiprocessors) for work in faster}
        self.counters = max((s.counters for s in shapes.values()), default=0)
        # Behind the stored values what entries of one variant hand on, then a variant's own list.
        scratch = max((s.scratch for s in shapes.values()), default=0)
        records = max((max(shapes[id(w)].list, w.list_bytes) for w in faster), default=0)
        scratch_at = made.stored.bytes
        list_at = scratch_at + aligned(scratch)
        self.bytes = max(1, list_at + records)
        self.parts = {**{name: 4 * n for name, n in made.stored.words.items()}, "the partial results": scratch, "the list of tiles": records}
        for work in made.launches:
            if isinstance(work, Header):
                copy = Copy(on.headers[work.name], made.stored.offsets[work.name])
                self.copies.append(copy)
                self.steps.append(copy)
            elif isinstance(work, KernelLaunch):
                self._add_kernel(work)
            else:
                self._add_faster(work, shapes[id(work)], scratch_at, list_at)

    def _add_kernel(self, work: KernelLaunch) -> None:
        on = self._on
        memory = (ctypes.c_uint64 * (len(work.block) // 8)).from_buffer_copy(work.block)
        self._arguments.append(memory)
        words = memoryview(memory).cast("B").cast("Q")
        for at, (role, name) in work.addresses:
            if role == "stored":
                self.stored.add(words, at // 8, self._made.stored.offsets[name])
            elif role == "meta":
                words[at // 8] = on.meta.pointer
            else:
                self.given.add(words, at // 8, self._places[(role, name)])
        [function] = on.modules.functions(text_of(work.kernel), on.index, on.capability)
        grid, kernel = (work.blocks, 1, 1), work.kernel
        self.steps.append(Launch(function, grid, kernel["threads"], kernel["sharedBytes"], ctypes.addressof(memory), 0))

    def _add_faster(self, work: FasterLaunch, shape: Shape, scratch_at: int, list_at: int) -> None:
        on, faster = self._on, work.faster
        variant, sizes, slots = faster["variant"], work.sizes(on.call.sizes), on.layout.slots
        keys = None if work.key_rows is None else keys_of(work.faster["keys"], sizes)
        strides = on.call.strides if keys is None else {**on.call.strides, **keys.strides}
        buffer = CallBuffer(on.layout)
        self._arguments.append(buffer)
        fill_call(on.layout, buffer, sizes, shape, strides, on.call.scale, on.vectors)
        if work.stride is not None:
            on.layout.write(buffer.bytes, "listStride", work.stride)
        words = buffer.words
        words[slots["lengths"]], words[slots["values"]] = on.lengths[work.key_rows].pointer, on.values.pointer
        for i, name in enumerate(GIVEN):
            if keys is None or name not in keys.shapes:
                self.given.add(words, slots[name], i)
        for i, name in enumerate(on.artifact.table_names):
            self.given.add(words, slots["tables"] + i, self._places[("table", name)])
        read = [(slots["parts"] + i, name) for i, name in enumerate(faster["lists"])]
        read += [(slots[field], faster[field]) for field in ("order", "before", "state") if faster[field] is not None]
        read += [] if keys is None else [(slots[name], faster["keys"][name]) for name in keys.shapes]
        for slot, name in read:
            self.stored.add(words, slot, self._made.stored.offsets[name])
        self.stored.add(words, slots["scratch"], scratch_at)
        self.stored.add(words, slots["list"], list_at)
        self.counted.add(words, slots["counters"], 0)
        param = scalars_of(on.artifact, {n: x[0] for n, x in on.call.params.items()})
        functions = on.modules.functions(variant, on.index, on.capability)
        for function, entry, grid in zip(functions, variant["entries"], shape.grids):
            if 0 in grid:
                continue
            rules = entry["tensorMaps"]
            launch = Launch(function, grid, entry["threads"], entry["sharedBytes"], buffer.address, len(rules))
            self.steps.append(launch)
            for i, rule in enumerate(rules):
                name = rule["tensor"]
                step = None if rule["step"] is None else size(rule["step"], variables_of(sizes, on.multiprocessors), param)
                if keys is not None and name in keys.shapes:
                    slot = MapSlot(launch, i, on.dtype, keys.shapes[name], keys.strides[name], rule, step)
                    self.own_maps.append((slot, list_at + keys.offsets[name]))
                else:
                    self.maps.append(MapSlot(launch, i, on.dtype, list(on.shapes[name]), on.call.strides[name], rule, step))
