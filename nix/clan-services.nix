# Clan's VPN services: what each of them runs, and what of it must be another way on a network without an Internet.
#
#   units      { instance, config } -> the units that are the VPN
#   devices    { instance, config } -> netdevs of systemd.network that are its interfaces
#   interface  instance -> the interface whose addresses are the overlay's; without it, what the instance exports
#   endpoints  { instance, membersOf, settingsOf } -> hosts it names: [ { name; what; machine; } ], the
#              machine that this is, or null
#   dials      whether it also speaks to hosts that other services export
#   modules    { place, machine, machines, instance, settingsOf } -> NixOS modules
#   hub        why a machine has to stand at hub
#   needed     roles of which every machine has to stand somewhere, and one at least
#   manned     roles that a machine must have, wherever it stands
#   hooks      { instance, machines, nodes } -> further arguments of fromNodes
#   single     a machine's configuration -> whether one daemon runs all instances there
{ lib }:
let
  inherit (builtins) attrNames filter;
  # A machine at a public place, which others can be told of.
  meets = { place, machines, ... }: place != "hub" && machines ? hub;
  services = config: wanted: map (name: "${name}.service") (filter wanted (attrNames config.systemd.services));
  networkd = config: config.networking.wireguard.useNetworkd or config.networking.useNetworkd or false;
in
{
  vpns = {
    wireguard = {
      # networkd makes the interfaces of all; otherwise each has a unit.
      single = networkd;
      manned = [ "controller" ];
      interface = instance: instance;
      units = { instance, config }:
        if networkd config
        then [ "systemd-networkd.service" ]
        else
          services config
            (name: name == "wireguard-${instance}" || lib.hasPrefix "wireguard-${instance}-peer-" name);
      # As NixOS's wireguard-networkd names them.
      devices = { instance, config }: lib.optional (networkd config) "40-${instance}";
      endpoints = { instance, membersOf, settingsOf }: map
        (machine: {
          inherit machine;
          name = (settingsOf "controller" machine).endpoint or null;
          what = "the endpoint of ${machine} in instances.${instance}.roles.controller";
        })
        (membersOf "controller");
    };

    # Its own peers are found by multicast on one network; elsewhere there is hub.
    yggdrasil = {
      single = _: true;
      dials = true;
      interface = _: "ygg";
      units = _: [ "yggdrasil.service" ];
      endpoints = { instance, membersOf, settingsOf }: lib.concatMap
        (machine: map
          (peer: {
            # Whose host it is nobody says.
            machine = null;
            name = lib.last (lib.splitString "://" peer);
            what = "one of extraPeers in instances.${instance}.roles.default";
          })
          ((settingsOf "default" machine).extraPeers or [ ]))
        (membersOf "default");
      modules = { settingsOf, machines, machine, ... }@there: lib.optional (meets there) {
        services.yggdrasil.settings.Peers =
          [ "tcp://hub:${toString ((settingsOf "default" machines.hub).ports.tcp or 6443)}" ];
      };
    };

    # Public nodes are hosts on the Internet; hub takes their place. It takes addresses only, no names.
    mycelium = {
      single = _: true;
      interface = _: "mycelium";
      units = _: [ "mycelium.service" ];
      modules = there: [
        ({ pkgs, ... }: {
          services.mycelium = {
            addHostedPublicNodes = lib.mkForce false;
            peers = lib.mkForce (lib.optionals (meets there) [ "tcp://hub:9651" "quic://hub:9651" ]);
            package = lib.mkForce (pkgs.writeShellScriptBin "mycelium" ''
              hub=$(${pkgs.getent}/bin/getent ahosts hub | while read -r address _; do echo "$address"; break; done)
              case $hub in *:*) hub="[$hub]" ;; esac
              exec ${pkgs.mycelium}/bin/mycelium "''${@//:\/\/hub:/://$hub:}"
            '');
          };
        })
      ];
    };

    # Its roots are hosts on the Internet: hub is the only one here, and hands on the definition of a planet, of which
    # each member makes its own with the addresses at which it reaches hub. Another is taken from hub only, if newer.
    zerotier = {
      single = _: true;
      hub = "meets its peers at roots on the Internet";
      needed = [ "controller" ];
      interface = _: "zt*";
      units = _: [ "zerotierone.service" ];
      modules = _: [{
        services.zerotierone.localConf.settings = {
          allowTcpFallbackRelay = lib.mkForce false;
          softwareUpdate = lib.mkForce "disable";
        };
      }];
      hooks = { machines, nodes, ... }:
        let identity = nodes.hub.config.clan.core.vars.generators."zerotier-identity-${machines.hub}".files; in
        {
          prepare = ''
            home=/var/lib/zerotier-one
            mkdir -p $home
            if ! is_coordinator; then
                base64 -d <admission >root.json
            elif [ ! -s root.json ]; then
                zerotier-idtool getpublic ${identity.identity-secret.path} >identity.public
                zerotier-idtool initmoon identity.public >root.json
            fi
            # At hub once: a newer one would take the place of the members' own.
            if ! is_coordinator || [ ! -s planet ]; then
                jq --slurpfile cluster cluster.json '.worldType = "planet"
                    | .roots[0].stableEndpoints = [$cluster[0] | .self as $self | .members[]
                        | select(.role == "coordinator") | (if .name == $self then .public else .reach end)[]
                        | "\(.)/9993"]' root.json >planet.json
                zerotier-idtool genmoon planet.json >/dev/null
                mv ./*.moon planet
            fi
            cp planet $home/planet
          '';
          admit = "base64 -w 0 root.json";
        };
    };
  };

  # What speaks to the Internet by itself, and is stopped where something else is measured: its units.
  dialling = {
    tor = _: [ "tor.service" ];
    p2p-ssh-iroh = { instance, ... }: [ "p2p-ssh-iroh-${instance}.service" ];
    data-mesher = _: [ "data-mesher.service" ];
  };

  # What is no VPN, or cannot be one here.
  refused = {
    internet = "is no VPN: it says under which names machines are reached, and these lead to them in a scenario";
    tor = "has no overlay addresses, and its network is the Internet's";
    p2p-ssh-iroh = "carries SSH only, and its relays are on the Internet";
    data-mesher = "is no VPN: it distributes files";
    dm-dns = "is no VPN: it distributes names";
  };
}
