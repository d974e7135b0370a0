# checks.<system>: what `nix flake check` proves. Bounded: every module on two networks, once and briefly, in virtual
# time, so that everyone has the same figures.
{ lib, pkgs, root, found, bench, mkCheck, ... }:
let
  scenarios = [ "lan" "home-dsl" ];
  # A coordinator that no guest can reach, or a relay that no VPN has, is part of a scenario's expectation: a cell
  # that should be unreachable and is does not count as failed.
  one = module: scenario: lib.nameValuePair "${module}-${scenario}" (mkCheck {
    inherit module scenario;
    clock = "virtual";
  });
  measured = lib.listToAttrs (lib.concatMap (module: map (one module) scenarios) (builtins.attrNames found.vpns));

  rust = name: tools: command: bench.overrideAttrs (old: {
    name = "meshbench-${name}";
    nativeBuildInputs = old.nativeBuildInputs ++ tools;
    buildPhase = command;
    doCheck = false;
    installPhase = "touch $out";
    postInstall = "";
    dontFixup = true;
  });
in
measured // {
  inherit bench;
  clippy = rust "clippy" [ pkgs.clippy ] "cargo clippy --offline --workspace --all-targets -- --deny warnings";
  rustfmt = rust "rustfmt" [ pkgs.rustfmt ] "cargo fmt --all --check";
  nix = pkgs.runCommand "meshbench-nix" { nativeBuildInputs = [ pkgs.nixpkgs-fmt ]; } ''
    nixpkgs-fmt --check ${root + "/flake.nix"} ${root + "/nix"} $(find ${root + "/modules"} -name '*.nix')
    touch $out
  '';
}
