#!/usr/bin/env bash
# Checks and times a GPU with what gpu_carry.sh has packed, in ten minutes, the most important first.
#
#   gpu_run.sh FOLDER RESULTS [SECTION…]         SECTION: operations networks graphs sd15 shapes pictures runs peer
#
# Needs a driver, Python 3 and NVIDIA's libraries: as wheels (nvidia-cublas, nvidia-cudnn, …, as PyTorch brings them), installed, or
# in LD_LIBRARY_PATH. Each section is a process of its own under a limit: an error of a kernel makes a card useless for its process,
# and a section that hangs takes no more than its share. LIMIT is what all of them may take, in seconds (570), LIMIT_sd15 what that one
# may, and so for each section.
# In RESULTS: a log for each section, table.md in the form of BENCHMARKS.md, and the kernels that the driver has compiled, which a
# later run in that folder need not wait for. PREFIX_operations="compute-sanitizer --tool racecheck" runs a section by another program.
# SMALL=1 leaves most of each section out, for machines where nothing computes fast. Printed is what failed and the times of Stable
# Diffusion 1.5. Exit code 1 if anything failed.
set -uo pipefail
[ $# -ge 2 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
from=$(cd "$1" && pwd) || exit 2
mkdir -p "$2" || exit 2
out=$(cd "$2" && pwd)
shift 2
sections=("$@")
[ ${#sections[@]} -gt 0 ] || sections=(operations networks graphs sd15 shapes pictures runs peer)
end=$((SECONDS + ${LIMIT:-570}))

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
xz -dc "$from/gpu_check.xz" > "$work/gpu_check" 2> "$work/why" ||
    python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' "$from/gpu_check.xz" > "$work/gpu_check" ||
    { cat "$work/why" >&2; exit 2; }
chmod +x "$work/gpu_check"

# The libraries: what is set, Python's wheels, the usual folders.
wheels=$(python3 - <<'PY' 2>/dev/null
import glob, importlib.util, os
found = importlib.util.find_spec("nvidia")
for root in (found.submodule_search_locations if found else []):
    print(*sorted(os.path.dirname(p) for p in glob.glob(os.path.join(root, "*", "lib", "lib*.so*"))), sep="\n")
PY
)
for folder in $(sort -u <<< "$wheels") /usr/local/cuda/lib64 /usr/local/nvidia/lib64 /usr/lib/wsl/lib; do
    [ -d "$folder" ] && LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
done
export LD_LIBRARY_PATH
export CUDA_CACHE_PATH=${CUDA_CACHE_PATH:-$out/kernels} CUDA_CACHE_MAXSIZE=1073741824 CUDA_MODULE_LOADING=LAZY
card=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -1)

limit_of() {
    local set=LIMIT_$1
    [ -z "${!set:-}" ] || { echo "${!set}"; return; }
    case $1 in
        operations) echo 120 ;; networks | graphs) echo 60 ;; sd15) echo 200 ;; shapes) echo 90 ;; runs) echo 80 ;; peer) echo 150 ;; *) echo 50 ;;
    esac
}
# PyTorch on the same work, if it is there.
peer() {
    [ -f "$from/peer.py" ] || { echo "no peer was packed"; return 0; }
    python3 -c 'import torch, diffusers' 2> /dev/null || { echo "PyTorch or diffusers is not installed"; return 0; }
    for args in "lora --dtype bf16" "lora --dtype bf16 --res 512" "lora --dtype bf16 --res 512 --batch 4" "full --dtype bf16" "sample --dtype bf16 --res 512" "lora"; do
        echo "peer $args"
        # The words of a work are arguments.
        # shellcheck disable=SC2086
        python3 "$from/peer.py" $args --device cuda --steps 10 2> "$out/peer.stderr"
    done
}
failed=0 summary=()
for section in "${sections[@]}"; do
    left=$((end - SECONDS)) limit=$(limit_of "$section") begun=$SECONDS log=$out/$section.log
    [ "$left" -lt "$limit" ] && limit=$left
    if [ "$limit" -le 5 ]; then
        summary+=("$section: not begun, no time was left") failed=1
        continue
    fi
    if [ "$section" = peer ]; then
        export -f peer
        export from out
        timeout -k 5 "$limit" bash -c peer > "$log" 2>&1
    else
        prefix=PREFIX_$section
        # The words of a prefix.
        # shellcheck disable=SC2086
        timeout -k 5 "$limit" ${!prefix:-} "$work/gpu_check" --device cuda --only "$section" ${SMALL:+--small} > "$out/$section.md" 2> "$log"
    fi
    code=$?
    good=$(grep -c '^ok  ' "$log") bad=$(grep -c '^FAILED  ' "$log")
    case $code in
        0) how="" ;; 124 | 137) how=", stopped after its $limit s" ;; *) how=", exit code $code" ;;
    esac
    summary+=("$section: $good good, $bad failed, $((SECONDS - begun)) s$how")
    { [ "$code" = 0 ] && [ "$bad" = 0 ]; } || failed=1
    [ "$code" = 0 ] || [ "$bad" != 0 ] || tail -3 "$log"
done

# The rows of the benchmark: `bench WORK --res N --batch N`, its type, and what was seen.
rows() { sed -nE 's/^(ok|FAILED)  bench (.*)  (f32|bf16|f16|tf32)  ([0-9.]+) s a step, (.*)$/\2\t\3\t\4\t\1\t\5/p' "$out/sd15.log" 2> /dev/null; }
peer_seconds() { # work, type
    local words=${1/ --res 256/}
    words=${words/ --batch 1/}
    awk -v work="peer ${words%% *} --dtype $2 ${words#"${words%% *}"}" '
        function plain(s) { gsub(/ +/, " ", s); sub(/ $/, "", s); sub(/ --dtype f32/, "", s); return s }
        /^peer / { found = plain($0) == plain(work) }
        found && match($0, /"seconds_per_step": ?[0-9.eE-]+/) { s = substr($0, RSTART, RLENGTH); sub(/.*: ?/, "", s); print s; exit }' "$out/peer.log" 2> /dev/null
}
{
    echo "On ${card:-an unknown card}, $(date -u +%Y-%m-%d), commit $(cat "$from/commit" 2> /dev/null): \`gpu_run.sh\`."
    echo
    echo "| work | type | tunelab, s | peer, s | ratio | seen |"
    echo "| --- | --- | ---: | ---: | ---: | --- |"
    rows | while IFS=$'\t' read -r what dtype seconds state seen; do
        theirs=$(peer_seconds "$what" "$dtype")
        ratio=$([ -z "$theirs" ] || awk "BEGIN { printf \"%.2f\", $seconds / $theirs }")
        [ "$state" = ok ] || seen="FAILED: $seen"
        echo "| $what | $dtype | $seconds | ${theirs:+$(printf %.4f "$theirs")} | $ratio | $seen |"
    done
    echo
    printf '%s\n' "${summary[@]}" | sed 's/^/- /'
} > "$out/table.md"
grep -h '^FAILED  ' "$out"/*.log 2> /dev/null | head -40 | cut -c1-200
cat "$out/table.md"
exit $failed
