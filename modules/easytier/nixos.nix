{ pkgs, ... }:
{
  environment.systemPackages = [ pkgs.easytier ];
  boot.kernelModules = [ "tun" ];
  networking.firewall.allowedTCPPorts = [ 11010 ];
  networking.firewall.allowedUDPPorts = [ 11010 ];
  networking.firewall.trustedInterfaces = [ "et0" ];
}
