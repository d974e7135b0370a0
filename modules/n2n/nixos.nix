{ pkgs, ... }:
{
  environment.systemPackages = [ pkgs.n2n ];
  boot.kernelModules = [ "tun" ];
  networking.firewall.allowedUDPPorts = [
    7654
    7655
  ];
  networking.firewall.trustedInterfaces = [ "n2n0" ];
}
