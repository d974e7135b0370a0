# The leaderboard, of the result sets in results/. Without any it says so. They lie beside it under the name that they
# have in a clone: the commands that repeat a cell name them.
{ pkgs, root, bench }:
pkgs.runCommand "meshbench-site" { } ''
  ln -s ${root + "/results"} results
  ${bench}/bin/bench results verify results
  ${bench}/bin/bench report results -o site || [ $? = 4 ]
  mv site $out
''
