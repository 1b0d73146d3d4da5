#!/usr/bin/env bash
# Option parsing for every script here; source it after setting the defaults as variables.
#
# `--foo-bar VALUE` sets foo_bar, which must be set already; a variable that holds true or false
# is a flag and takes no value. `--force` is known everywhere. `--set KEY=VALUE` may be given
# again: it collects in the array `overrides` as (--set KEY=VALUE ...). `--help` prints the header
# comment of the calling script, and the common options that it takes but leaves to be explained
# here. A script that sets recipe_dir gets the array `stage_options`, which every stage's command
# takes.

# Options that mean the same everywhere, of scripts that set these variables.
declare -A common_options=(
  [recipe_dir]="--recipe-dir DIR    the recipe: its conf/, data/ and exp/ are used"
  [corpus_dir]="--corpus-dir DIR    an existing copy (default: where it was found before; else it is
                      downloaded into the recipe's corpus/)"
  [nj]="--nj N              jobs at a time, where the work can be shared out"
  [overrides]="--set S.KEY=VALUE   override a configuration value; may be given again"
  [force]="--force             redo although complete and unchanged"
)

# die WHAT FIX: the two lines of an error, and exit code 2.
die() {
  printf 'error: %s\n  fix: %s\n' "$1" "$2" >&2
  exit 2
}

# print_help FILE: the comment at the head of a script, without its marks, and the common options.
print_help() {
  local header name text
  header=$(awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' "$1")
  [[ $header == *Options:* || ! -v recipe_dir ]] || header+=$'\n\nOptions:'
  printf '%s\n' "$header"
  [[ -v recipe_dir ]] || return 0
  for name in recipe_dir corpus_dir nj overrides force; do
    text=${common_options[$name]}
    [[ $name == overrides || -v $name ]] || continue
    [[ $header != *"${text%% *} "* ]] || continue
    case $name in
      recipe_dir | nj) [[ -z ${!name} ]] || text+=" (default: ${!name})" ;;
    esac
    printf '  %s\n' "$text"
  done
  printf '  --help              this text\n'
}

: "${force:=false}"
overrides=()
while (($# > 0)); do
  case $1 in
    --help | -h)
      print_help "$0"
      exit 0
      ;;
    --set)
      (($# > 1)) || die "--set: no value" "write --set section.key=value"
      overrides+=(--set "$2")
      shift 2
      ;;
    --*)
      _name=${1#--}
      _name=${_name//-/_}
      [[ -v $_name ]] || die "unknown option $1" "see $0 --help"
      if [[ ${!_name} == true || ${!_name} == false ]]; then
        printf -v "$_name" true
        shift
      else
        (($# > 1)) || die "$1: no value" "see $0 --help"
        printf -v "$_name" '%s' "$2"
        shift 2
      fi
      ;;
    *)
      die "unexpected argument '$1'" "see $0 --help"
      ;;
  esac
done
unset _name common_options
if [[ -v recipe_dir ]]; then
  [[ -n $recipe_dir ]] || die "no --recipe-dir" "choose a directory under egs/"
  stage_options=(--recipe-dir "$recipe_dir" "${overrides[@]}")
  if [[ $force == true ]]; then stage_options+=(--force); fi
fi
