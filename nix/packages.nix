# packages.<system>: the harness, its agent, the leaderboard of the published results, and a guest image per module.
{ lib, agent, bench, site, guests, ... }:
{
  default = bench;
  inherit agent bench site;
}
  // lib.mapAttrs' (name: lib.nameValuePair "guest-${name}") guests
