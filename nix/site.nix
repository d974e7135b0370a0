# The leaderboard, of the result sets in results/. Without any it says so.
{ pkgs, root, bench }:
pkgs.runCommand "meshbench-site" { } ''
  ${bench}/bin/bench results verify ${root + "/results"}
  ${bench}/bin/bench report ${root + "/results"} -o site || [ $? = 4 ]
  mv site $out
''
