# The checks of the main flake in Nix's own sandbox, on a machine that has Nix but no nixpkgs: harness, QEMU and guest
# images are the host's, brought in as sandbox paths by ../sandbox.sh.
{
  description = "meshbench checks without nixpkgs";

  outputs =
    { self }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      perSystem = f: builtins.listToAttrs (map (system: { name = system; value = f system; }) systems);
      host = system: {
        inherit system;
        shell = "/bin/sh";
        path = "/usr/bin:/bin";
        bench = "/meshbench/bench";
        guests = {
          internal = "/meshbench/guest";
          wireguard = "/meshbench/guest";
        };
        root = builtins.path {
          name = "meshbench-root";
          path = ../../..;
          filter = path: _: builtins.match ".*/(modules|checks)(/.*)?" path != null;
        };
      };
    in
    {
      checks = perSystem (system: {
        wireguard-lan = import ../../mkCheck.nix (host system) {
          module = "wireguard";
          scenario = "lan";
        };
        run-test = import ../../mkRunTest.nix {
          inherit (host system) system shell path guests;
          name = "two-machines";
          test = "/meshbench/test";
          arguments = [ "--nocapture" ];
          environment.MESHBENCH_ROOT = "${(host system).root}";
        };
      });
    };
}
