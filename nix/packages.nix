# packages.<system>: the harness, its agent, and a guest image per module.
{ lib, agent, bench, guests, ... }:
{
  default = bench;
  inherit agent bench;
}
  // lib.mapAttrs' (name: lib.nameValuePair "guest-${name}") guests
