# lib: functions for other flakes. Each takes a package set besides its own arguments:
#
#   meshbench.lib.mkCheck { inherit pkgs; module = "wireguard"; scenario = "lan"; }
{ lib, scope }:
let
  fromNodes = withPkgs "fromNodes";
  fromClan = import ./clan.nix { inherit lib fromNodes; };
  fromNixosTest = import ./from-nixos-test.nix { inherit lib fromNodes; };
  withPkgs = name: { pkgs, ... }@arguments: (scope pkgs).${name} (builtins.removeAttrs arguments [ "pkgs" ]);
in
lib.genAttrs [ "mkGuest" "mkCheck" "mkMatrix" "mkRoot" "fromNodes" "runTest" ] withPkgs
  // {
  # For tools that are not from nixpkgs, as in tests/sandbox.
  mkCheckWith = import ./mkCheck.nix;
  inherit fromClan fromNixosTest;
  mkChecks = import ./mkChecks.nix { inherit lib fromNodes fromClan fromNixosTest; mkCheck = withPkgs "mkCheck"; };
}
