#!/usr/bin/env bash
# What is worth measuring on one large GPU, in order of value, within 10 minutes; results are written after each part.
#
#   OUT=results/gpu MODEL=runs/smollm2 DATA=../shared/data PYTHON=.venv/bin/python benchmarks/gpu/run.sh
#   SIZE=tiny benchmarks/gpu/run.sh          # a smoke test on a CPU, a few minutes
#
# It needs no network. Beforehand there must be:
#   PYTHON  (python)  a Python with mixwright[lm,preference] and a torch that sees the GPU, such as a virtual environment
#           made from a folder of wheels: pip install --no-index --find-links WHEELS 'mixwright[lm,preference]'; and a C
#           compiler for torch.compile
#   DATA    (../shared/data)  text/, qa/ and pref/
#   MODEL   (runs/smollm2)    optional: SmolLM2-135M-Instruct as base_model.py makes it; parts that need it are left out
#           without it
# Others: OUT (benchmarks/results/gpu) for results; RUNS (runs/gpu) for what a later call goes on with; SIZE (large or
# tiny, where limits are ten times as long); TOTAL (580) seconds in all; CORES (the machine's, at most 8) trainings at a
# time.
#
# A part that reaches its limit is stopped, the next one begins, and the next call goes on with it. Finished parts are
# not done again.
set -u
cd "$(dirname "$0")/../.." || exit 1
PYTHON=${PYTHON:-python} DATA=${DATA:-../shared/data} MODEL=${MODEL:-runs/smollm2} SIZE=${SIZE:-large}
OUT=${OUT:-benchmarks/results/gpu} RUNS=${RUNS:-runs/gpu}
if [ "${1:-}" = --size ]; then SIZE=${2:?--size large or --size tiny}; fi
case $SIZE in large | tiny) ;; *) echo "SIZE should be large or tiny, found $SIZE" >&2; exit 2 ;; esac
[ -d "$DATA/text" ] || { echo "DATA should be a folder with text/, qa/ and pref/, found $DATA" >&2; exit 2; }
TOTAL=${TOTAL:-$([ "$SIZE" = tiny ] && echo 5800 || echo 580)}
cores=$(env -u OMP_NUM_THREADS nproc)
CORES=${CORES:-$((cores < 8 ? cores : 8))}
RUNS=$RUNS/$SIZE
mkdir -p "$OUT/logs" "$RUNS" || exit 1
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=true

machine() { # what results are of: every table gets it as its last line
  nvidia-smi -L 2>/dev/null | sed 's/ (UUID.*//' || true
  "$PYTHON" -c 'import platform, torch; print(f"{platform.machine()}, torch {torch.__version__}, CUDA {torch.version.cuda}")'
}
MACHINE=$(machine | paste -sd'|' | sed 's/|/, /g') || exit 1
echo "$MACHINE, $cores cores, $(git rev-parse --short HEAD 2>/dev/null || true), SIZE=$SIZE" | tee "$OUT/machine.txt"

part() { # NAME LIMIT COMMAND...: within its limit and what is left of the total
  local name=$1 limit=$2 left=$((TOTAL - SECONDS)) code=0
  shift 2
  [ "$SIZE" = tiny ] && limit=$((10 * limit)) # a busy CPU is slow
  if [ -e "$RUNS/$name.done" ]; then echo "$name: done before"; return; fi
  ((left < limit)) && limit=$left
  if ((limit < 20)); then echo "$name: no time left; call again to go on"; return; fi
  local begin=$SECONDS
  { timeout --signal=INT --kill-after=15 "$limit" "$@" >>"$OUT/logs/$name.log" 2>&1 || code=$?; } 2>/dev/null
  case $code in
    0) touch "$RUNS/$name.done"; echo "$name: done, $((SECONDS - begin)) s" ;;
    124 | 130 | 137) echo "$name: stopped at $((SECONDS - begin)) s; call again to go on" ;;
    *) echo "$name: failed ($code) after $((SECONDS - begin)) s, see $OUT/logs/$name.log"; tail -3 "$OUT/logs/$name.log" ;;
  esac
}
table() { # NAME COMMAND...: $OUT/NAME.md from what there is so far
  local name=$1
  shift
  if "$@" >"$OUT/$name.part" 2>>"$OUT/logs/$name.log" && grep -q "^|" "$OUT/$name.part"; then
    { cat "$OUT/$name.part"; echo; echo "Measured on: $MACHINE."; } >"$OUT/$name.md"
  fi
  rm -f "$OUT/$name.part"
}
with_model() { # whether there is a base model, with words where there is none
  [ -e "$MODEL/config.json" ] || { echo "$1: left out, since MODEL ($MODEL) is no folder of a model"; return 1; }
}

# 1. What gradient statistics add to a step, bf16, eager and compiled.
part overhead 100 "$PYTHON" benchmarks/gpu/overhead.py --size "$SIZE" --out "$OUT"

# 2. AutoMixAlign on the real model; the rates of the weights are those that preference_map.py chose.
if with_model preference; then
  real=(--model "$MODEL" --data "$DATA" --folder "$RUNS/preference" --cores "$CORES")
  part preference 260 "$PYTHON" benchmarks/preference_real.py run --size "$SIZE" --seeds 2 "${real[@]}"
  table preference_real "$PYTHON" benchmarks/preference_real.py table "${real[@]}"
fi

# 3. PiKE by its own measure, two scales; settings were chosen at 1M, and lines of trainings are added to $OUT/rows.
rows=$OUT/rows/pike_questions.jsonl
asked=(--data "$DATA" --folder "$RUNS/pike" --rows "$rows" --cores "$CORES" --seeds 2)
if [ "$SIZE" = tiny ]; then
  part pike_choose 120 "$PYTHON" benchmarks/pike_questions.py choose domains --size tiny "${asked[@]}"
  part pike_tiny 120 "$PYTHON" benchmarks/pike_questions.py run domains --size tiny "${asked[@]}"
else
  part pike_30M 150 "$PYTHON" benchmarks/pike_questions.py run domains --size 30M "${asked[@]}"
fi
table pike_questions "$PYTHON" benchmarks/pike_questions.py table --rows "$rows"

# 4. MixMin for adapting the real model (tiny makes a model of its own).
if [ "$SIZE" = tiny ] || with_model adapt; then
  adapt=(--data "$DATA" --folder "$RUNS/adapt" --size "$SIZE" --seeds 2 --cores "$CORES")
  [ "$SIZE" = tiny ] || adapt+=(--model "$MODEL")
  part adapt 150 "$PYTHON" benchmarks/adapt_real.py run "${adapt[@]}"
  table adapt_real "$PYTHON" benchmarks/adapt_real.py table "${adapt[@]}"
fi

# 5. PiKE at the next scale, with whatever time is left.
if [ "$SIZE" = large ]; then
  part pike_100M 300 "$PYTHON" benchmarks/pike_questions.py run domains --size 100M "${asked[@]}"
  table pike_questions "$PYTHON" benchmarks/pike_questions.py table --rows "$rows"
fi
echo "$SECONDS s; results are in $OUT"
