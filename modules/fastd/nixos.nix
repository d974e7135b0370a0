{ pkgs, ... }:
{
  environment.systemPackages = [ pkgs.fastd ];
  boot.kernelModules = [ "tun" ];
  networking.firewall.allowedUDPPorts = [ 10000 ];
  networking.firewall.trustedInterfaces = [ "fastd0" ];
}
