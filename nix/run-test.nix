# runTest: a NixOS test whose script is Rust. The program gets guests made of NixOS configurations, and uses the crate
# `harness` to put them into clusters; what it writes to $out stays.
#
#   meshbench.lib.runTest {
#     inherit pkgs;
#     name = "two-routers";
#     nodes.wireguard = { pkgs, ... }: { environment.systemPackages = [ pkgs.wireguard-tools ]; };
#     test = "${my-tests}/bin/two-routers";
#   }
#
# The program finds in the environment MESHBENCH_GUESTS, a JSON object of guest.json by node (`internal`, which the
# network itself runs, among them), MESHBENCH_CACHE, and QEMU in PATH. harness/meshbench/tests/nix_run_test.rs is one.
{ lib, pkgs, mkGuest, guests }:
{ name
  # NixOS modules by the name of the image.
, nodes ? { }
  # An executable that exits with 0 if all is well.
, test
, arguments ? [ ]
, features ? [ "nixos-test" ]
, environment ? { }
}:
let
  image = node: module: mkGuest { name = node; modules = [ module ]; };
  images = { inherit (guests) internal; } // lib.mapAttrs image nodes;
in
import ./mkRunTest.nix {
  system = pkgs.stdenv.hostPlatform.system;
  shell = pkgs.runtimeShell;
  path = lib.makeBinPath [ pkgs.coreutils pkgs.qemu_test ];
  guests = images;
  inherit name test arguments features environment;
}
