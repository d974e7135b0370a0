{ lib, pkgs, ... }:
{
  nixpkgs.config.allowUnfreePredicate = package: lib.getName package == "zerotierone";
  environment.systemPackages = [ pkgs.zerotierone ];
  boot.kernelModules = [ "tun" ];
  networking.firewall.allowedUDPPorts = [ 9993 ];
  networking.firewall.trustedInterfaces = [ "zt0" ];
}
