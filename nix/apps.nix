# `nix run .#bench -- ARGUMENTS`: the harness, with guests built by Nix when they are needed.
{ lib, pkgs, found, flake, ... }@scope:
let
  program = pkgs.writeShellScript "bench" ''
    export PATH=$PATH:${lib.makeBinPath [ pkgs.nix ]}
    exec ${pkgs.runtimeShell} ${./bench.sh} ${scope.bench}/bin/bench path:${flake} \
      ${lib.escapeShellArg (toString (builtins.attrNames found.modules))} "$@"
  '';
in
rec {
  default = bench;
  bench = {
    type = "app";
    program = "${program}";
    meta.description = "Measure VPNs on guests that Nix builds on demand";
  };
}
