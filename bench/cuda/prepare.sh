#!/bin/sh
# Kernels that the CUDA suite needs and its exact counts, into out/: everything that does not need the GPU.
# Then, where there is an H100 with Python, torch, triton and matplotlib (and nothing else of this project), from the root:
#
#   python3 bench/cuda/run.py --artifacts out/cuda --counts out/cuda-counts.json --out bench/results
#   python3 bench/cuda/roofline.py bench/results/cuda.json docs/roofline.svg
#   sh bench/cuda/sanitize.sh out/cuda-sanitize
#
# and here again `npm run tables`, which puts the results into the documents.
set -eu
cd "$(dirname "$0")/../.."
heddle="npx tsx runtime/cli/main.ts"
arch="${HEDDLE_BENCH_ARCH:-sm_90a}"

patterns() { for name in "$@"; do printf 'patterns/%s.ts ' "$name"; done; }

# Only the dense pattern is measured at other head dims.
# shellcheck disable=SC2046
$heddle build $(patterns causal) --target cuda --arch "$arch" --dtype bf16 --head-dim 64,128,256 --out out/cuda
# shellcheck disable=SC2046
$heddle build $(patterns full a-shape sliding-window document document-starts streaming-heads power s2-shard fixed \
  strided dilated-window) --target cuda --arch "$arch" --dtype bf16 --head-dim 128 --out out/cuda
# Small cases of every skeleton and of the ways to find tiles, for compute-sanitizer.
# shellcheck disable=SC2046
$heddle build $(patterns causal a-shape document strided) --target cuda --arch "$arch" --dtype bf16 --head-dim 64,128 \
  --out out/cuda-sanitize
npx tsx bench/cuda/prepare.ts out/cuda out/cuda-counts.json
du -sh out/cuda out/cuda-sanitize out/cuda-counts.json
