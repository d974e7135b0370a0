# packages.<system>: the harness, its agent, the leaderboard of the published results, and a guest image per module.
{ lib, pkgs, root, agent, bench, guests, ... }:
{
  default = bench;
  inherit agent bench;
  site = pkgs.runCommand "meshbench-site" { } ''
    ${bench}/bin/bench report ${root + "/results"} -o $out
  '';
}
  // lib.mapAttrs' (name: lib.nameValuePair "guest-${name}") guests
