{ pkgs, ... }:
{
  environment.systemPackages = [ pkgs.tinc ];
  boot.kernelModules = [ "tun" ];
  networking.firewall.allowedTCPPorts = [ 655 ];
  networking.firewall.allowedUDPPorts = [ 655 ];
  networking.firewall.trustedInterfaces = [ "tinc0" ];
}
