{ pkgs, ... }:
{
  environment.systemPackages = [ pkgs.yggdrasil ];
  boot.kernelModules = [ "tun" ];
  networking.firewall.allowedTCPPorts = [ 6384 ];
  networking.firewall.trustedInterfaces = [ "ygg0" ];
}
