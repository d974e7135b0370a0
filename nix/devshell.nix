# `nix develop`: what building and running from a checkout takes.
{ pkgs, bench, ... }:
{
  default = pkgs.mkShell {
    inputsFrom = [ bench ];
    packages = [
      pkgs.cargo
      pkgs.clippy
      pkgs.rustc
      pkgs.rustfmt
      pkgs.rust-analyzer
      pkgs.nixpkgs-fmt
      pkgs.qemu_test
    ];
    # Unlike the package, a checkout's harness builds the agent itself.
    buildInputs = [ pkgs.glibc.static ];
    shellHook = "unset MESHBENCH_AGENT";
  };
}
