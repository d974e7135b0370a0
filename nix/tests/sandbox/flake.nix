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
          internal = "/meshbench/internal";
          wireguard = "/meshbench/wireguard";
          naked = "/meshbench/internal";
        };
        root = builtins.path {
          name = "meshbench-root";
          path = ../../..;
          filter = path: _: builtins.match ".*/(modules|checks)(/.*)?" path != null;
        };
      };

      # One machine holds the network and all members; neither KVM nor a quiet machine is needed.
      sealed = host: host // {
        features = [ ];
        qemu = "/meshbench/qemu";
      };

      # A VPN that says it encrypts, and is the bare wire.
      naked = host: host // {
        root = derivation {
          name = "meshbench-root-naked";
          inherit (host) system root;
          builder = host.shell;
          args = [
            "-c"
            ''
              mkdir -p $out/modules
              cp -r $root/checks $root/modules $out/
              chmod -R u+w $out
              cp -r ${./naked} $out/modules/naked
            ''
          ];
          PATH = host.path;
        };
      };
    in
    {
      checks = perSystem (system: {
        wireguard-lan = import ../../mkCheck.nix (host system) {
          module = "wireguard";
          scenario = "lan";
        };
        # Its output is a function of its inputs: ../sandbox.sh builds it a second time.
        wireguard-virtual = import ../../mkCheck.nix (sealed (host system)) {
          module = "wireguard";
          scenario = "home-dsl";
          workloads = [ "connect" "ping" ];
          clock = "virtual";
          contract = false;
        };
        # Such a VPN would fail the build, were it strict.
        naked-lan = import ../../mkCheck.nix (naked (host system)) {
          module = "naked";
          scenario = "lan";
          workloads = [ "connect" ];
          strict = false;
          contract = true;
        };
        run-test = import ../../mkRunTest.nix {
          inherit (host system) system shell path guests;
          name = "two-machines";
          test = "/meshbench/test";
          arguments = [ "--nocapture" "wireguard" ];
          environment.MESHBENCH_ROOT = "${(host system).root}";
        };
        image-boots = import ../../mkRunTest.nix {
          inherit (host system) system shell path;
          name = "image";
          test = "/meshbench/test";
          arguments = [ "--nocapture" "image" ];
          guests.image = import ./image.nix {
            inherit system;
            tools = "/meshbench/tools";
            guest = "/meshbench/wireguard";
            # ../sandbox.sh leaves it here.
            release = builtins.readFile ./release;
          };
        };
      });
    };
}
