# What ./boot.sh boots: guests of our modules, members as people write them, and a clan, of real NixOS modules with
# Debian's programs.
{ nixpkgs
, archive
, words
, # A Debian guest image of the harness: kernel, modules and agent.
  guest
, release
, # Programs that the harness has compiled: name -> folder with bin/, as JSON.
  compiled ? "{}"
, # For checks: folders with bin/bench and with bin/run-test, and the root of the QEMU of virtual time.
  bench ? null
, test ? null
, qemu ? null
, # As ./clan.nix: clan-core and its inputs, or nothing.
  core ? null
, inputs ? null
}:
let
  folder = path: /. + path;
  agent = import ./debian-packages/agent.nix { inherit pkgs guest; };
  programs = builtins.mapAttrs (_: builtins.storePath) (builtins.fromJSON compiled) // {
    meshbench-agent = agent;
    meshbench = relocated "meshbench" bench;
    qemu_test = pkgs.writeShellScriptBin "qemu-system-x86_64" (
      let root = builtins.storePath qemu; libraries = "${root}/usr/lib/x86_64-linux-gnu"; in
      "exec ${libraries}/ld-linux-x86-64.so.2 --library-path ${libraries} ${root}/usr/bin/qemu-system-x86_64 "
      + "-L ${root}/usr/share/qemu -L ${root}/usr/share/seabios \"$@\""
    );
  };
  # A program of this machine with the libraries of the store.
  relocated = name: folder: derivation {
    inherit name;
    folder = builtins.storePath folder;
    inherit (shim) debian;
    inherit (pkgs) system;
    builder = "${pkgs.bash}/bin/bash";
    PATH = "${shim.debian}/usr/bin";
    args = [
      "-euc"
      ''
        cp -r $folder $out
        libraries=$debian/usr/lib/x86_64-linux-gnu
        chmod -R u+w $out
        for program in $out/bin/*; do
          patchelf --set-interpreter $libraries/ld-linux-x86-64.so.2 --force-rpath --set-rpath $libraries $program
        done
        exit 0
      ''
    ];
  };
  shim = import ./debian-packages {
    nixpkgs = folder nixpkgs;
    words = folder words;
    inherit archive guest release;
    compiled = programs;
  };
  inherit (shim) lib;
  pkgs = shim.legacyPackages.x86_64-linux;
  meshbench = import ../default.nix { self = { outPath = ../..; }; nixpkgs = shim; };

  # Drawn for this test.
  keys = machine: derivation {
    name = "keys-of-${machine}";
    inherit (pkgs) system;
    builder = "${pkgs.bash}/bin/bash";
    PATH = lib.makeBinPath [ pkgs.coreutils pkgs.wireguard-tools ];
    args = [
      "-euc"
      ''
        mkdir $out
        wg genkey >$out/private
        wg pubkey <$out/private | tr -d '\n' >$out/public
        exit 0
      ''
    ];
  };
  tincKeys = machine: derivation {
    name = "tinc-keys-of-${machine}";
    inherit (pkgs) system;
    inherit machine;
    builder = "${pkgs.bash}/bin/bash";
    PATH = lib.makeBinPath [ pkgs.coreutils pkgs.tinc ];
    args = [
      "-euc"
      ''
        mkdir -p $out/hosts
        echo "Name = $machine" >$out/tinc.conf
        tincd -c $out -K 2048 </dev/null
        exit 0
      ''
    ];
  };
  public = machine: builtins.readFile "${keys machine}/public";

  # Much of what a machine at home has, and none of which may be in the way.
  hardware = { pkgs, ... }: {
    boot.loader.grub = { enable = true; device = "/dev/sda"; };
    fileSystems."/" = { device = "/dev/disk/by-label/nixos"; fsType = "ext4"; };
    swapDevices = [{ device = "/dev/disk/by-label/swap"; }];
    networking = {
      useDHCP = true;
      interfaces.eth0.ipv4.addresses = [{ address = "192.168.77.7"; prefixLength = 24; }];
      firewall = { enable = true; allowPing = true; allowedUDPPorts = [ 51820 ]; allowedTCPPorts = [ 655 ]; };
    };
    services.openssh.enable = true;
    users.users.me = { isNormalUser = true; };
  };
  numbers = { alice = "1"; bob = "2"; };
  other = { alice = "bob"; bob = "alice"; };
  each = f: lib.genAttrs [ "alice" "bob" ] (machine: { imports = [ hardware (f machine) ]; });

  members = {
    quick = {
      units = [ "wg-quick-wg0.service" ];
      interface = "wg0";
      nodes = each (machine: {
        networking.wg-quick.interfaces.wg0 = {
          address = [ "10.99.0.${numbers.${machine}}/24" ];
          listenPort = 51820;
          privateKeyFile = "${keys machine}/private";
          peers = [{
            publicKey = public other.${machine};
            allowedIPs = [ "10.99.0.${numbers.${other.${machine}}}/32" ];
            endpoint = "${other.${machine}}:51820";
            # Both are behind NAT where one loses its power or reboots.
            persistentKeepalive = 25;
          }];
        };
      });
    };
    scripted = {
      units = machine: [
        "wireguard-wg0.service"
        "wireguard-wg0-peer-${escaped (public other.${machine})}.service"
      ];
      address = machine: [ "10.99.0.${numbers.${machine}}" ];
      nodes = each (machine: {
        networking.wireguard.interfaces.wg0 = {
          ips = [ "10.99.0.${numbers.${machine}}/24" ];
          listenPort = 51820;
          privateKeyFile = "${keys machine}/private";
          peers = [{
            publicKey = public other.${machine};
            allowedIPs = [ "10.99.0.${numbers.${other.${machine}}}/32" ];
            endpoint = "${other.${machine}}:51820";
            # Both are behind NAT where one loses its power or reboots.
            persistentKeepalive = 25;
          }];
        };
      });
    };
    # One daemon that makes its interfaces by itself, and waits for udev to know them.
    networkd = {
      units = [ "systemd-networkd.service" ];
      interface = "wg0";
      nodes = each (machine: {
        # Instead of what it has at home.
        networking = { useDHCP = lib.mkForce false; interfaces = lib.mkForce { }; };
        systemd.network = {
          enable = true;
          netdevs."40-wg0" = {
            netdevConfig = { Kind = "wireguard"; Name = "wg0"; };
            wireguardConfig = { PrivateKeyFile = "${keys machine}/private"; ListenPort = 51820; };
            wireguardPeers = [{
              wireguardPeerConfig = {
                PublicKey = public other.${machine};
                AllowedIPs = [ "10.99.0.${numbers.${other.${machine}}}/32" ];
                Endpoint = "${other.${machine}}:51820";
                PersistentKeepalive = 25;
              };
            }];
          };
          networks."40-wg0" = { matchConfig.Name = "wg0"; address = [ "10.99.0.${numbers.${machine}}/24" ]; };
        };
      });
    };
    # A gateway address of its own by a script, as tinc wants it.
    tinc = {
      units = [ "tinc.vpn.service" ];
      interface = "tinc.vpn";
      nodes = each (machine: { pkgs, ... }: {
        services.tinc.networks.vpn = {
          name = machine;
          chroot = false;
          extraConfig = lib.optionalString (machine == "alice") "ConnectTo = bob";
          hosts = lib.mapAttrs
            (name: number: ''
              Address = ${name}
              Subnet = 10.98.0.${number}/32
              ${builtins.readFile "${tincKeys name}/hosts/${name}"}
            '')
            numbers;
        };
        environment.etc."tinc/vpn/rsa_key.priv" = { source = "${tincKeys machine}/rsa_key.priv"; mode = "0400"; };
        environment.etc."tinc/vpn/tinc-up" = {
          mode = "0755";
          text = ''
            #!${pkgs.runtimeShell}
            ${pkgs.iproute2}/bin/ip address add 10.98.0.${numbers.${machine}}/24 dev $INTERFACE
            ${pkgs.iproute2}/bin/ip link set $INTERFACE up
          '';
        };
      });
    };
    # Certificates are hub's, of the time when they are asked for.
    nebula = {
      units = [ "nebula@vpn.service" ];
      interface = "nebula.vpn";
      prepare = ''
        mkdir -p /etc/nebula
        if is_coordinator; then
            [ -e ca.key ] || nebula-cert ca -name test
            [ -e hub.key ] || nebula-cert sign -name hub -ip 10.97.0.100/24
            cp ca.crt /etc/nebula/
            cp hub.crt /etc/nebula/host.crt
            cp hub.key /etc/nebula/host.key
        else
            base64 -d <admission | tar -x -C /etc/nebula
        fi
      '';
      admit = ''
        case $1 in alice) number=1 ;; *) number=2 ;; esac
        mkdir -p "of-$1"
        cp ca.crt "of-$1/"
        [ -e "of-$1/host.key" ] || nebula-cert sign -name "$1" -ip "10.97.0.$number/24" \
            -out-crt "of-$1/host.crt" -out-key "of-$1/host.key"
        tar -c -C "of-$1" . | base64 -w 0
      '';
      nodes = lib.genAttrs [ "alice" "bob" "hub" ] (machine: { pkgs, ... }: {
        imports = [ hardware ];
        environment.systemPackages = [ pkgs.nebula ];
        services.nebula.networks.vpn = {
          ca = "/etc/nebula/ca.crt";
          cert = "/etc/nebula/host.crt";
          key = "/etc/nebula/host.key";
          isLighthouse = machine == "hub";
          lighthouses = lib.optional (machine != "hub") "10.97.0.100";
          staticHostMap = lib.optionalAttrs (machine != "hub") { "10.97.0.100" = [ "hub:4242" ]; };
          firewall.inbound = [{ port = "any"; proto = "any"; host = "any"; }];
          firewall.outbound = [{ port = "any"; proto = "any"; host = "any"; }];
        };
      });
    };
    # Its activation fails, and that is to be said.
    broken = members.quick // {
      nodes = lib.mapAttrs
        (_: node: { imports = [ node ]; system.activationScripts.broken = "echo 'the disk is on fire' >&2; false"; })
        members.quick.nodes;
    };
  };
  escaped = lib.replaceStrings [ "/" "+" "=" ] [ "-" "\\x2b" "\\x3d" ];
  fromNodes = name: arguments: meshbench.lib.fromNodes ({ inherit pkgs name; } // arguments);

  clan = import ./clan.nix {
    inherit core inputs nixpkgs words archive guest release;
    vars = toString ./stub;
    compiled = programs;
  };
in
{
  inherit (shim) debian;
  guests = lib.genAttrs
    [ "internal" "wireguard" "tinc" "nebula" "openvpn" "yggdrasil" "tailscale" ]
    (name: meshbench.lib.mkGuest { inherit pkgs name; modules = [ (../../modules + "/${name}/nixos.nix") ]; });
  members = lib.mapAttrs (name: arguments: { inherit (fromNodes name arguments) guest folder; }) members;
  # In Nix's sandbox, of what a flake's outputs are made with.
  checks = {
    wireguard = meshbench.lib.mkCheck {
      inherit pkgs;
      module = "wireguard";
      scenario = "home-dsl";
      workloads = [ "connect" "ping" ];
      clock = "virtual";
    };
    quick = (fromNodes "quick" members.quick).mkCheck {
      scenario = "lan";
      workloads = [ "connect" "ping" ];
      clock = "virtual";
    };
    run-test = meshbench.lib.runTest {
      inherit pkgs;
      name = "two-machines";
      nodes.wireguard = ../../modules/wireguard/nixos.nix;
      test = "${relocated "run-test" test}/bin/run-test";
      arguments = [ "--nocapture" "wireguard" ];
      environment.MESHBENCH_ROOT = meshbench.lib.mkRoot { inherit pkgs; };
    };
  };
  clan =
    let made = clan.from (clan.clanOf clan.wireguard).self { vars = null; name = "clan"; }; in
    { inherit (made) guest folder; };
}
