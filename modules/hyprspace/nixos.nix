{ pkgs, ... }:
{
  environment.systemPackages = [
    pkgs.hyprspace
    pkgs.kubo
  ];
  boot.kernelModules = [ "tun" ];
  networking.firewall = {
    allowedTCPPorts = [
      4001
      8001
    ];
    allowedUDPPorts = [
      4001
      8001
    ];
    trustedInterfaces = [ "hyprspace" ];
  };
}
