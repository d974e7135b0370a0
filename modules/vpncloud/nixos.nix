{ pkgs, ... }:
{
  environment.systemPackages = [ pkgs.vpncloud ];
  boot.kernelModules = [ "tun" ];
  networking.firewall.allowedUDPPorts = [ 3210 ];
  networking.firewall.trustedInterfaces = [ "vpncloud0" ];
}
