{ pkgs, ... }:
{
  environment.systemPackages = [
    pkgs.tailscale
    pkgs.headscale
    pkgs.openssl
    pkgs.iptables
  ];
  boot.kernelModules = [ "tun" ];
  networking.firewall = {
    allowedTCPPorts = [ 443 ];
    allowedUDPPorts = [
      3478
      41641
    ];
    trustedInterfaces = [ "tailscale0" ];
    checkReversePath = "loose";
  };
}
