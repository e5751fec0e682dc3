#!/usr/bin/env bash
# Answers the eight commonsense sets, or those of --dataset, with a trained adapter, one after the other.
#
#   scripts/run_eval_decoding.sh CKPT [--dataset=NAME[,NAME...]] [FLAG...]
#
# The commonsense sets and gsm8k get beams of 4, as train_hira.py's script has it; the others decode in a fixed way, whatever the beams.
# CKPT is a run's folder, one of its checkpoints, or a peft adapter. Further flags go to every call of hira and win over
# the ones here (--limit=200, --data_dir=DIR, --batch=4 ...). A set that is answered already is skipped; one that fails
# does not keep the others from being answered, but the script then ends with exit code 1.
# Score the answers with: hira score CKPT
set -uo pipefail

if [ $# -lt 1 ] || [ "${1#-}" != "$1" ]; then
  echo "usage: $0 CKPT [--dataset=NAME[,NAME...]] [FLAG...]" >&2
  exit 2
fi
ckpt=$1
shift
hira=$(dirname "$0")/../bin/hira.js
failed=()
child=
sets=(boolq piqa siqa hellas winog arce arcc obqa)
flags=()
for flag in "$@"; do
  case $flag in
    --dataset=*) IFS=, read -ra sets <<<"${flag#--dataset=}" ;;
    *) flags+=("$flag") ;;
  esac
done

# A signal to this script alone, such as a batch system's, is for the hira that is at work.
pass_on() { [ -z "$child" ] || kill -s "$1" "$child" 2>/dev/null; }
for signal in INT TERM HUP USR1 USR2; do trap "pass_on $signal" "$signal"; done

for dataset in "${sets[@]}"; do
  echo "== $dataset"
  case $dataset in
    convai2 | meta_math | mmlu | e2e_nlg | e2e_cleaned | samsum | dailydialog) beams=() ;;
    *) beams=(--beam_size=4) ;;
  esac
  node "$hira" --dataset="$dataset" --batch=16 --ckpt="$ckpt" ${beams[@]+"${beams[@]}"} ${flags[@]+"${flags[@]}"} &
  child=$!
  # A signal ends the waiting, but not what is waited for.
  while wait "$child"; status=$?; kill -0 "$child" 2>/dev/null; do :; done
  child=
  # A signal to stop is meant for the whole script: INT, TERM, HUP, USR1, USR2.
  case $status in 130 | 143 | 129 | 138 | 140) exit "$status" ;; esac
  if [ "$status" -ne 0 ]; then failed+=("$dataset (exit code $status)"); fi
done

if [ ${#failed[@]} -gt 0 ]; then
  {
    echo "error: ${#failed[@]} of ${#sets[@]} sets failed:"
    printf '  %s\n' "${failed[@]}"
  } >&2
  exit 1
fi
