#!/usr/bin/env bash
# Option parsing for all scripts: source it after setting variables to the defaults.
#
# `--foo-bar VALUE` sets the variable foo_bar, which must already be set. A variable whose value is
# true or false is a flag and takes no value. All scripts accept `--force`. `--set KEY=VALUE` can be
# repeated; the array `overrides` collects it as (--set KEY=VALUE ...). `--help` prints the header
# comment of the calling script, followed by the common options that the script accepts but does not
# explain itself. A script that sets recipe_dir gets two arrays: `recipe_options`, which all commands
# on a recipe accept, and `stage_options`, the same with --force, for commands that skip what is
# complete.

# Options with the same meaning in all scripts that set these variables.
declare -A common_options=(
  [recipe_dir]="--recipe-dir DIR    directory of the recipe, whose conf/, data/ and exp/ are used"
  [corpus_dir]="--corpus-dir DIR    an existing copy of the corpus (default: the one of an earlier run;
                      if there is none, it is downloaded into the recipe's corpus/)"
  [nj]="--nj N              number of parallel jobs, if the work can be divided"
  [engine]="--engine NAME       local or slurm (default: as cmd.sh says)"
  [retries]="--retries N         run a failed job again, alone, up to N times (default: as cmd.sh says
                      for Slurm, else 0)"
  [overrides]="--set S.KEY=VALUE   override a configuration value; can be repeated"
  [force]="--force             run again even if complete and unchanged"
)

# die WHAT FIX: print an error and its fix, and exit with code 2.
die() {
  printf 'error: %s\n  fix: %s\n' "$1" "$2" >&2
  exit 2
}

# print_help FILE: print the header comment of a script, without the #, and the common options.
print_help() {
  local header name text
  header=$(awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' "$1")
  [[ $header == *Options:* || ! -v recipe_dir ]] || header+=$'\n\nOptions:'
  printf '%s\n' "$header"
  [[ -v recipe_dir ]] || return 0
  for name in recipe_dir corpus_dir nj engine retries overrides force; do
    text=${common_options[$name]}
    [[ $name == overrides || -v $name ]] || continue
    [[ $header != *"${text%% *} "* ]] || continue
    case $name in
      recipe_dir | nj) [[ -z ${!name} ]] || text+=" (default: ${!name})" ;;
    esac
    printf '  %s\n' "$text"
  done
  printf '  --help              show this text\n'
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
  [[ -n $recipe_dir ]] || die "--recipe-dir is missing" "give a directory under egs/"
  recipe_options=(--recipe-dir "$recipe_dir" "${overrides[@]}")
  stage_options=("${recipe_options[@]}")
  if [[ $force == true ]]; then stage_options+=(--force); fi
fi
