# What fromNodes adds to a member's configuration: its VPN is started by the lifecycle and nothing else, and writes its
# log where the harness looks for one.
{ config, lib, ... }:
let
  isService = lib.hasSuffix ".service";
  service = unit: lib.nameValuePair (lib.removeSuffix ".service" unit) {
    # After a loss of power it would start before its card has addresses.
    wantedBy = lib.mkForce [ ];
    serviceConfig = {
      StandardOutput = lib.mkDefault "append:/var/log/vpn.log";
      StandardError = lib.mkDefault "append:/var/log/vpn.log";
    };
  };
in
{
  options.meshbench.vpn = lib.mkOption {
    type = lib.types.listOf lib.types.str;
    description = "The units that are the VPN.";
  };
  config.systemd.services = lib.listToAttrs (map service (builtins.filter isService config.meshbench.vpn));
}
