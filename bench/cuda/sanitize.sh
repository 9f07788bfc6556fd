#!/bin/sh
# A folder of artefacts in; one line for each tool of compute-sanitizer out, over a small call of every kernel in it. The logs
# lie in the second folder. Exit status 1 if a tool has found anything.
set -u
root="$(cd "$(dirname "$0")/../.." && pwd)"
artifacts="${1:-$root/out/cuda-sanitize}"
logs="${2:-$root/out/sanitizer}"
mkdir -p "$logs"
export PYTHONDONTWRITEBYTECODE=1

# Compiled once without a tool, should a cubin be missing; and a kernel that is wrong by itself is told apart from a finding.
if ! python3 "$root/bench/cuda/sanitize.py" "$artifacts" >"$logs/plain.log" 2>&1; then
  tail -n 5 "$logs/plain.log"
  echo "plain: FAILED"
  exit 1
fi
echo "plain: $(tail -n 1 "$logs/plain.log")"

found=0
for tool in memcheck racecheck initcheck synccheck; do
  began=$(date +%s)
  timeout 55 compute-sanitizer --tool "$tool" --error-exitcode 9 --print-limit 20 \
    python3 "$root/bench/cuda/sanitize.py" "$artifacts" >"$logs/$tool.log" 2>&1
  status=$?
  said=$(grep -E 'SUMMARY' "$logs/$tool.log" | tail -n 1 | sed 's/^=* *//')
  echo "$tool: ${said:-no summary}; $(grep -c ': fine' "$logs/$tool.log") calls, status $status, $(($(date +%s) - began)) s"
  if [ "$status" -ne 0 ]; then
    found=1
    grep -E '^=========' "$logs/$tool.log" | head -n 12
    tail -n 2 "$logs/$tool.log"
  fi
done
exit "$found"
