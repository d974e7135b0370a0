# fromNodes: a VPN as somebody already runs it. NixOS configurations of its members, as they are, become machines of a
# cluster; each member is a whole system of its own in one image, and becomes itself when it is configured.
{ lib, pkgs, mkGuest, mkCheck }:
{
  # Of the module in results.
  name
  # NixOS modules by machine: alice and bob are measured, hub is the machine at a public place. They find each other
  # by these names in /etc/hosts.
, nodes
  # Units that are the VPN, started by `run`.
, units
  # The VPN's interface, whose addresses are the overlay's …
, interface ? null
  # … or the addresses themselves: machine -> [ address ].
, address ? null
  # A command that succeeds once the VPN is usable.
, ready ? "true"
, kernelModules ? [ ]
, title ? name
, homepage ? "https://example.org/"
, # As in module.toml.
  claims ? { encryption = true; nat-traversal = "none"; relay = false; ipv6-underlay = false; }
, # More files of a command's choice, such as keys made when the flake was evaluated.
  extraPaths ? [ ]
}:
assert (interface == null) != (address == null) || throw "fromNodes ${name}: name either an interface or addresses";
let
  # Each is evaluated like the image itself, and comes along in its store.
  member = module: (mkGuest {
    inherit name;
    modules = [
      module
      # After a loss of power it boots with all its own units, and the agent.
      { systemd.targets.meshbench.wants = [ "multi-user.target" ]; }
    ];
  }).toplevel;
  systems = lib.mapAttrs (_: member) nodes;

  cases = f: lib.concatStringsSep "\n"
    (lib.mapAttrsToList (machine: value: "  ${machine}) ${f machine value} ;;") nodes);

  lifecycle = pkgs.writeScript "lifecycle" ''
    #!/bin/sh
    set -eu
    case "''${1-}" in
    identity) echo '{}' ;;
    configure)
      cat >cluster.json
      jq -r .self cluster.json >self
      case "$(cat self)" in
    ${cases (machine: _: "system=${systems.${machine}}")}
      *) exit 64 ;;
      esac
      # Its /etc takes the place of the image's, where the harness has put its unit. switch-to-configuration would want
      # a session manager, and start only what was active before.
      cp /etc/systemd/system/vpn.service vpn.service
      "$system/activate" || echo "activating $system ended with $?" >&2
      cp vpn.service /etc/systemd/system/vpn.service
      mkdir -p /etc/systemd/system/meshbench.target.wants
      jq -r '.self as $self | .members[] | select(.name != $self) | . as $m | .public[] | "\(.) \($m.name)"' \
        cluster.json >>/etc/hosts
      echo "$system" >/var/lib/meshbench/system
      systemctl daemon-reload
      systemctl restart sysinit-reactivation.target
      systemctl start multi-user.target
      # What the system starts by itself waits for `run`, so that the time to connect is measured.
      systemctl stop ${lib.escapeShellArgs units}
      ;;
    run)
      systemctl start ${lib.escapeShellArgs units}
      exec sleep infinity
      ;;
    stop) systemctl stop ${lib.escapeShellArgs units} ;;
    ready) ${ready} ;;
    address)
    ${if interface != null then ''
      ip -json address show up dev ${lib.escapeShellArg interface} scope global |
        jq -r '[.[].addr_info[]] | sort_by(.family) | .[].local'
    '' else ''
      case "$(cat self)" in
    ${cases (machine: _: "printf '%s\\n' ${lib.escapeShellArgs (address machine)}")}
      esac
    ''}
      ;;
    path) echo unknown ;;
    version) cat /run/current-system/nixos-version ;;
    *) exit 64 ;;
    esac
  '';

  spec = {
    inherit title homepage claims;
    summary = "NixOS configurations of ${toString (builtins.attrNames nodes)}";
    software.debian.kernel-modules = kernelModules;
    role = lib.optional (nodes ? hub) { name = "coordinator"; } ++ [{ name = "peer"; }];
    config = { choices = [ "as configured" ]; documentation = homepage; };
  };

  folder = pkgs.runCommand "meshbench-module-${name}" { } ''
    mkdir $out
    cp ${(pkgs.formats.toml { }).generate "module.toml" spec} $out/module.toml
    cp ${lifecycle} $out/lifecycle
    echo '{ }' >$out/nixos.nix
  '';

  guest = mkGuest { inherit name; extraPaths = extraPaths ++ builtins.attrValues systems; };
in
{
  # For `bench --guest` and `lib.mkRoot`.
  inherit folder guest systems;
  # Like lib.mkCheck: { scenario, … }.
  mkCheck = arguments: mkCheck ({ module = name; inherit folder guest; } // arguments);
}
