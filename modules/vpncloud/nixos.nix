{ pkgs, ... }:
let
  # nixpkgs does not have it.
  src = pkgs.fetchCrate {
    pname = "vpncloud";
    version = "2.3.0";
    hash = "sha256-zNpz8HrdYhaMbSX9oBZu/xI6dKa7lWESLEIuCn8HQAA=";
  };
  vpncloud = pkgs.rustPlatform.buildRustPackage {
    pname = "vpncloud";
    version = "2.3.0";
    inherit src;
    cargoLock.lockFile = "${src}/Cargo.lock";
    doCheck = false;
  };
in
{
  environment.systemPackages = [ vpncloud ];
  boot.kernelModules = [ "tun" ];
  networking.firewall.allowedUDPPorts = [ 3210 ];
  networking.firewall.trustedInterfaces = [ "vpncloud0" ];
}
